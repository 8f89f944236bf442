"""docs/faq.md: its code gives a run's own numbers."""

import re
from pathlib import Path
from typing import Any

import pytest

from sweeper import query
from sweeper.store.results import open_results
from trainer import run

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "faq.md").read_text()


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names that the page's code defines, for a run that is trained in seconds."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    short = ["--set", "optim.epochs=1", "--set", "protocol.tasks=2"]
    assert (
        run.main(
            [str(ROOT / "runs" / "digits_lfs5.yaml"), "--out", "out/digits", "--keep-model", "--device", "cpu", *short]
        )
        == 0
    )
    names: dict[str, Any] = {}
    exec(code, names)
    return names


def test_the_weights_give_the_accuracy_that_the_run_has(
    trained: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = [trained["images"].class_names_C[label] for label in trained["images"].eval_labels_N]
    hits = [name == label for name, label in zip(trained["names"], labels, strict=True)]
    by_class = "SELECT acc_pct, eval_images FROM classes WHERE task = (SELECT max(task) FROM classes)"
    rows = open_results(tmp_path / "out" / "digits").sql(by_class).rows()
    expected = sum(row["acc_pct"] / 100 * row["eval_images"] for row in rows)
    assert sum(hits) == pytest.approx(expected)


def test_the_columns_that_it_sends_to_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert query.main(["--columns", "classes"]) == 0
    assert "acc_pct" in capsys.readouterr().out
