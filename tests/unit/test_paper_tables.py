"""The paper's tables: rows that exist, numbers that are the paper's, marks and headers that say what is so."""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.paper import __main__ as command
from benchmarks.paper import figures, layout, tuned
from benchmarks.paper.cells import RUNS, Cell, Choice, cells, columns, configure, departures, paper_numbers, scaled
from benchmarks.paper.layout import Entry
from benchmarks.paper.measure import Measured
from benchmarks.paper.report import Report, Section
from benchmarks.paper.systems import LUCIR_2STAGE, OURS, SYSTEMS
from benchmarks.paper.tables import TABLES
from sweeper.search.space_file import load_space
from trainer.config.files import load_run
from trainer.errors import ConfigError
from trainer.methods.base import METHODS
from trainer.results.rows import RunResult, TaskRow

SPACES = sorted((RUNS.parent / "search_spaces" / "methods").glob("*.yaml"))


# -- rows, columns, runs ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("data", ["", "imagenet32_lt", "digits"])
def test_every_cell_is_a_run(name: str, data: str) -> None:
    table = TABLES[name]
    found = cells(table, Choice(data=(data,) if data else ()))
    assert {cell.row.label for cell in found} == {row.label for row in table.rows}
    for cell in found:
        assert cell.configs[0].method.name == cell.row.changes["method"]["name"]
        assert [config.seed for config in cell.configs] == [0, 1, 2]
        assert (cell.configs[0].stage2 is None) == (cell.row.changes["stage2"] is None)
        assert cell.configs[0].data.evaluation.split == "test"


@pytest.mark.parametrize("name", TABLES)
def test_no_two_rows_are_one_run(name: str) -> None:
    found = cells(TABLES[name], Choice())
    places = {(cell.data, cell.column.label): [] for cell in found}
    for cell in found:
        places[cell.data, cell.column.label].append(cell.configs[0].config_id)
    assert all(len(set(ids)) == len(ids) for ids in places.values())


@pytest.mark.parametrize("name", ["table1", "table2", "table3"])
def test_the_papers_numbers_are_of_our_cells(name: str) -> None:
    table, numbers = TABLES[name], paper_numbers()[name]
    ours = {(cell.data, cell.column.label, cell.row.label) for cell in cells(table, Choice())}
    assert set(numbers) <= ours
    assert {label for _, _, label in numbers} >= {row.label for row in table.rows} - {
        "finetune",
        "cross-entropy",
        "LDAM-DRW",
        "CB softmax",
    }


def test_some_of_the_papers_numbers() -> None:
    numbers = paper_numbers()
    assert numbers["table1"]["cifar100_lt", "lfs10", "gradient reweighting"] == 35.66
    assert numbers["table1"]["food101_lt", "lfh10", "iCaRL"] == 21.31
    assert numbers["table2"]["cifar100_lt", "ratio 50", "balanced softmax"] == 49.25
    assert numbers["table3"]["imagenet_subset_lt", "lfh5", "DAKD alone"] == 41.68
    assert {name: len(found) for name, found in numbers.items()} == {"table1": 144, "table2": 30, "table3": 16}


def test_columns_follow_the_run_files_that_a_data_set_has() -> None:
    def labels(table: str, data: str) -> list[str]:
        return [column.label for column in columns(TABLES[table], data)]

    assert labels("table3", "food101_lt") == ["lfs10", "lfs20"]
    assert labels("table3", "imagenet32_lt") == ["lfs10", "lfs20", "lfh5", "lfh10"]
    assert labels("table1", "digits") == ["lfs5"]
    assert labels("fig4", "digits") == ["ratio 50", "ratio 100", "ratio 200", "10 exemplars", "50 exemplars"]
    with pytest.raises(ConfigError, match="did you mean 'food101_lt'"):
        labels("table1", "food101")


def test_large_images_have_their_own_weight() -> None:
    (small, *_), (large, *_) = (columns(TABLES["table1"], data) for data in ("cifar100_lt", "imagenet_subset_lt"))
    assert configure("cifar100_lt", small, LUCIR_2STAGE, Choice()).method.model_dump()["lambda_"] == 5.0
    assert configure("imagenet_subset_lt", large, LUCIR_2STAGE, Choice()).method.model_dump()["lambda_"] == 10.0


def test_a_label_that_is_none_is_named() -> None:
    with pytest.raises(ConfigError, match="did you mean 'LUCIR-2stage'"):
        cells(TABLES["table1"], Choice(only=("LUCIR2stage",)))
    with pytest.raises(ConfigError, match="no such label: 'lfs5'"):
        cells(TABLES["table1"], Choice(columns=("lfs5",)))


# -- smaller versions ---------------------------------------------------------------------------------


