"""A table of hyperparameters: grown by resuming, read by anyone, searched in milliseconds."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import optuna
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.landscape import __main__ as command
from benchmarks.landscape import grid as grids
from benchmarks.landscape.grid import Grid
from benchmarks.landscape.grow import grow, packs, wanted
from benchmarks.landscape.replay import SAMPLERS, replay
from benchmarks.landscape.table import Landscape
from trainer.errors import exit_code
from trainer.training.options import DeviceOptions

EXACT = DeviceOptions(device="cpu", precision="float64")
ROOT = Path(__file__).parents[2]
TINY = """
base: {base}
worlds: [0]
seeds: [0, 1]
systems:
  distillation:
    method.lambda: {{type: float, low: 0.1, high: 10, log: true, levels: 3}}
    optim.lr: {{type: float, low: 0.01, high: 0.09, levels: 2}}
"""
RUN = """
data: {source: digits, crop: 8, normalise: half, imbalance: {ratio: 5, max_per_class: 10}}
protocol: {tasks: 3, kind: lfs}
net: {name: small}
method: {name: finetune}
memory: {per_class: 2}
optim: {epochs: 1, milestones: [], batch_size: 64}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("grids")
    (made / "run.yaml").write_text(RUN)
    (made / "tiny.yaml").write_text(TINY.format(base="run.yaml"))
    return made


