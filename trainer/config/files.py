"""Run files: YAML that holds a complete RunConfig, and in promoted ones where its numbers come from."""

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import yaml
from pydantic import ValidationError

from trainer.command import words
from trainer.config.explain import explain
from trainer.config.run_config import RunConfig
from trainer.errors import ConfigError, Mistakes, nearest, shown
from trainer.methods.base import METHODS

_NOT_YAML = (yaml.YAMLError, RecursionError, ValueError, OverflowError, TypeError)
"""what PyYAML raises: its own errors, and Python's on impossible dates, endless numbers and deep nesting"""
_PROJECT = Path(__file__).resolve().parents[2]


class RunFile(NamedTuple):
    """What a run file holds."""

    config: RunConfig
    provenance: dict[str, Any] | None
    """provenance of a promoted file: sweep, trials, seeds, n, mean, spread, interval, commit, data"""


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, (str, int, float, bool)):
            raise ConfigError(f"line {key_node.start_mark.line + 1}: keys must be names, not {shown(key)}")
        if key in seen:
            raise ConfigError(f"line {key_node.start_mark.line + 1}: key given twice: {shown(key)}")
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice: YAML would silently keep the last."""

    yaml_constructors: ClassVar = {
        **yaml.SafeLoader.yaml_constructors,
        yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG: _mapping,
    }


def load_yaml(path: str | Path, folder: str | None = None) -> dict[str, Any]:
    """A YAML file whose top is a mapping with text keys. Raises ConfigError, naming the file and the line.

    ``folder`` of the working directory: where files of this kind are, for the hint that names the nearest.
    """
    file = str(path)
    try:
        text = shipped(Path(path)).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError("no such file", file=file, nearest=_nearest_file(Path(path), folder)) from None
    except IsADirectoryError:
        command = shlex.join([*words("sweeper.init"), file])
        raise ConfigError(
            f"is a folder, not a file; for a folder of images, {command} writes files", file=file
        ) from None
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise ConfigError(f"cannot be read: {error}", file=file) from None
    try:
        content = yaml.load(text, Loader=_StrictLoader)
    except ConfigError as error:
        error.file = file
        raise
    except _NOT_YAML as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise ConfigError(f"{where}not valid YAML: {getattr(error, 'problem', None) or error}", file=file) from None
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ConfigError("must hold fields by name, like 'optim: {epochs: 160}'", file=file)
    return content


def shipped(path: Path) -> Path:
    """The path; where no file is there, the project's own ``runs/NAME`` or ``search_spaces/NAME``, if it is one.

    So the examples of the documentation work in any folder.
    """
    own = _PROJECT / path
    known = not path.is_absolute() and path.parts[:1] in (("runs",), ("search_spaces",)) and ".." not in path.parts
    return own if known and not path.exists() and own.is_file() else path


def _nearest_file(path: Path, folder: str | None) -> str | None:
    siblings = {found.name: found.name for found in path.parent.glob("*.yaml")}
    near = nearest(path.name, siblings)
    if near is None and folder is not None:
        theirs = (_PROJECT / folder).glob("*.yaml")
        others = {found.stem: f"{folder}/{found.name}" for found in [*theirs, *Path(folder).glob("*.yaml")]}
        near = others.get(nearest(path.stem, others) or "")
    return near


def load_run(path: str | Path, sets: Sequence[str] = ()) -> RunFile:
    """Read and check a run file, with ``--set`` overrides like ``method.alpha=0.5`` applied."""
    content = load_yaml(path, folder="runs")
    if {"base", "vary"} <= content.keys():
        command = shlex.join([*words("sweeper.launch"), str(path)])
        raise ConfigError(f"is a search space, not a run file: {command} searches it", file=str(path))
    provenance = content.pop("provenance", None)
    if provenance is not None and not isinstance(provenance, dict):
        raise ConfigError("must be a mapping", file=str(path), field="provenance")
    override(content, parse_sets(sets))
    return RunFile(parse_run(content, file=str(path)), provenance)


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
        return dotted.strip(), yaml.load(text, Loader=_StrictLoader)
    except (*_NOT_YAML, ConfigError):
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
