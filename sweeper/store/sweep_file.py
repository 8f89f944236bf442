"""``space.yaml`` of a sweep's folder: what it was started with, so that it goes on with that alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from sweeper.search.space import Params, Resources, Space
from sweeper.store.folder import Folder
from trainer.config.files import parse_run, set_field
from trainer.config.run_config import RunConfig
from trainer.data.location import expand
from trainer.errors import ConfigError, StoreError, nearest

FILE = "space.yaml"
_LAUNCH = "last_launch"
"""the part that may change from launch to launch"""


@dataclass(frozen=True)
class SweepFile:
    """What a stored sweep searches."""

    name: str
    where: str
    base: Mapping[str, Any]
    """its run file, as a run file holds it"""
    vary: Mapping[str, Any]
    """its dimensions, as the search-space file holds them"""
    objective: Mapping[str, Any]
    seeds: tuple[int, ...]
    trials: int
    resources: Resources

    @classmethod
    def read(cls, folder: Folder) -> SweepFile:
        """Of the sweep in ``folder``. Raises StoreError, with the nearest name, if there is none."""
        name = folder.path.rpartition("/")[2]
        try:
            content = yaml.safe_load(folder.read_bytes(FILE))
        except FileNotFoundError:
            near = nearest(name, folder.parent.folders())
            hint = f"; did you mean {near!r}?" if near else ""
            raise StoreError(f"{folder.parent}: no sweep {name!r}{hint}") from None
        launch = content[_LAUNCH]
        base = {**content["base"], "data": {**content["base"]["data"], "path": launch["data_path"]}}
        resources = Resources(**launch["resources"])
        where = f"{folder}/{FILE}"
        objective, seeds = content["objective"], tuple(content["seeds"])
        return cls(name, where, base, content["vary"], objective, seeds, launch["trials"], resources)

    @property
    def maximize(self) -> bool:
        return bool(self.objective["direction"] == "maximize")

    def config(self, params: Params, seed: int, split: str) -> RunConfig:
        """The base with these values, measured on ``split``: validation as in the search, or test."""
        content = {**self.base, "data": {**self.base["data"]}, "seed": seed}
        evaluation = {**content["data"]["evaluation"], "split": split}
        if split == "validation":
            evaluation["per_class"] = self.objective["per_class"]
        content["data"]["evaluation"] = evaluation
        content = parse_run(content, file=self.where).as_dict()
        for name, value in params.items():
            set_field(content, name, value)
        return parse_run(content, file=self.where)

    def each_seed(self, params: Params, seeds: Sequence[int], split: str) -> list[RunConfig]:
        """``config`` with each of the seeds."""
        return [self.config(params, seed, split) for seed in seeds]


def check_unchanged(space: Space, folder: Folder, data_path: str | None) -> None:
    """Write the file, if the sweep is new or goes on with the same. Raises ConfigError showing the difference."""
    now = space.identity()
    try:
        before = yaml.safe_load(folder.read_bytes(FILE))
        before.pop(_LAUNCH, None)
    except FileNotFoundError:
        before = now
    if before != now:
        raise ConfigError(
            f"sweep {space.name} was started with another file: {_difference(before, now)}. "
            "Undo the change, or give another --name",
            file=space.file,
        )
    spec = space.spec
    launch = {"data_path": data_path, "trials": spec.trials, "resources": spec.resources.model_dump(mode="json")}
    folder.write(FILE, yaml.safe_dump({**now, _LAUNCH: launch}, sort_keys=False).encode())


def absolute_path(config: RunConfig) -> RunConfig:
    """The same with ``data.path`` filled in here, so that workers need neither the variables nor this folder.

    Raises DataError for a variable that is not set.
    """
    if config.data.path is None:
        return config
    path = str(expand(config.data.path).absolute())
    return config.model_copy(update={"data": config.data.model_copy(update={"path": path})})


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    old, new = _flat(before), _flat(now)
    changed = [
        f"{name} was {old.get(name, 'absent')}, is {new.get(name, 'absent')}"
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]
    return "; ".join(changed[:5]) + (f"; and {len(changed) - 5} more" if len(changed) > 5 else "")


def _flat(content: Any, prefix: str = "") -> dict[str, str]:
    if isinstance(content, dict) and content:
        return {k: v for key, value in content.items() for k, v in _flat(value, f"{prefix}{key}.").items()}
    return {prefix.rstrip("."): str(content)}