def test_epochs_are_scaled_in_every_stage() -> None:
    content = load_run(RUNS / "cifar100_lt_lfs10.yaml", ["stage2={}", "optim.warmup_epochs=5"]).config.as_dict()
    small = scaled(content, 0.1)
    assert (small["optim"]["epochs"], small["optim"]["milestones"], small["optim"]["warmup_epochs"]) == (16, [8, 12], 1)
    assert small["stage2"]["epochs"] == 3
    assert scaled(content, 1) == content
    tiny = scaled(content, 0.001)
    assert (tiny["optim"]["epochs"], tiny["optim"]["milestones"]) == (1, [1])
    assert scaled({**content, "optim": {**content["optim"], "warmup_epochs": 0}}, 0.1)["optim"]["warmup_epochs"] == 0


@pytest.mark.parametrize("name", METHODS.names())
def test_methods_state_epochs_as_parts_of_a_tasks(name: str) -> None:
    """So that a scaled schedule scales them too."""
    for key, info in METHODS.find(name).model_fields.items():
        assert type(info.default) is not int or "epoch" not in f"{key} {info.description}"


def test_a_reduced_table_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    table = TABLES["table1"]
    assert departures(table, Choice()) == []
    assert departures(table, Choice(data=("imagenet32_lt",))) == []
    choice = Choice(("cifar100_lt",), ("BiC",), ("lfs10",), (0,), 0.5, ("memory.per_class=5",))
    less = departures(table, choice)
    assert less == [
        "epochs x 0.5",
        "memory.per_class=5",
        "1 seed instead of 3",
        "1 of 13 rows",
        "cifar100_lt: 1 of 4 columns",
    ]
    report = Report("t", table, less, "", [Section("cifar100_lt", ["system"], [["BiC"]])], [], [], [])
    report.show()
    assert capsys.readouterr().out.splitlines()[2].startswith("REDUCED, not the paper's table: epochs x 0.5; memory.")


# -- marks and layout ---------------------------------------------------------------------------------


def entry(row: str, *values: float, paper: float | None = None, **more: Any) -> Entry:
    seeds = tuple(range(len(values)))
    return Entry("cifar100_lt", "lfs10", row, seeds, values, paper=paper, paper_of="cifar100_lt", **more)


@pytest.mark.parametrize(
    ("values", "paper", "inside"),
    [
        ((30.0, 31.0, 32.0), 31.9, True),
        ((30.0, 31.0, 32.0), 32.1, False),
        ((30.0, 31.0, 32.0), 30.0, True),
        ((31.0,), 31.0, False),
        ((), 31.0, False),
        ((30.0, 31.0, 32.0), None, False),
    ],
)
def test_inside_the_spread(values: tuple[float, ...], paper: float | None, inside: bool) -> None:
    one = entry("BiC", *values, paper=paper, comparable=True)
    assert one.inside is inside
    assert not replace(one, comparable=False).inside, "what does not compare is not marked"


def test_the_table() -> None:
    found = [
        entry("WA", 20.0, 22.0, paper=27.63),
        entry("BiC", 30.0, 32.0, paper=30.5, comparable=True),
        entry("IL2M", 30.5, 30.5, paper=31.37),
        entry("SS-IL", note="3 of 3 diverged"),
    ]
    headers, rows = layout.grid(TABLES["table1"], found, "cifar100_lt")
    assert headers == ["system", "lfs10", "paper (cifar100_lt)"]
    assert rows == [
        ["WA", "21.00 ± 1.41 (2)", "27.63"],
        ["BiC", "31.00 ± 1.41 (2)", "30.50 ≈"],
        ["IL2M", "30.50 ± 0.00 (2)", "31.37"],
        ["SS-IL", "3 of 3 diverged", ""],
    ]
    assert entry("WA", 0.0123, 0.0125).ours == "0.0124 ± 0.000141 (2)"
    assert entry("WA", 20.0, 20.2).ours == "20.10 ± 0.14 (2)"
    assert layout.markdown(headers, rows).splitlines()[1] == "| --- | --- | --- |"
    assert layout.orders(TABLES["table1"], found, "cifar100_lt") == [
        "cifar100_lt lfs10: the order of 3 rows against the paper's (cifar100_lt): Kendall's tau +0.33"
    ]
    assert layout.parquet_rows("t", found, "%", ["x"])["inside_spread"].to_pylist() == [False, True, False, False]


def test_fewer_is_better_where_it_is() -> None:
    found = [entry("KD", 20.0, 22.0), entry("DAKD", 10.0, 12.0)]
    _, rows = layout.grid(TABLES["fig5"], found, "cifar100_lt")
    assert [row[1].endswith("*") for row in rows] == [False, True]
    _, rows = layout.grid(TABLES["fig6"], found, "cifar100_lt")
    assert not any(row[1].endswith("*") for row in rows)


