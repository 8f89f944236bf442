"""Given configurations trained through Ray, outside any search, and stored; those that are stored are not trained."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow.compute as pc
import ray
import torch

from sweeper.execution.cluster import in_one_line
from sweeper.execution.trial import AttemptSlot, pack_key, plain, results_of
from sweeper.search.space import Resources
from sweeper.status import Status
from sweeper.store.cache import Finished
from sweeper.store.folder import Folder
from sweeper.store.store import Store
from sweeper.store.sweep_file import absolute_path
from trainer.config.run_config import RunConfig
from trainer.errors import UserError
from trainer.training.options import DeviceOptions
from trainer.training.session import train


class RerunError(UserError):
    """A run that was to be repeated did not come to its end."""


Rows = dict[str, list[dict[str, Any]]]
"""of table ``trials``, by label, in the order of the label's configurations"""


def rerun(
    groups: Mapping[str, Sequence[RunConfig]],
    store: Store,
    resources: Resources,
    fingerprint: str,
    say: Callable[[str], None],
    lost: Callable[[str, UserError], None] | None = None,
    check_stop: Callable[[], None] = lambda: None,
) -> Rows:
    """The ``trials`` rows of each group's configurations, of runs that diverged too.

    The configurations of a group are trained together, the groups side by side. What has ended is stored at once,
    and where it finished it will not be trained again.

    Raises UserError for what a run lacks, ClusterError if a process dies again and again. With ``lost`` it is told
    instead, with the group's label, the other groups go on, and the answer lacks that one. ``check_stop`` raises when
    it is to stop.
    """
    held = Finished(store.folder.parent, fingerprint).find(_ids(groups))
    rows = {run_id: result["row"] for run_id, result in held.items()}
    where = store.folder.path if store.folder.local else str(store.folder)
    labels: dict[str, list[str]] = {}
    pending = {}
    for label, configs in groups.items():
        missing = [config for config in configs if config.run_id not in rows]
        key = pack_key(missing)
        if missing and key not in labels:
            task = _train.options(num_cpus=resources.cpu, num_gpus=resources.gpu, max_retries=2)
            pending[task.remote([absolute_path(config) for config in missing], where, resources)] = key
        labels.setdefault(key, []).append(label)
    total, ended = len(pending), 0
    while pending:
        check_stop()
        done, _ = ray.wait(list(pending), num_returns=1, timeout=0.5)
        if not done:
            continue
        (ready,) = done
        key = pending.pop(ready)
        ended += 1
        try:
            results = results_of({"results": ray.get(ready)})
        except ray.exceptions.RayError as error:
            why = in_one_line(error)
            if lost is None:
                raise why from None
            for label in labels[key]:
                lost(label, why)
            continue
        number = max(store.finished_trials(), default=-1) + 1
        store.finish_trial(number, uuid.uuid4().hex[:8], results, pack=key)
        store.folder.child("checkpoints", key).remove()
        rows |= {result["row"]["run_id"]: result["row"] for result in results}
        say(f"  [{ended}/{total}] {', '.join(labels[key])}")
    return {
        label: [rows[config.run_id] for config in configs]
        for label, configs in groups.items()
        if all(config.run_id in rows for config in configs)
    }


def write_status(store: Store) -> None:
    """Say in the store's folder that all of its runs have ended."""
    rows = store.read("trials", ["trial", "device_s"])
    done = len(set(rows["trial"].to_pylist()))
    spent_s = pc.sum(rows["device_s"]).as_py() or 0.0
    Status(total=done, done=done, state="finished", device_s=spent_s).write(store.folder)


@ray.remote
def _train(configs: list[RunConfig], folder: str, resources: Resources) -> list[dict[str, Any]]:
    torch.set_num_threads(max(1, int(resources.cpu)))
    slot = AttemptSlot(Folder.at(folder).child("checkpoints", pack_key(configs)), uuid.uuid4().hex[:8])
    options = DeviceOptions(device="cuda" if resources.gpu else "cpu")
    return [plain(result) for result in train(configs, options, checkpoint=slot)]


def _ids(groups: Mapping[str, Sequence[RunConfig]]) -> list[str]:
    return [config.run_id for configs in groups.values() for config in configs]
