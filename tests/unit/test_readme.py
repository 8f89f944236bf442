"""What the README points to is there."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text()


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)", TEXT)
    assert len(links) > 10
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_page_is_listed() -> None:
    pages = {page.name for page in (ROOT / "docs").glob("*.md")}
    assert pages <= set(re.findall(r"docs/(\w+\.md)", TEXT))


@pytest.mark.parametrize("module", sorted(set(re.findall(r"python -m ([\w.]+)", TEXT))))
def test_every_command_exists(module: str) -> None:
    assert importlib.util.find_spec(module) is not None


def test_every_shipped_file_that_is_named_exists() -> None:
    named = set(re.findall(r"(?:search_spaces|runs)/\w+\.yaml", TEXT))
    theirs = {"search_spaces/mine.yaml", "runs/digits.yaml"}  # what the reader makes
    assert {name for name in named - theirs if not (ROOT / name).exists()} == set()
