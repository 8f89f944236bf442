"""Comparisons of run files: what they say of a reduced run, of a difference, and of bad input."""

import json
import re
from pathlib import Path

import pytest

import benchmarks.record
from benchmarks import compare
from trainer.config.files import load_run
from trainer.errors import exit_code

RUNS = Path(__file__).parents[2] / "runs"
DIGITS, FINETUNE = str(RUNS / "digits_lfs5.yaml"), str(RUNS / "digits_lfs5_finetune.yaml")
SHORT = ["--set", "optim.epochs=1", "--set", "data.imbalance.max_per_class=20"]


def rows(first: list[float], second: list[float]) -> list[dict[str, object]]:
    return [{"label": name, compare.ACC: values} for name, values in (("a", first), ("b", second))]


def test_what_overrides_change_is_named_and_the_method_is_no_part_of_it() -> None:
    full, reduced = load_run(DIGITS).config, load_run(DIGITS, ["optim.epochs=3", "method.lambda=0.1"]).config
    assert compare.changes(reduced, full) == {"optim.epochs": (3, 20)}
    assert compare.changes(load_run(FINETUNE).config, full) == {}


def test_a_reduced_run_says_so_in_its_header() -> None:
    full, other = compare.Entry.parse(f"x={DIGITS}", []), compare.Entry.parse(f"y={DIGITS},optim.epochs=3", [])
    assert compare.header([full], None) == []
    assert compare.header([full, other], None) == ["REDUCED RUN (y), not the full protocol: optim.epochs 3 (full: 20)."]
    assert compare.header([other], None)[0].startswith("REDUCED RUN, not the full protocol")


def test_another_optimiser_is_said_but_is_no_smaller_run() -> None:
    tuned = compare.Entry.parse(f"x={DIGITS},optim.batch_size=8", [])
    assert compare.header([tuned], None) == [
        "Another optimiser, the rest as in the protocol: optim.batch_size 8 (full: 32)."
    ]
    shorter = compare.Entry.parse(f"x={DIGITS},optim.batch_size=8,optim.epochs=3", [])
    assert compare.header([shorter], None)[0].startswith("REDUCED RUN")


def test_a_file_that_is_reduced_itself_is_held_against_the_protocol(tmp_path: Path) -> None:
    file = tmp_path / "small.yaml"
    file.write_text(Path(DIGITS).read_text().replace("epochs: 20", "epochs: 16"))
    entry = compare.Entry.parse(str(file), [])
    assert compare.header([entry], None) == []
    assert "optim.epochs 16 (full: 20)" in compare.header([entry], DIGITS)[0]


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        ([9.0, 10.0, 11.0], [4.0, 5.0, 6.1], "better than b by .*; more than the larger spread of the two, 1.05"),
        ([9.0, 10.0, 11.0], [8.5, 9.6, 10.4], "better than b by .*; not more than the larger spread of the two"),
        ([9.0, 10.0, 11.0], [10.9, 8.2, 10.0], "not significant.*; not more than"),
        ([4.0, 5.0, 6.0], [9.0, 10.0, 11.0], "not better than b"),
    ],
)
def test_the_verdict_weighs_the_interval_and_the_spread(first: list[float], second: list[float], says: str) -> None:
    (line,) = compare.verdicts(rows(first, second))
    assert re.search(says, line), line


def test_a_comparison_is_recorded_with_all_that_it_needs_to_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmarks.record, "RESULTS", tmp_path)
    assert compare.main([f"ours={DIGITS}", f"plain={FINETUNE}", *SHORT, "--seeds", "7,8", "--name", "x"]) == 0
    record = json.loads((tmp_path / "x.json").read_text())
    assert [len(row["acc_task_mean_pct"]) for row in record["runs"]] == [2, 2]
    assert {"commit", "at", "device", "cores", "torch_threads", "versions", "seeds"} <= set(record)
    text = (tmp_path / "x.md").read_text()
    assert text.splitlines()[2].startswith("REDUCED RUN, not the full protocol: ")
    assert record["command"] in text
    assert "data.imbalance.max_per_class 20 (full: null)" in text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([DIGITS, "--seeds", "1,x"], "--seeds"),
        ([DIGITS, "--seeds", "1,1"], "given twice"),
        (["a=no.yaml"], "no.yaml"),
        ([f"{DIGITS},optim.epoch=3"], "epoch"),
        ([DIGITS, f"{DIGITS},protocol.tasks=2", *SHORT, "--seeds", "1"], "not comparable"),
    ],
)
def test_bad_input_gets_one_line(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(lambda: compare.main(arguments)) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert says in line
