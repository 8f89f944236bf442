"""Run files: YAML that holds a complete RunConfig, and in promoted ones where its numbers come from."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import yaml
from pydantic import ValidationError

from trainer.config.explain import explain
from trainer.config.run_config import RunConfig
from trainer.config.yaml_file import NOT_YAML, StrictLoader, run_content, shipped
from trainer.data import location
from trainer.errors import ConfigError, Mistakes, shown
from trainer.methods.base import METHODS


class RunFile(NamedTuple):
    """What a run file holds."""

    config: RunConfig
    provenance: dict[str, Any] | None
    """provenance of a promoted file: sweep, trials, seeds, n, mean, spread, interval, commit, data"""


def load_run(path: str | Path, sets: Sequence[str] = ()) -> RunFile:
    """Read and check a run file, with ``--set`` overrides like ``method.alpha=0.5`` applied."""
    content = run_content(path)
    provenance = content.pop("provenance", None)
    if provenance is not None and not isinstance(provenance, dict):
        raise ConfigError("must be a mapping", file=str(path), field="provenance")
    images_beside(content, path)
    override(content, parse_sets(sets))
    return RunFile(parse_run(content, file=str(path)), provenance)


def images_beside(content: dict[str, Any], file: str | Path) -> None:
    """Let a relative ``data.path``, in its section or by its dotted name, start at the folder of the file it is in."""
    folder = shipped(Path(file)).parent
    for fields, name in ((content, "data.path"), (content.get("data"), "path")):
        if isinstance(fields, dict) and isinstance(fields.get(name), str):
            fields[name] = location.beside(fields[name], folder)


def parse_run(content: dict[str, Any], file: str | None = None) -> RunConfig:
    """A RunConfig from what a YAML file holds. Raises ConfigError naming file and field."""
    try:
        return RunConfig.model_validate(content)
    except ValidationError as error:
        raise explain(error, RunConfig, file=file) from None


def parse_set(item: str) -> tuple[str, Any]:
    """``optim.lr=0.05`` -> ``("optim.lr", 0.05)``; the value is read as YAML."""
    dotted, sign, text = item.partition("=")
    if not sign or not dotted:
        raise ConfigError(f"{shown(item)} is not of the form FIELD=VALUE", field="--set")
    try:
        return dotted.strip(), yaml.load(text, Loader=StrictLoader)
    except (*NOT_YAML, ConfigError):
        raise ConfigError(f"{shown(text)} is not a YAML value", field=f"--set {dotted}") from None


def parse_sets(items: Iterable[str]) -> list[tuple[str, Any]]:
    """``--set`` overrides such as ``optim.lr=0.05``. Raises ConfigError, for all that are none."""
    found, wrong = [], Mistakes()
    for item in items:
        with wrong.noted():
            found.append(parse_set(item))
    wrong.report()
    return found


def override(content: dict[str, Any], values: Iterable[tuple[str, Any]]) -> None:
    """Set fields of a run file by their dotted names, those first that decide what others are.

    Another ``method.name`` takes the fields of the method away, and a field like ``method.preset`` those that it sets:
    what is not given besides has the default of that method or preset. Raises ConfigError.
    """
    values = list(values)
    names = [item for item in values if item[0] in ("method", "method.name")]
    for dotted, value in names:
        if dotted == "method" or _method(content).get("name") != value:
            content["method"] = value if dotted == "method" else {"name": value}
    others = [item for item in values if item not in names]
    for dotted, value in sorted(others, key=lambda item: not _set_by(content, item[0])):
        for field in _set_by(content, dotted):
            _method(content).pop(field, None)
        set_field(content, dotted, value)


def _method(content: dict[str, Any]) -> dict[str, Any]:
    found = content.get("method")
    return found if isinstance(found, dict) else {}


def _set_by(content: dict[str, Any], dotted: str) -> frozenset[str]:
    """The fields of the method that this one sets."""
    section, _, field = dotted.partition(".")
    if section != "method":
        return frozenset()
    try:
        return METHODS.find(_method(content).get("name")).fields_set_by(field)
    except ConfigError:  # an unknown method, which ``parse_run`` refuses
        return frozenset()


def set_field(content: dict[str, Any], dotted: str, value: Any) -> None:
    """Set ``content["a"]["b"]`` for ``a.b``, making the levels between."""
    *parents, last = dotted.split(".")
    for parent in parents:
        content = content.setdefault(parent, {})
        if not isinstance(content, dict):
            raise ConfigError(f"{parent!r} holds no fields", field=dotted)
    content[last] = value


def dump_run(config: RunConfig, provenance: dict[str, Any] | None = None) -> str:
    """The YAML of a run file: every field, defaults too; it loads back to an equal configuration."""
    content = config.as_dict() | ({} if provenance is None else {"provenance": provenance})
    return yaml.dump(content, Dumper=_RunDumper, sort_keys=False, width=110, allow_unicode=True)


def _list(dumper: yaml.SafeDumper, value: Sequence[Any]) -> yaml.SequenceNode:
    return dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=True)


class _RunDumper(yaml.SafeDumper):
    """Lists in one line."""

    yaml_representers: ClassVar[dict[type, Any]] = {**yaml.SafeDumper.yaml_representers, list: _list, tuple: _list}
