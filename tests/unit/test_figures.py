"""The figure of a sweep: every configuration is in it, a colour is one of them, and papers can use it."""

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex

from support.results import result
from sweeper import report
from sweeper.reporting.figures import BASE, BEST, FIRST, PROMOTED, draw
from sweeper.search.dimensions import FloatDimension
from sweeper.search.space import Space
from sweeper.search.space_file import load_space
from sweeper.store.folder import Folder
from sweeper.store.results import open_results
from sweeper.store.schema import PromotionRow
from sweeper.store.status_file import Status
from sweeper.store.store import Store
from sweeper.store.sweep_file import check_unchanged, read_space
from trainer.errors import exit_code
from trainer.tables import latex

ROOT = Path(__file__).parents[2]
ENDS = ["finished", "finished", "finished", "pruned", "pruned", "diverged"]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Three configurations that finished, two that were pruned, one that diverged; only pruned ones have reserve."""
    file = tmp_path / "s.yaml"
    vary = {
        "method.kd": ["dakd", "none"],
        "method.alpha": {"type": "float", "low": 0.1, "high": 5.0},
        "method.temperature": {"type": "float", "low": 1.0, "high": 5.0, "when": {"method.kd": "none"}},
        "method.lambda": {"type": "float", "low": 0.1, "high": 5.0, "when": {"method.kd": "none"}},
    }
    base = str(ROOT / "runs" / "digits_lfs5.yaml")
    file.write_text(yaml.safe_dump({"base": base, "vary": vary, "seeds": [0, 1], "trials": 9}, sort_keys=False))
    store = Store(tmp_path / "results", "s")
    check_unchanged(load_space(file), store.folder, None, "images")
    for trial, end in enumerate(ENDS):
        runs = [result(trial, s, 50.0 + (7 * trial) % 11, status=end, method="gradient_reweighting") for s in (0, 1)]
        params = {"method.kd": "none" if end == "pruned" else "dakd", "method.alpha": 1.0 + trial}
        if end == "pruned":
            params["method.temperature"] = 2.0 + trial
        store.finish_trial(trial, runs, attempt="a", params=params)
    return tmp_path / "results"


def space(results: Path) -> Space:
    return read_space(Folder.at(results).child("s"))


def crosses(axis: Axes) -> int:
    """Configurations at the bottom of a panel."""
    return sum(len(line.get_xdata()) for line in axis.lines if line.get_marker() in ("x", "+"))


def test_what_did_not_finish_is_shown_and_counted(results: Path) -> None:
    drawn = draw(space(results), open_results(results))
    assert drawn.get_suptitle() == "s: 6 configurations x 2 seeds (3 finished, 1 diverged, 2 pruned)"
    panels = {axis.get_xlabel(): axis for axis in drawn.axes}
    assert list(panels) == ["method.kd", "method.alpha", "method.temperature", "trial", "after task"]
    assert [crosses(axis) for axis in panels.values()] == [3, 3, 2, 3, 0]
    legend = panels["trial"].get_legend_handles_labels()[1]
    assert {"pruned", "diverged"} <= set(legend)


def test_a_figure_says_nothing_of_ends_where_all_finished(results: Path) -> None:
    store = Store(results, "t")
    store.folder.write("space.yaml", (results / "s" / "space.yaml").read_bytes())
    store.finish_trial(0, [result(0, s) for s in (0, 1)], attempt="a", params={"method.alpha": 1.0})
    drawn = draw(read_space(store.folder), open_results(results))
    assert drawn.get_suptitle() == "t: 1 configuration x 2 seeds"


@pytest.mark.parametrize(
    ("state", "start"), [("running", "s, interrupted: 6 of 9 configurations"), ("finished", "s: 6 ")]
)
def test_the_title_of_a_sweep_that_has_not_ended_says_so(results: Path, state: Any, start: str) -> None:
    done, folder = 6 if state == "running" else 9, Store(results, "s").folder
    Status(total=9, done=done, state=state).write(folder)
    assert report.main(["s", "--results", str(results), "--out", str(results / "out"), "--format", "svg"]) == 0
    title = re.findall(r"<!-- (s[,:].*?) -->", (results / "out" / "s.svg").read_text())
    assert len(title) == 1
    assert title[0].startswith(start)


@pytest.mark.parametrize(
    ("low", "high"), [(0.05, 10), (0.05, 5), (0.01, 0.1), (0.011, 0.019), (1e-6, 1e-1), (1e-12, 10), (1, 9), (5, 4000)]
)
def test_labels_of_a_logarithmic_axis_stand_side_by_side(results: Path, low: float, high: float) -> None:
    own = space(results)
    dimension = FloatDimension(type="float", low=low, high=high, log=True)
    own.spec.vary["method.alpha"] = dimension
    axis = next(axis for axis in draw(own, open_results(results)).axes if axis.get_xlabel() == "method.alpha")
    axis.set_xlim(low, high)
    FigureCanvasAgg(axis.figure).draw()
    boxes = [label.get_window_extent() for label in axis.get_xticklabels(which="both") if label.get_text()]
    assert 2 <= len(boxes) <= 8
    assert all(right.x0 > left.x1 + 2 for left, right in pairwise(sorted(boxes, key=lambda box: box.x0)))


@pytest.mark.parametrize(("leader", "color"), [(0, FIRST), (1, BEST), (2, PROMOTED)])
def test_a_colour_is_one_configuration(results: Path, leader: int, color: str) -> None:
    own = space(results)
    base = own.base_on_test().config_id
    promotion = Store(results, "s-promotion")
    for trial, config_id in enumerate((f"c{leader}", base)):
        runs = [result(trial, s, 60.0, split="test", config_id=config_id) for s in (5, 6)]
        promotion.finish_trial(trial, runs, attempt="a")
    row = PromotionRow.model_construct(
        sweep="s", trial=leader, config_id=f"c{leader}", incumbent_config_id=None, seeds=[5, 6], decision="promoted"
    )
    Store(results, "s").promote(row)
    drawn = draw(own, open_results(results))
    lines = {line.get_label(): to_hex(line.get_color()) for line in drawn.axes[-1].lines}
    handles, labels = drawn.axes[-1].get_legend_handles_labels()
    colors = {label: to_hex(handle[0].get_color()) for handle, label in zip(handles, labels, strict=True)}
    assert colors == {f"trial {leader}": color, "the sweep's base": BASE}, lines
    assert len({FIRST, BEST, PROMOTED, BASE}) == 4


def test_formats(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    arguments = ["s", "--results", str(results), "--out", str(out)]
    assert report.main([*arguments, "--format", "pdf,tex"]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["s.pdf", "s.tex"]
    assert (out / "s.pdf").read_bytes().startswith(b"%PDF")
    lines = (out / "s.tex").read_text().splitlines()
    assert lines[0] == r"\begin{tabular}{llllll}"
    assert lines[2] == r"trial & alpha & kd & acc\_task\_mean\_pct (validation) & n & device s \\"
    assert lines[4].startswith(r"1 & 2 & dakd & 57.00 $\pm$ 0.00 & 2 & ")
    capsys.readouterr()
    with pytest.raises(SystemExit):
        exit_code(lambda: report.main([*arguments, "--format", "png,jpg"]))
    assert "'jpg' is none of png, svg, pdf, tex" in capsys.readouterr().err


def test_latex_is_escaped() -> None:
    assert latex(["a_b"], [["50 % & \\{x}^~#$"]]).splitlines()[2:5:2] == [
        r"a\_b \\",
        r"50 \% \& \textbackslash{}\{x\}\textasciicircum{}\textasciitilde{}\#\$ \\",
    ]
