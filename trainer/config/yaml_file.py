"""YAML files whose top holds fields by name. This file imports nothing slow: what cannot be read is refused at once."""

import json
import shlex
from pathlib import Path
from typing import Any, ClassVar

import yaml

from trainer.command import words
from trainer.errors import ConfigError, nearest, shown

NOT_YAML = (yaml.YAMLError, RecursionError, ValueError, OverflowError, TypeError)
"""what PyYAML raises: its own errors, and Python's on impossible dates, endless numbers and deep nesting"""
_PROJECT = Path(__file__).resolve().parents[2]


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


class StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice: YAML would silently keep the last."""

    yaml_constructors: ClassVar = {
        **yaml.SafeLoader.yaml_constructors,
        yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG: _mapping,
    }


def as_yaml(value: Any) -> str:
    """A value in one line of YAML, which ``--set`` takes: JSON's 1e-05 would be text."""
    if isinstance(value, str):
        return json.dumps(value)
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).partition("\n")[0]


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
        content = yaml.load(text, Loader=StrictLoader)
    except ConfigError as error:
        error.file = file
        raise
    except NOT_YAML as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise ConfigError(f"{where}not valid YAML: {getattr(error, 'problem', None) or error}", file=file) from None
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ConfigError("must hold fields by name, like 'optim: {epochs: 160}'", file=file)
    return content


def run_content(path: str | Path) -> dict[str, Any]:
    """What a run file holds, unchecked. Raises ConfigError for what ``load_yaml`` refuses, and for a search space."""
    content = load_yaml(path, folder="runs")
    if {"base", "vary"} <= content.keys():
        command = shlex.join([*words("sweeper.launch"), str(path)])
        raise ConfigError(f"is a search space, not a run file: {command} searches it", file=str(path))
    return content


def space_content(path: str | Path) -> dict[str, Any]:
    """What a search-space file holds, unchecked. Raises ConfigError as ``run_content`` does, and for a run file."""
    content = load_yaml(path, folder="search_spaces")
    if {"data", "method"} <= content.keys():
        command = shlex.join([*words("trainer.run"), str(path)])
        raise ConfigError(f"is a run file, not a search space: {command} trains it", file=str(path))
    return content


def shipped(path: Path) -> Path:
    """The path; where no file is there, the project's own ``runs/NAME`` or ``search_spaces/NAME``, if it is one.

    So the examples of the documentation work in any folder.
    """
    own = _PROJECT / path
    known = not path.is_absolute() and path.parts[:1] in (("runs",), ("search_spaces",)) and ".." not in path.parts
    return own if known and not path.exists() and own.is_file() else path


def files_in(folder: str) -> dict[str, str]:
    """The YAML files of ``runs`` or ``search_spaces``, the working directory's and the project's, by stem."""
    theirs = (_PROJECT / folder).glob("*.yaml")
    return {found.stem: f"{folder}/{found.name}" for found in [*theirs, *Path(folder).glob("*.yaml")]}


def _nearest_file(path: Path, folder: str | None) -> str | None:
    siblings = {found.name: found.name for found in path.parent.glob("*.yaml")}
    near = nearest(path.name, siblings)
    if near is None and folder is not None:
        others = files_in(folder)
        near = others.get(nearest(path.stem, others) or "")
    return near
