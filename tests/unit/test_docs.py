"""Generated pages and schemas: complete, up to date, and true of the files that are shipped."""

import json
import re
import runpy
from pathlib import Path

import jsonschema
import pytest
import yaml

from trainer.methods.base import METHODS

ROOT = Path(__file__).parents[2]
CONTENTS: dict[Path, str] = runpy.run_path(str(ROOT / "docs" / "make.py"))["contents"]()
METHODS_PAGE = CONTENTS[ROOT / "docs" / "methods.md"]


@pytest.mark.parametrize("path", CONTENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_is_generated_is_up_to_date(path: Path) -> None:
    assert path.read_text() == CONTENTS[path], f"{path.relative_to(ROOT)} is stale: run `make docs`"


@pytest.mark.parametrize("folder", ["runs", "search_spaces"])
def test_schemas_accept_what_is_shipped(folder: str) -> None:
    schema = json.loads(CONTENTS[ROOT / folder / "schema.json"])
    for file in (ROOT / folder).rglob("*.yaml"):
        jsonschema.validate(yaml.safe_load(file.read_text()), schema)


@pytest.mark.parametrize("name", METHODS.names())
def test_every_field_of_a_method_has_its_line(name: str) -> None:
    section = METHODS_PAGE.split(f"\n## {name}\n")[1].split("\n## ")[0]
    fields = [info.alias or key for key, info in METHODS.find(name).model_fields.items()]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    assert [line.split("`")[1] for line in lines] == fields


def test_what_is_allowed_reads_as_a_run_file_writes_it() -> None:
    assert "| `beta_cap` | `null` | float > 0 or null | no | 1 |" in METHODS_PAGE
    assert "| `lambda` | `0.7` | float ≥ 0 ≤ 100 | yes | 1 |" in METHODS_PAGE
    assert "| `kd_t2` | `true` | `true`, `false` | no | 1 |" in METHODS_PAGE
    assert "| `beta` | `norm` | `norm`, `one` | no | 1 |" in METHODS_PAGE


EXAMPLES = re.compile("NAME|weighted_replay")
"""files that a reader is told to make"""

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "benchmarks" / "README.md"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_and_files_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text()
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    missing = [link for link in links if link and not (page.parent / link).exists()]
    named = re.findall(r"`((?:trainer|sweeper|benchmarks|docs|tests|cluster)/[\w/]+(?:\.\w+)?/?)`", text)
    missing += [name for name in named if not (ROOT / name).exists() and not EXAMPLES.search(name)]
    assert not missing


def test_the_architecture_page_names_every_package() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    packages = [path.parent for side in ("trainer", "sweeper") for path in (ROOT / side).glob("*/__init__.py")]
    assert [package.name for package in packages if package.name not in page] == []


def test_the_words_are_read_in_a_minute() -> None:
    assert len(re.findall(r"^\| \*", (ROOT / "docs" / "words.md").read_text(), re.MULTILINE)) <= 20


def test_every_guarantee_names_a_test_that_exists() -> None:
    text = (ROOT / "docs" / "guarantees.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    files = {file: ROOT / file for file, _ in named}
    tests = {file: path.read_text() if path.exists() else "" for file, path in files.items()}
    missing = [f"{file}::{name}" for file, name in named if f"def {name}(" not in tests[file]]
    assert not missing
    promises = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| promise")]
    assert promises
    assert [line for line in promises if "`tests/" not in line] == []
