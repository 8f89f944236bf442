"""The README guides: it lists every page, in the order of the site, and six lines lead to a promoted run file."""

import re
from pathlib import Path
from typing import Any

import pytest

from support.pages import ROOT, blocks, commands, navigation
from support.results import store_trials
from sweeper.store.store import Store

TEXT = (ROOT / "README.md").read_text()


def test_pages_are_listed_in_the_order_of_the_site() -> None:
    listed = re.findall(r"^\| \[.*?\]\((\S+?)\)", TEXT, re.MULTILINE)
    assert ["README.md", *(page.replace(".ipynb", ".md") for page in listed)] == navigation()


def test_own_images_take_six_lines() -> None:
    (block,) = [block for block in blocks("README.md", "sh") if "cil init" in block.text]
    named = [words[1] for words in commands(block.text) if words[0] == "cil"]
    assert named == ["look", "init", "launch", "query", "promote"]
    assert len(block.text.splitlines()) == 6


def test_its_code_reads_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store_trials(Store("results", "digits"), range(2))
    (block,) = blocks("README.md", "python")
    names: dict[str, Any] = {}
    exec(block.text, names)
    assert names["best"].arrow().num_rows == 2