@pytest.fixture
def tiny(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Grid:
    monkeypatch.setattr(grids, "HERE", folder)
    return Grid.load("tiny")


@pytest.fixture(scope="module")
def file(folder: Path) -> Path:
    """The whole table of the tiny grid."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grids, "HERE", folder)
        grow(Grid.load("tiny"), folder / "tiny.parquet", minutes=9, members=6, options=EXACT)
    return folder / "tiny.parquet"


def test_every_recorded_grid_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for path in grids.HERE.glob("*.yaml"):
        grid = Grid.load(path.stem)
        runs = sum(len(grid.points(system)) for system in grid.content.systems) * len(grid.content.worlds)
        assert len({one.config.run_id for one in wanted(grid)}) == 2 * runs * len(grid.content.seeds)


def test_packs_hold_what_trains_together(tiny: Grid) -> None:
    found = packs(list(wanted(tiny)), 4)
    assert sorted(map(len, found)) == [2, 2, 2, 2, 4, 4, 4, 4]
    for pack in found:
        assert len({(one.config.optim.lr, one.slice.split) for one in pack}) == 1


def test_it_grows_by_resuming(tiny: Grid, file: Path, tmp_path: Path) -> None:
    mine = tmp_path / "t.parquet"
    whole = pq.read_table(file).drop_columns(["device_s_by_task", "members"]).to_pylist()
    assert len(whole) == 24
    pq.write_table(pq.read_table(file).slice(0, 17), mine)
    assert grow(tiny, mine, minutes=0, members=6, options=EXACT) == 7
    assert grow(tiny, mine, minutes=9, members=6, options=EXACT) == 0
    assert pq.read_table(mine).drop_columns(["device_s_by_task", "members"]).to_pylist() == whole


def test_a_file_that_is_no_table_of_the_grid_is_one_line(
    tiny: Grid, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, mine = pq.read_table(file), tmp_path / "t.parquet"
    ids = pa.array(["other", *table["run_id"].to_pylist()[1:]])
    moved = table.set_column(table.column_names.index("run_id"), "run_id", ids)
    for content, said in (
        (b"damaged", "not a readable Parquet file"),
        (b"", "not a readable Parquet file"),
        (pa.table({"a": [1]}), "no table of hyperparameters"),
        (moved, "1 of its 24 runs is not of the grid tiny"),
    ):
        pq.write_table(content, mine) if isinstance(content, pa.Table) else mine.write_bytes(content)
        for further in (["--minutes", "0"], ["--replays", "1"]):
            assert exit_code(lambda: command.main(["tiny", "--file", str(mine), *further])) == 2  # noqa: B023
            (line,) = capsys.readouterr().err.splitlines()
            assert line.startswith(f"error: {mine}: {said}")


def test_points_and_levels_are_each_other_s(tiny: Grid, file: Path) -> None:
    land = Landscape.load(file, "distillation")
    assert [land.params(point) for point in range(land.points)] == tiny.points("distillation")
    assert [land.nearest(land.params(point)) for point in range(land.points)] == list(range(6))
    assert land.params(land.nearest({"method.lambda": 3.1, "optim.lr": 0.04})) == {
        "method.lambda": 1.0,  # 3.1 is nearer to 10 on a linear scale
        "optim.lr": 0.01,
    }
    for row in pq.read_table(file).to_pylist():
        assert land.params(row["point"]) == {"method.lambda": row["method_lambda"], "optim.lr": row["optim_lr"]}
        acc_T = land.acc_RPT[row["split"]][land.repetitions.index((row["world"], row["seed"])), row["point"]]
        assert acc_T.tolist() == row["acc_task_mean_pct_by_task"]


def test_a_repetition_that_is_not_complete_is_none(file: Path, tmp_path: Path) -> None:
    table = pq.read_table(file)
    rows = table.to_pylist()
    lacks = [not (row["seed"] == 1 and row["split"] == "test" and row["point"] == 4) for row in rows]
    pq.write_table(table.filter(lacks), tmp_path / "t.parquet")
    assert Landscape.load(tmp_path / "t.parquet", "distillation").repetitions == [("0", 0)]
    lacks = [row["split"] == "test" for row in rows]
    pq.write_table(table.filter(lacks), tmp_path / "t.parquet")
    with pytest.raises(KeyError, match="no repetition of distillation is complete"):
        Landscape.load(tmp_path / "t.parquet", "distillation")


def test_optuna_searches_it(file: Path) -> None:
    land = Landscape.load(file, "distillation")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(0))
    study.optimize(land.objective(), n_trials=60)
    assert study.best_value == pytest.approx(land.acc_RPT["validation"][:, :, -1].mean(0).max())
    assert len(study.best_trial.intermediate_values) == 3


def test_it_is_read_without_this_project_s_packages(file: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "for name in ('torch', 'ray', 'pydantic', 'trainer', 'sweeper', 'optuna'): sys.modules[name] = None\n"
        "from benchmarks.landscape.table import Landscape\n"
        f"print(Landscape.load({str(file)!r}, 'distillation').points)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "6\n"


def test_syne_tune_takes_it(file: Path) -> None:
    blackbox = pytest.importorskip("syne_tune.blackbox_repository.blackbox_tabular")
    land = Landscape.load(file, "distillation")
    found = blackbox.BlackboxTabular(**land.syne_tune())
    at = {"method.lambda": 1.0, "optim.lr": 0.01}
    value = found.objective_function(at, fidelity={"task": 3}, seed=0)["acc_task_mean_pct"]
    assert value == land.acc_RPT["validation"][0, land.nearest(at), 2]


def test_a_replay_spends_its_budget_and_finds_the_best(tiny: Grid, file: Path) -> None:
    land = Landscape.load(file, "distillation")
    for name, search in SAMPLERS.items():
        found = replay(tiny, land, {"search": search, "pruning": None}, seed=1, budget=12)
        assert found.cost_N.tolist() == pytest.approx(np.arange(1, 13)), name
        assert found.unsearched == found.at(0.5) > 0
        assert (np.array(found.regret_N) >= 0).all()
    seen = land.acc_RPT["validation"][1, :, -1]
    winner = int(seen.argmax())
    many = replay(tiny, land, {"search": SAMPLERS["random"], "pruning": None}, seed=1, budget=40)
    truth = land.mean("test")
    assert many.regret_N[-1] == pytest.approx(truth.max() - truth[winner])


def test_pruned_trials_cost_their_tasks_alone(tiny: Grid, file: Path) -> None:
    land = Landscape.load(file, "distillation")
    pruning = {"pruner": "PercentilePruner", "options": {"percentile": 10, "n_startup_trials": 1}}
    settings = {"search": SAMPLERS["random"], "pruning": pruning}
    found = replay(tiny, land, settings, seed=0, budget=6)
    assert len(found.cost_N) > 6
    shares = (land.device_s_PT / land.device_s_PT.sum(1, keepdims=True)).cumsum(1)
    steps = np.diff(found.cost_N, prepend=0)
    assert all(np.isclose(shares, step).any() for step in steps)


def test_the_command_compares_searches(
    tiny: Grid, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "SAMPLERS", {"random": SAMPLERS["random"], "TPE, multivariate": SAMPLERS["TPE"]})
    monkeypatch.setattr(command, "COSTS", (2, 4))
    assert exit_code(lambda: command.main(["tiny", "--file", str(file), "--replays", "2"])) == 0
    assert "| random | none | " in capsys.readouterr().out
    assert exit_code(lambda: command.main(["tiny", "--file", str(tmp_path / "none"), "--replays", "2"])) == 2
    assert "no repetition of any system is complete" in capsys.readouterr().err
    assert exit_code(lambda: command.main(["tny", "--minutes", "0"])) == 2
    assert "did you mean 'tiny'?" in capsys.readouterr().err


def test_a_grid_states_its_mistakes(tiny: Grid, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(TINY.format(base="run.yaml").replace("levels: 3", "levels: 1"))
    monkeypatch.setattr(grids, "HERE", tmp_path)
    with pytest.raises(Exception, match=r"systems.distillation.method.lambda.levels: 1 is not allowed"):
        Grid.load("bad")
