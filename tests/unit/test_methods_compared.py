"""What people see of a sweep that compares methods: a row each, a colour each, no empty panel."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from support.results import result
from sweeper import status
from sweeper.reporting.figures import draw
from sweeper.reporting.methods import print_methods
from sweeper.search.space import Space
from sweeper.search.space_file import load_space
from sweeper.store.results import open_results
from sweeper.store.status_file import Status
from sweeper.store.store import Store
from sweeper.store.sweep_file import check_unchanged
from trainer.errors import exit_code

NAME = "method.name"
TRIED: list[tuple[dict[str, Any], list[float | None]]] = [
    ({NAME: "finetune"}, [60.0, 61.0]),
    ({NAME: "bic", "method.lambda": 1.0}, [70.0, 72.0]),
    ({NAME: "bic", "method.lambda": 0.5}, [80.0, 82.0]),
    ({NAME: "wa", "method.lambda": 0.5}, [75.0, None]),
]
"""the parameters of each trial, and the accuracy of its seeds: None where it failed"""


@pytest.fixture
def space(tmp_path: Path) -> Space:
    """A space with two conditional dimensions, one of which no configuration of TRIED has, and its sweep's results."""
    file = tmp_path / "s.yaml"
    content = {
        "base": str(Path(__file__).parents[2] / "runs" / "digits_lfs5.yaml"),
        "vary": {
            NAME: ["finetune", "bic", "wa"],
            "method.lambda": {"type": "float", "low": 0.1, "high": 5.0, "when": {NAME: ["bic", "wa"]}},
            "method.reserve": {"type": "float", "low": 0.1, "high": 0.5, "when": {NAME: "bic"}},
        },
        "seeds": [0, 1],
        "trials": 8,
    }
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    found, store = load_space(file), Store(tmp_path / "results", "s")
    check_unchanged(found, store.folder, None, "images")
    Status(8, state="finished", done=len(TRIED)).write(store.folder)
    for trial, (params, values) in enumerate(TRIED):
        runs = [
            result(trial, seed, value, method=params[NAME], status="finished" if value else "failed")
            for seed, value in enumerate(values)
        ]
        store.finish_trial(trial, runs, attempt="a", params=params)
    return found


def test_a_row_for_each_method_the_best_first(space: Space, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_methods(open_results(tmp_path / "results", "s"), "s")
    _, *rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows == [
        ["bic", "2", "2", "81.00", "±", "1.41", "2", "lambda", "0.5"],
        ["finetune", "1", "0", "60.50", "±", "0.71", "2"],
        ["wa", "1", "-", "-", "-", "-"],
    ]
    assert exit_code(lambda: status.main(["s", "--results", str(tmp_path / "results")])) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()[-3:]] == rows


def test_one_method_alone_is_compared_with_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(tmp_path, "s")
    store.finish_trial(0, [result(0, 0)], attempt="a", params={"method.alpha": 1.0})
    print_methods(open_results(tmp_path, "s"), "s")
    assert capsys.readouterr().out == ""


def test_a_figure_has_a_panel_for_what_was_tried_and_a_colour_for_each_method(space: Space, tmp_path: Path) -> None:
    drawn = draw(space, open_results(tmp_path / "results"))
    assert [axis.get_xlabel() for axis in drawn.axes] == [NAME, "method.lambda", "trial", "after task"]
    assert all(axis.lines or axis.collections for axis in drawn.axes)
    curves = drawn.axes[-1].get_legend_handles_labels()
    assert curves[1] == ["finetune (trial 0)", "bic (trial 2)"]
    points = [line for axis in drawn.axes[:2] for line in axis.lines if line.get_marker() == "o"]
    colors = {tuple(line.get_color()) for line in points}
    assert len(colors) == 2
