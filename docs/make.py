"""Write every generated page and JSON Schema: ``make docs``.

Editors check and complete a YAML file against the schema that its first line names:
``# yaml-language-server: $schema=schema.json``.
"""

import argparse
import inspect
import json
import sys
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from sweeper.execution.plan import Plan
from sweeper.promotion.answer import Promotion
from sweeper.reporting.state import SweepStatus
from sweeper.search.space import SearchSpace
from sweeper.store import schema
from trainer.config.run_config import RunConfig
from trainer.files import atomic_write
from trainer.methods.base import METHODS, Method
from trainer.registry import choices
from trainer.results.columns import VERSION, Column
from trainer.stages.second_stage import SecondStage

ROOT = Path(__file__).resolve().parent.parent


def contents() -> dict[Path, str]:
    """What each generated file holds."""
    found = {"docs/methods.md": methods_page(), "docs/run_files.md": run_files_page()}
    found["docs/results_schema.md"] = results_page()
    schemas = {"runs": run_file_schema(), "search_spaces": SearchSpace.model_json_schema()}
    found |= {f"{folder}/schema.json": json.dumps(content, indent=1) + "\n" for folder, content in schemas.items()}
    answers = {"status": SweepStatus, "plan": Plan, "promotion": Promotion}
    for name, model in answers.items():
        content = model.model_json_schema(mode="serialization")
        found[f"docs/schemas/{name}.json"] = json.dumps(content, indent=1) + "\n"
    return {ROOT / name: content for name, content in found.items()}


# -- docs/methods.md -----------------------------------------------------------------------------------

_METHODS = """# Methods

Written by `make docs`; do not edit. Each method is one file in `trainer/methods/`, and this page is made from its
docstrings and fields.

Every field below is a field of a run file (`method.FIELD`) and can be a dimension of a search. *Together*: runs that
differ only in this field can be trained together in one pass. *From task*: the first task, counted from 0, that the
field acts in; runs that differ only in fields that act later share the training of the first task.

| method | published | uses a teacher |
|---|---|---|
"""

_DIFFERENCES = """
## Differences from released codes

How code that the authors released, or that of Long-Tailed CIL, FACIL or PyCIL, differs from the defaults here. A field
in parentheses switches to it.

| method | difference |
|---|---|
"""

_STAGE2 = """## stage2

A second stage that any method can have, after its own stages in every task: `stage2: {{}}` in a run file uses these
defaults, `stage2: null` omits it. {about}

{differences}{fields}"""


def methods_page() -> str:
    """The text of docs/methods.md."""
    methods = {name: METHODS.find(name) for name in METHODS.names()}
    listed = "".join(
        f"| [{name}](#{name}) | {_cell(method.paper)} | {'yes' if method.needs_teacher else 'no'} |\n"
        for name, method in methods.items()
    )
    known = {name: method.differences for name, method in methods.items()} | {"stage2": SecondStage.differences}
    different = "".join(f"| [{name}](#{name}) | {_cell(one)} |\n" for name, found in known.items() for one in found)
    sections = [_section(name, method) for name, method in methods.items()]
    stage2 = _STAGE2.format(
        about=inspect.getdoc(SecondStage) or "",
        differences=_list(SecondStage.differences),
        fields=_table(SecondStage.model_fields, declared=False),
    )
    return "\n".join([_METHODS + listed + _DIFFERENCES + different, *sections, stage2])


def _section(name: str, method: type[Method]) -> str:
    about = inspect.cleandoc(sys.modules[method.__module__].__doc__ or "")
    fields = _table(method.model_fields, declared=True) if method.model_fields else "No fields of its own.\n"
    return f"## {name}\n\n{about}\n\n{_list(method.differences)}{fields}"


def _list(differences: Sequence[str]) -> str:
    if not differences:
        return ""
    return "\n".join(["Differences from released codes:\n", *(f"- {one}" for one in differences)]) + "\n\n"


