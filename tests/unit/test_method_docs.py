"""docs/methods.md: what the methods' files say, all of it and up to date."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainer import method_docs
from trainer.methods.base import find, names

PAGE = Path(__file__).parents[2] / "docs" / "methods.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == method_docs.page(), "run: python -m trainer.method_docs > docs/methods.md"


@pytest.mark.parametrize("name", names())
def test_every_field_has_its_line(name: str) -> None:
    section = method_docs.page().split(f"\n## {name}\n")[1].split("\n## ")[0]
    fields = [info.alias or key for key, info in find(name).model_fields.items()]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    assert [line.split("`")[1] for line in lines] == fields


def test_what_is_allowed_reads_as_a_run_file_writes_it() -> None:
    page = method_docs.page()
    assert "| `beta_cap` | `null` | float > 0 or null | no | 1 |" in page
    assert "| `lambda` | `0.7` | float ≥ 0 ≤ 100 | yes | 1 |" in page
    assert "| `kd_t2` | `true` | `true`, `false` | no | 1 |" in page
    assert "| `beta` | `norm` | `norm`, `one` | no | 1 |" in page
