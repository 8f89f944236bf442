"""Generated pages, schemas and the site: complete, up to date, and true of the files that are shipped."""

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import get_args

import jsonschema
import pytest
import yaml

from support.pages import MADE_BY_THE_READER, PAGES, ROOT, markdown, navigation
from sweeper.search.space import SearchSpace
from sweeper.store.schema import configuration_columns
from trainer.methods.base import METHODS
from trainer.stages.second_stage import SecondStage

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


@pytest.mark.parametrize("name", [*METHODS.names(), "stage2"])
def test_differences_from_released_codes_are_in_the_table_and_with_the_method(name: str) -> None:
    differences = SecondStage.differences if name == "stage2" else METHODS.find(name).differences
    table = METHODS_PAGE.split("\n## Differences from released codes\n")[1].split("\n## ")[0]
    section = METHODS_PAGE.split(f"\n## {name}\n")[1].split("\n## ")[0]
    assert [line for line in table.splitlines() if line.startswith(f"| [{name}](")] == [
        f"| [{name}](#{name}) | {one} |" for one in differences
    ]
    assert [line for line in section.splitlines() if line.startswith("- ")] == [f"- {one}" for one in differences]


def test_what_is_allowed_reads_as_a_run_file_writes_it() -> None:
    assert "| `beta_cap` | `null` | float > 0 or null | no | 1 |" in METHODS_PAGE
    assert "| `lambda` | `0.7` | float ≥ 0 ≤ 100 | yes | 1 |" in METHODS_PAGE
    assert "| `kd_t2` | `true` | `true`, `false` | no | 1 |" in METHODS_PAGE
    assert "| `beta` | `norm` | `norm`, `one` | no | 1 |" in METHODS_PAGE


@pytest.mark.parametrize("page", PAGES)
def test_files_that_a_page_names_exist(page: str) -> None:
    folders = "trainer|sweeper|benchmarks|docs|tests|cluster|runs|search_spaces"
    named = re.findall(rf"`((?:{folders})/[\w/]+(?:\.\w+)?/?)`", markdown(page))
    stand_ins = re.compile(r"[A-Z]{3}|\.parquet$")  # runs/SWEEP.yaml; a file in the folder of a sweep
    missing = {name for name in named if not (ROOT / name).exists() and not stand_ins.search(name)}
    assert missing - MADE_BY_THE_READER == set()


SECTION = r"(?:data|protocol|net|memory|optim|stage2|method|objective|search|pruning|budget|resources)"


def fields_of_files() -> set[str]:
    """Of run files with all methods and of search spaces, as columns are called: ``budget_wall_hours``."""
    found = {column.name for column in configuration_columns()}
    for name, info in SearchSpace.model_fields.items():
        for kind in (info.annotation, *get_args(info.annotation)):
            found |= {f"{name}_{field}" for field in getattr(kind, "model_fields", ())}
    return found


@pytest.mark.parametrize("page", PAGES)
def test_fields_that_a_page_names_exist(page: str) -> None:
    known = fields_of_files() | {"method_preset"}
    named = re.findall(rf"`({SECTION}\.[a-z]\w*(?:\.\w+)*)", markdown(page))
    flat = {name.replace(".", "_") for name in named}
    assert {name for name in flat if not any(f"{field}_".startswith(f"{name}_") for field in known)} == set()


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


def test_the_site_lists_every_page_once() -> None:
    assert sorted(navigation()) == sorted(page.replace(".ipynb", ".md") for page in PAGES)


def test_the_site_is_built(tmp_path: Path) -> None:
    """Strictly: a link or an anchor that leads nowhere is an error."""
    build = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(tmp_path)]
    built = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    rendered = {file: file.read_text() for file in tmp_path.rglob("*.html")}
    assert len(rendered) > len(PAGES)
    code = re.compile(r"<code>.*?</code>|<script.*?</script>", re.DOTALL)
    assert [file for file, html in rendered.items() if "```" in code.sub("", html)] == [], "a block is shown as text"
