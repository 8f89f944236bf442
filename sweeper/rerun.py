"""Given configurations trained through Ray, outside any search, and stored; those that are stored are not trained."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import ray
import torch

from sweeper.files import Folder
from sweeper.space import Resources
from sweeper.store import Store
from sweeper.sweep_file import absolute_path
from sweeper.trial import AttemptSlot, pack_key, plain, results_of
from trainer.config import RunConfig
from trainer.errors import Error
from trainer.precision import Options
from trainer.run import run


class RerunError(Error):
    """A run that was to be repeated did not finish."""


def rerun(
    groups: Mapping[str, Sequence[RunConfig]], store: Store, resources: Resources, fingerprint: str
) -> dict[str, list[dict[str, Any]]]:
    """The ``trials`` rows of each group's configurations, in their order.

    The configurations of a group are trained together, the groups side by side. Raises RerunError if one does not
    finish; what has finished is stored and will not be trained again.
    """
    held = Store.find_finished(store.folder.parent, _ids(groups), fingerprint)
    pending = {}
    for label, configs in groups.items():
        if all(config.run_id in held for config in configs):
            continue
        where = store.folder.path if store.folder.local else str(store.folder)
        task = _train.options(num_cpus=resources.cpu, num_gpus=resources.gpu, max_retries=2)
        pending[task.remote([absolute_path(config) for config in configs], where, resources)] = label
    while pending:
        (ready,), _ = ray.wait(list(pending), num_returns=1)
        label = pending.pop(ready)
        results = results_of({"results": ray.get(ready)})
        bad = [result["row"] for result in results if result["row"]["status"] != "finished"]
        if bad:
            raise RerunError(f"{label}, seed {bad[0]['seed']}: {bad[0]['status']}: {bad[0]['error']}")
        number = max(store.finished_trials(), default=-1) + 1
        store.finish_trial(number, uuid.uuid4().hex[:8], results, pack=pack_key(groups[label]))
        store.folder.child("checkpoints", pack_key(groups[label])).remove()
        held |= {result["row"]["run_id"]: result for result in results}
    return {label: [held[config.run_id]["row"] for config in configs] for label, configs in groups.items()}


@ray.remote
def _train(configs: list[RunConfig], folder: str, resources: Resources) -> list[dict[str, Any]]:
    torch.set_num_threads(max(1, int(resources.cpu)))
    slot = AttemptSlot(Folder.at(folder).child("checkpoints", pack_key(configs)), uuid.uuid4().hex[:8])
    options = Options(device="cuda" if resources.gpu else "cpu")
    return [plain(result) for result in run(configs, options, checkpoint=slot)]


def _ids(groups: Mapping[str, Sequence[RunConfig]]) -> list[str]:
    return [config.run_id for configs in groups.values() for config in configs]
