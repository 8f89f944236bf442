"""How a configuration of a sweep is trained alone: the arguments of ``python -m trainer.run``."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypedDict

import yaml

from sweeper.search.repetitions import Repetition
from sweeper.search.space import Params, Space, flat
from sweeper.search.words import METHOD
from trainer.command import words
from trainer.config.files import load_run
from trainer.config.run_config import RunConfig
from trainer.config.yaml_file import files_in, run_content
from trainer.errors import UserError


class Repeat(TypedDict):
    """The parts of the command that all configurations of a sweep share.

    In its order: ``start``, a ``--set`` for each of ``sets``, then for each of ``method_sets`` where the configuration
    has the method ``method``, otherwise ``--set method={name: ...}``; then one for each of its values; then ``end``.
    """

    start: list[str]
    sets: list[str]
    method: str
    method_sets: list[str]
    end: list[str]


def repeat(space: Space, tried: Iterable[Params]) -> Repeat | None:
    """How to train the configurations of a sweep alone, on its images and seeds, from a run file in ``runs/``.

    ``tried``: values of its configurations, of which one of each method and set of dimensions is checked to give the
    sweep's own configuration. None if no run file leads there.
    """
    (base, *_) = space.configs({}, [Repetition(space.spec.repeated.seeds[0])])
    kinds = {(str(params.get(METHOD)), *sorted(params)): params for params in tried}
    for file, sets in sorted(_ways(base), key=lambda way: (len(way[1]), way[0])):
        found = Repeat(
            start=[*words("trainer.run"), file],
            sets=[item for item in sets if not item.startswith("method.")],
            method=base.method.name,
            method_sets=[item for item in sets if item.startswith("method.")],
            end=_end(space),
        )
        if all(_leads_to(found, file, space, params) for params in kinds.values()):
            return found
    return None


def sets_of(found: Repeat, params: Mapping[str, Any]) -> list[str]:
    """The ``--set`` overrides of one configuration, in the order of ``Repeat``."""
    values = [f"{name}={_yaml(value)}" for name, value in params.items() if name != METHOD]
    method = params.get(METHOD, found["method"])
    if method == found["method"]:
        return [*found["sets"], *found["method_sets"], *values]
    return [*found["sets"], f"method={{name: {method}}}", *values]


def _ways(base: RunConfig) -> Iterator[tuple[str, list[str]]]:
    """Run files on the same images, each with the overrides that make it the base."""
    name = base.method.name
    for file in files_in("runs").values():
        try:
            if flat(run_content(file)).get("data.source") != base.data.source:
                continue
            own, method = load_run(file).config, []
            if own.method.name != name:
                method = [f"method.name={name}"]
                own = load_run(file, method).config
        except UserError:
            continue
        yield file, [*method, *_differences(own.as_dict(), base.as_dict())]


def _differences(own: Mapping[str, Any], wanted: Mapping[str, Any], within: str = "") -> Iterator[str]:
    """The overrides that make one configuration another; a section that there is not is given whole."""
    for name, value in wanted.items():
        before = own.get(name)
        if before == value or (not within and name == "seed"):
            continue
        if isinstance(value, dict) and isinstance(before, dict):
            yield from _differences(before, value, f"{within}{name}.")
        else:
            yield f"{within}{name}={_yaml(value)}"


def _leads_to(found: Repeat, file: str, space: Space, params: Params) -> bool:
    try:
        config = load_run(file, sets_of(found, params)).config
    except UserError:
        return False
    (own,) = space.configs(params, [Repetition(config.seed)])
    return config == own


def _yaml(value: Any) -> str:
    """The value on a line."""
    return yaml.safe_dump(value, default_flow_style=True, width=float("inf")).removesuffix("...\n").strip()


def _end(space: Space) -> list[str]:
    """Seeds, and the arithmetic on which the last digits depend."""
    spec = space.spec
    end = ["--seeds", ",".join(map(str, spec.repeated.seeds))]
    if spec.repeated.worlds:
        end = ["--worlds", ",".join(map(str, spec.repeated.worlds)), *end]
    if spec.resources.precision != "auto":
        end += ["--precision", spec.resources.precision]
    return end if spec.resources.gpu else [*end, "--threads", str(spec.resources.threads)]
