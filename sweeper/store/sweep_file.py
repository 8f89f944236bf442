"""``space.yaml`` of a sweep's folder: the search space that it was started with, and resumes with alone."""

from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import ValidationError

from sweeper.search.space import SearchSpace, Space, flat
from sweeper.store.damage import Damage
from sweeper.store.folder import Folder
from sweeper.store.sealed import seal, unseal
from sweeper.store.status_file import FILE as STATUS
from sweeper.store.status_file import Status
from sweeper.store.steering import FOLDER as STEERING
from sweeper.store.steering import Steered, read_steering
from sweeper.store.stopped_file import FILE as STOPPED
from sweeper.store.suggested_file import FILE as SUGGESTED
from sweeper.store.sweeps import is_sweep, no_sweep
from trainer.config.files import parse_run
from trainer.config.run_config import RunConfig
from trainer.data.location import expand
from trainer.errors import ConfigError, StoreError

FILE = "space.yaml"
_LAUNCH = "last_launch"
"""the part that may change from launch to launch"""


def read_space(folder: Folder) -> Space:
    """The search space of the sweep in ``folder``, with the images and resources of its last launch, and as many trials
    as it was steered to.

    Raises StoreError, with the nearest name, if there is no such sweep or its file cannot be read.
    """
    name, where = folder.name, f"{folder}/{FILE}"
    try:
        content, launch = _content(folder)
        base = content.pop("base")
        base["data"]["path"] = launch.pop("data_path")
        launch.pop("data_fingerprint", None)
        spec = SearchSpace.model_validate({**content, **launch, "base": FILE, "name": name})
        steered = Steered.of(read_steering(folder, Damage(lambda line: None)), spec.trials)
        spec = spec.model_copy(update={"trials": steered.trials})
        return Space(where, spec, parse_run(base, file=where))
    except FileNotFoundError:
        raise (_damaged(folder) if is_sweep(folder) else no_sweep(folder.parent, name)) from None
    except (AttributeError, KeyError, TypeError, ValidationError):
        raise _damaged(folder) from None


def check_unchanged(space: Space, folder: Folder, data_path: str | None, data_fingerprint: str) -> str | None:
    """Write the file, if the sweep is new or resumes unchanged. The images may have moved, but must be the same.

    A sweep that has stored nothing yet, such as one whose launch was refused, starts anew with a changed file: returns
    the line that says so. Raises ConfigError that shows the difference, StoreError if the file is damaged.
    """
    now = space.identity()
    try:
        before, launch = _content(folder)
    except FileNotFoundError:
        before, launch = now, {}
    anew = before != now or launch.get("data_fingerprint", data_fingerprint) != data_fingerprint
    anew = anew and _nothing_stored(folder)
    if anew:
        _forget(folder)
        before, launch = now, {}
    if before != now:
        raise ConfigError(
            f"search space changed since sweep {space.name} started: {_difference(before, now)}. "
            "Revert it or pass a new --name",
            file=space.file,
        )
    if launch.get("data_fingerprint", data_fingerprint) != data_fingerprint:
        problem = f"the images are not those that sweep {space.name} started with; restore them or pass a new --name"
        raise ConfigError(problem, file=space.file, field="data.path")
    spec = space.spec
    launch = {"data_path": data_path, "data_fingerprint": data_fingerprint, "trials": spec.trials}
    launch["resources"] = spec.resources.model_dump(mode="json")
    folder.write(FILE, yaml.safe_dump(seal({**now, _LAUNCH: launch}), sort_keys=False).encode())
    return f"sweep {space.name} starts anew: nothing was stored with the file as it was before" if anew else None


def _nothing_stored(folder: Folder) -> bool:
    """Whether no configuration of a sweep has ended. Deleted results count as stored: they are missed elsewhere."""
    status = Status.read(folder, Damage(lambda line: None))
    done = status.done if status is not None else int(STATUS in folder.names())
    return not (done or folder.child("runs").names() or folder.child("promotions").names())


def _forget(folder: Folder) -> None:
    """Delete what belongs to the search space that the sweep had, first what a study would be restored from."""
    for name in (SUGGESTED, "packing.json", STOPPED, STATUS):
        folder.delete(name)
    for name in (STEERING, "checkpoints", "failed"):
        folder.child(name).remove()


def absolute_path(config: RunConfig) -> RunConfig:
    """The same with ``data.path`` filled in here, so that workers need neither the variables nor this folder.

    Raises DataError for a variable that is not set.
    """
    if config.data.path is None:
        return config
    path = str(expand(config.data.path).absolute())
    return config.model_copy(update={"data": config.data.model_copy(update={"path": path})})


def _content(folder: Folder) -> tuple[dict[str, Any], dict[str, Any]]:
    """The search space that the file holds, and its last launch. Raises FileNotFoundError, or StoreError if damaged."""
    try:
        content = unseal(yaml.safe_load(folder.read_bytes(FILE)))
        return content, content.pop(_LAUNCH)
    except (yaml.YAMLError, RecursionError, ValueError, KeyError, TypeError):
        raise _damaged(folder) from None


def _damaged(folder: Folder) -> StoreError:
    return StoreError(f"{folder}/{FILE}: missing or damaged; restore it from a backup, or launch under a new --name")


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    old, new = flat(before), flat(now)
    changed = [
        f"{name} was {old.get(name, 'absent')}, is {new.get(name, 'absent')}"
        for name in sorted({*old, *new})
        if old.get(name, "absent") != new.get(name, "absent")
    ]
    return "; ".join(changed[:5]) + (f"; and {len(changed) - 5} more" if len(changed) > 5 else "")