def _table(fields: dict[str, FieldInfo], *, declared: bool) -> str:
    head = ["field", "default", "allowed", *(["together", "from task"] if declared else []), "meaning"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for key, info in fields.items():
        extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
        own = [f"`{info.alias or key}`", f"`{_value(info.default)}`", _allowed(info)]
        if declared:
            own += ["yes" if extra.get("per_member") else "no", str(extra.get("first_task", 0))]
        lines.append(f"| {' | '.join([*own, _cell(info.description or '')])} |")
    return "\n".join(lines) + "\n"


def _allowed(info: FieldInfo) -> str:
    """Choices, or the kind of number and its range."""
    annotation, nullable = _inner(info.annotation)
    or_null = " or null" if nullable else ""
    literal = typing.get_args(annotation) if typing.get_origin(annotation) is Literal else None
    if allowed := choices(info) or literal:
        return ", ".join(f"`{_value(choice)}`" for choice in allowed) + or_null
    if annotation is bool:
        return "`true`, `false`" + or_null
    kind = getattr(annotation, "__name__", str(annotation))
    if typing.get_origin(annotation) is tuple:
        kind = f"list of {typing.get_args(annotation)[0].__name__}"
    bounds = {
        name: getattr(one, name) for one in info.metadata for name in ("ge", "gt", "le", "lt") if hasattr(one, name)
    }
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    return " ".join([kind, *(f"{signs[name]} {bound:.15g}" for name, bound in bounds.items())]) + or_null


def _inner(annotation: Any) -> tuple[Any, bool]:
    """``T`` of ``T | None``, and whether None is allowed."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        kinds = [a for a in typing.get_args(annotation) if a is not type(None)]
        return kinds[0], len(kinds) < len(typing.get_args(annotation))
    return annotation, False


def _value(value: Any) -> str:
    """As a run file writes it."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return str(list(value)) if isinstance(value, tuple) else str(value)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "/")


# -- docs/run_files.md ---------------------------------------------------------------------------------

_RUN_FILES = """# Fields of a run file

Written by `make docs`; do not edit. A run file is YAML with the sections below; what it omits has the default. Any
field can be set from the command line (`--set optim.lr=0.05`), be fixed for a sweep (`set:`) and be searched (`vary:`),
by its full name. The files in `runs/` are complete examples. [runs.md](runs.md) says how they are run, and
[images.md](images.md) which images can be read.

```yaml
{example}
```

Fields of `method` are those of the method that `method.name` names: [methods.md](methods.md). `provenance` is written
by a promotion.
"""

_EXAMPLE = """
data: {source: image_folder, path: photos, resize: 72, crop: 64, augment: random_crop, pad: 8}
protocol: {tasks: 5}
method: {name: gradient_reweighting, alpha: 0.5}
optim: {epochs: 60, milestones: [40, 50], batch_size: 64}
"""


def run_files_page() -> str:
    """The text of docs/run_files.md."""
    example = _EXAMPLE.strip()
    RunConfig.model_validate(yaml.safe_load(example))
    alone = {name: info for name, info in RunConfig.model_fields.items() if not _section_of(info)}
    pages = [_RUN_FILES.format(example=example), *_run_sections(RunConfig, "")]
    return "\n".join([*pages, f"## Outside sections\n\n{_table(alone, declared=False)}"])


def _run_sections(model: type[BaseModel], above: str) -> Iterator[str]:
    for name, info in model.model_fields.items():
        section = _section_of(info)
        if section is None or issubclass(section, Method):
            continue
        place = f"{above}{name}"
        own = {key: field for key, field in section.model_fields.items() if not _section_of(field)}
        default = "\n\nThe default is `null`: none." if info.default is None else ""
        about = inspect.cleandoc(section.__doc__ or "")
        yield f"## {place}\n\n{about}{default}\n\n{_table(own, declared=False)}"
        yield from _run_sections(section, f"{place}.")


def _section_of(info: FieldInfo) -> type[BaseModel] | None:
    """The section that a field holds; None for a value."""
    kind, _ = _inner(info.annotation)
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


# -- docs/results_schema.md ----------------------------------------------------------------------------

_RESULTS = """# Tables of results

Written by `make docs`; do not edit. Schema version {version}.

The results of a sweep are Parquet files, one per configuration: `<results>/<sweep>/runs/000017.parquet` holds trial
17, with one row per run (seed). Tasks, epochs and classes are lists of structs in that row. A file is written once,
atomically, and never edited. When all trials of a block are stored, a file named after their range
(`000000-000031.parquet`) replaces theirs; `python -m sweeper.compact SWEEP` merges everything that is stored.

Every file has all columns, so any Parquet reader opens them together, such as DuckDB's
`read_parquet('results/*/runs/*.parquet')`. Files of versions of the code with different methods have different columns;
read those by name (`union_by_name = true`).

The footer of a file holds its schema version and checksums of its regions; pages have Parquet's own checksums. A file
of a different version is refused. A file that is truncated or corrupted, or whose rows are of another sweep than those
of the others, is reported on stderr and skipped; a deleted one is reported. A copied or renamed folder counts under its
own name. The small files of a sweep (`space.yaml`, `status.json`, `suggested.json`, `packing.json`, `stopped.json`,
`steering/*.json`) hold a checksum of their values: a changed one is reported, not believed.

`python -m trainer.run --out DIR` writes `DIR/runs/000000.parquet` in the same format, without the sweep's columns.
Units are in the names: `_pct` percent, `_s` seconds.

## Tables of `sweeper.query`

What a run file calls `method.lambda` is the column `method_lambda`; a query may use either name. `lambda` alone is a
keyword of DuckDB. `python -m sweeper.query --columns TABLE` prints a table's part of this page.

`tasks`, `epochs` and `classes` are the lists of `runs`, one row per entry, together with the ids of the run.
"""

_VIEWS = """## Views of `sweeper.query`

Computed from the tables by each query; not stored.
"""


def results_page() -> str:
    """The text of docs/results_schema.md."""
    tables, views = sections(schema.tables()), sections(schema.views())
    return "\n".join([_RESULTS.format(version=VERSION), tables, _VIEWS, views])


def sections(of: Mapping[str, Sequence[Column]]) -> str:
    """These tables in Markdown, each with its columns, types and meanings."""
    found = []
    for name, columns in of.items():
        lines = ["| column | type | meaning |", "|---|---|---|"]
        lines += [f"| `{c.name}` | {c.type} | {c.doc.replace('|', '/')} |" for c in columns]
        found.append(f"### {name}\n\n{schema.ABOUT[name]}\n\n" + "\n".join(lines) + "\n")
    return "\n".join(found)


# -- JSON Schemas --------------------------------------------------------------------------------------


def run_file_schema() -> dict[str, Any]:
    """The JSON Schema of run files, each method with its own fields."""
    schema = RunConfig.model_json_schema()
    methods = []
    for name in METHODS.names():
        own = METHODS.find(name).model_json_schema()
        own["properties"] = {"name": {"const": name}, **own.get("properties", {})}
        own["required"] = ["name", *own.get("required", [])]
        methods.append(own)
    schema["properties"]["method"] = {"oneOf": methods}
    schema["properties"]["provenance"] = {
        "type": "object",
        "description": "origin and evidence of a promoted file",
    }
    schema.get("$defs", {}).pop("Method", None)
    return schema


if __name__ == "__main__":
    argparse.ArgumentParser(description="Write the generated pages and JSON Schemas, where they changed.").parse_args()
    for path, content in contents().items():
        if not path.exists() or path.read_text() != content:
            path.parent.mkdir(exist_ok=True)
            atomic_write(path, content.encode())
            print(path.relative_to(ROOT))