@pytest.mark.parametrize(
    ("best", "others", "marked"),
    [
        ((30.0, 31.0, 32.0), {"WA": (20.0, 21.0, 22.5)}, True),
        ((30.0, 31.0, 32.0), {"WA": (20.0, 21.0, 22.5), "noisy and low": (5.0, 40.0, 10.0)}, False),
        ((30.0, 31.0, 32.0), {"close": (29.0, 31.5, 31.0)}, False),
        ((30.0, 31.0), {"a seed failed": (20.0, 21.0, 22.0)}, False),
        ((30.0,), {"one seed": (20.0,)}, False),
    ],
)
def test_a_star_needs_evidence(best: Sequence[float], others: dict[str, Sequence[float]], marked: bool) -> None:
    found = [entry("BiC", *best), *(entry(row, *values) for row, values in others.items())]
    _, rows = layout.grid(TABLES["table1"], found, "cifar100_lt")
    assert [row[1].endswith("*") for row in rows] == [marked, *[False] * len(others)]


@pytest.mark.parametrize("name", ["table1", "fig4", "fig6"])
def test_a_panel_of_which_nothing_finished_says_so(name: str) -> None:
    table = TABLES[name]
    steps = {"step": 0, "position": 0 if table.drawn == "classes" else None}
    cells = [entry("BiC", 30.0, 31.0), entry("WA", note="3 of 3 diverged")]
    drawn = figures.draw(table, cells, [replace(cells[0], **steps)], "")
    texts = [text.get_text() for axis in drawn.axes for text in axis.texts]
    assert any("3 of 3 diverged" in text for text in texts)


def finished(accuracy_pct: float, seed: int = 0, tasks: Sequence[TaskRow] = ()) -> RunResult:
    ids = {"run_id": f"run{seed}", "config_id": "config", "seed": seed}
    return RunResult(**ids, status="finished", split="test", acc_task_mean_pct=accuracy_pct, tasks=list(tasks))


def test_numbers_of_another_set_stand_beside_but_are_never_marked() -> None:
    column = columns(TABLES["table1"], "imagenet32_lt")[0]
    cell = Cell("imagenet32_lt", column, OURS, (configure("imagenet32_lt", column, OURS, Choice()),))
    runs = tuple(finished(35.66 + d, seed=d) for d in (-1, 0, 1))
    (one,) = layout.entries(TABLES["table1"], "table1", [Measured(cell, runs)], reduced=False)
    assert (one.paper, one.paper_of, one.inside) == (35.66, "cifar100_lt", False)
    own = Measured(replace(cell, data="cifar100_lt"), runs)
    assert layout.entries(TABLES["table1"], "table1", [own], reduced=False)[0].inside
    assert not layout.entries(TABLES["table1"], "table1", [own], reduced=True)[0].inside


def test_other_classifiers_have_their_row() -> None:
    column = columns(TABLES["table1"], "digits")[0]
    cell = Cell("digits", column, OURS, (configure("digits", column, OURS, Choice()),))
    tasks = [
        TaskRow.model_construct(phase_acc_task_mean_pct=90.0, phase_acc_others_pct={}),
        TaskRow.model_construct(phase_acc_task_mean_pct=50.0, phase_acc_others_pct={"boosted": 60.0}),
    ]
    run = finished(70.0, tasks=tasks)
    own, other = layout.entries(TABLES["table1"], "table1", [Measured(cell, (run,))], reduced=False)
    assert (own.row, own.values) == ("gradient reweighting", (70.0,))
    assert (other.row, other.values, other.paper) == ("gradient reweighting, boosted", (75.0,), None)


# -- searches -----------------------------------------------------------------------------------------


def test_every_system_has_a_space() -> None:
    assert {file.stem for file in SPACES} >= set(METHODS.names()) | {row.slug for row in SYSTEMS}
    assert all(tuned.space_of(row) in SPACES for row in SYSTEMS)


@pytest.mark.parametrize("file", SPACES, ids=lambda file: file.stem)
def test_a_space_starts_from_the_defaults_and_has_the_same_budget(file: Path) -> None:
    space = load_space(file)
    base = space.base.as_dict()
    assert space.base.method.name == file.stem.removesuffix("_2stage")
    assert (space.base.stage2 is not None) == file.stem.endswith("_2stage")
    defaults = {name: reduce(dict.__getitem__, name.split("."), base) for name in space.spec.vary}
    assert [dict(point) for point in space.spec.first] == [defaults]
    content, ours = (yaml.safe_load(f.read_text()) for f in (file, tuned.space_of(OURS)))
    for field in ("seeds", "objective", "search", "trials", "resources"):
        assert content[field] == ours[field]
    assert "pruning" not in content
    assert "budget" not in content


def test_only_table_1_has_searches() -> None:
    with pytest.raises(ConfigError, match=re.escape("--tuned: fig5 has no searches; allowed: with table1")):
        command.main(["fig5", "--tuned"])
