"""JSON Schemas with which editors check and complete YAML files: ``python -m sweeper.editor_schema``.

Files name theirs in a first line: ``# yaml-language-server: $schema=schema.json``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sweeper.search.space import SearchSpace
from trainer.config.run_config import RunConfig
from trainer.files import atomic_write
from trainer.methods.base import find, names

ROOT = Path(__file__).resolve().parent.parent


def of_run_files() -> dict[str, Any]:
    """Of run files, each method with its own fields."""
    schema = RunConfig.model_json_schema()
    methods = []
    for name in names():
        own = find(name).model_json_schema()
        own["properties"] = {"name": {"const": name}, **own.get("properties", {})}
        own["required"] = ["name", *own.get("required", [])]
        methods.append(own)
    schema["properties"]["method"] = {"oneOf": methods}
    schema["properties"]["provenance"] = {
        "type": "object",
        "description": "of promoted files: where the numbers come from",
    }
    schema.get("$defs", {}).pop("Method", None)
    return schema


def files() -> dict[Path, str]:
    """What each schema file holds."""
    schemas = {"runs": of_run_files(), "search_spaces": SearchSpace.model_json_schema()}
    return {ROOT / folder / "schema.json": json.dumps(schema, indent=1) + "\n" for folder, schema in schemas.items()}


if __name__ == "__main__":
    for path, content in files().items():
        atomic_write(path, content.encode())
        print(path)
