"""``python -m sweeper.export``: what other tools read is what the sweep has stored."""

import csv
import json
import socket
import subprocess
import sys
import time
import urllib.request
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from optuna.trial import TrialState

from support.pages import blocks
from support.results import result, task_row
from sweeper import export
from sweeper.search.space_file import load_space
from sweeper.store.store import Store
from sweeper.store.sweep_file import check_unchanged
from trainer.errors import exit_code

ROOT = Path(__file__).parents[2]
PARAMS = [
    {"method.alpha": 0.5, "memory.per_class": 5, "memory.selection": "random"},
    {"method.alpha": 1.5, "memory.per_class": 10, "memory.selection": "herding"},
    {"method.alpha": 2.5, "memory.per_class": 20, "memory.selection": "random"},
    {"method.alpha": 3.5, "memory.per_class": 5, "memory.selection": "random"},
]
STATUS = ["finished", "pruned", "failed", "finished"]


def store_trial(store: Store, number: int) -> None:
    """The trial ``number`` of two seeds; a number is added to its own so that the first is missing: it still runs."""
    status, runs = STATUS[number], []
    for seed in range(2):
        tasks = {"finished": 3, "pruned": 2, "failed": 0}[status]
        rows = [task_row(task, acc_task_mean_pct=10.0 * number + task + seed) for task in range(tasks)]
        acc = 10.0 * number + 2 + seed if status == "finished" else None
        error = "out of memory" if status == "failed" else None
        made = result(number + 1, seed, acc, status=status, error=error, tasks_done=tasks, epochs=0, classes=False)
        runs.append(made.model_copy(update={"tasks": rows}))
    value = 10.0 * number + 2.5 if status == "finished" else None
    store.finish_trial(number + 1, runs, attempt="a", params=PARAMS[number], objective=value)


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the sweep ``s``: of trial 0, which has not ended, nothing is stored."""
    vary = {
        "method.alpha": {"type": "float", "low": 0.05, "high": 10.0, "log": True},
        "memory.per_class": {"type": "int", "low": 5, "high": 20, "step": 5},
        "memory.selection": ["herding", "random"],
    }
    base = str(ROOT / "runs" / "digits_lfs5.yaml")
    (tmp_path / "s.yaml").write_text(yaml.safe_dump({"base": base, "vary": vary, "seeds": [0, 1], "trials": 8}))
    monkeypatch.chdir(tmp_path)
    store = Store("results", "s")
    check_unchanged(load_space("s.yaml"), store.folder, None, "images")
    for number in range(3):
        store_trial(store, number)
    return tmp_path


def printed(capsys: pytest.CaptureFixture[str], *targets: str, code: int = 0, name: str = "s") -> str:
    arguments = [name, *(word for target in targets for word in ("--to", target))]
    capsys.readouterr()
    assert exit_code(partial(export.main, arguments)) == code
    out, err = capsys.readouterr()
    return err if code else out


def test_a_storage_of_optuna(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = "sqlite:///o.db"
    assert printed(capsys, f"optuna:{url}") == "optuna: study s: 3 trials added, 3 in all\n"
    study = optuna.load_study(storage=url, study_name="s")
    assert study.direction == optuna.study.StudyDirection.MAXIMIZE
    trials = study.trials
    assert [trial.state for trial in trials] == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL]
    assert [trial.params for trial in trials] == PARAMS[:3]
    assert [trial.value for trial in trials] == [2.5, None, None]
    assert trials[0].intermediate_values == {1: 0.5, 2: 1.5, 3: 2.5}
    assert trials[1].intermediate_values == {1: 10.5, 2: 11.5}
    assert trials[2].user_attrs["error"] == "out of memory"
    assert [(trial.user_attrs["trial"], trial.user_attrs["seeds"]) for trial in trials] == [
        (n, [0, 1]) for n in (1, 2, 3)
    ]
    assert trials[0].user_attrs["acc_task_mean_pct"] == 2.5
    assert trials[0].distributions["memory.per_class"] == optuna.distributions.IntDistribution(5, 20, step=5)


def test_the_code_of_the_page(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed(capsys, "optuna:sqlite:///o.db")
    (block,) = [block for block in blocks("docs/other_tools.md", "python") if "optuna" in block.text]
    exec(block.text.replace("out/digits.db", "o.db").replace('"digits"', '"s"'), {})
    assert capsys.readouterr().out == "1 2.5\n"


def test_what_has_ended_since_is_added(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed(capsys, "optuna:sqlite:///o.db")
    assert printed(capsys, "optuna:sqlite:///o.db") == "optuna: study s: 0 trials added, 3 in all\n"
    store_trial(Store("results", "s"), 3)
    assert printed(capsys, "optuna:sqlite:///o.db") == "optuna: study s: 1 trial added, 4 in all\n"
    assert optuna.load_study(storage="sqlite:///o.db", study_name="s").best_trial.user_attrs["trial"] == 4


def test_a_study_of_somebody_else_is_left_alone(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = optuna.create_study(storage="sqlite:///o.db", study_name="s")
    other.add_trial(optuna.trial.create_trial(value=1.0))
    line = printed(capsys, "optuna:sqlite:///o.db", code=2)
    assert line == "error: --to: sqlite:///o.db has another study named 's': choose another storage\n"
    assert len(other.trials) == 1


def test_csv(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "csv:new", "csv:again").count("csv: ") == 2
    with open("new/s/seeds.csv") as file:
        rows = list(csv.DictReader(file))
    assert [(row["trial"], row["status"]) for row in rows] == [("1", "finished"), ("2", "pruned"), ("3", "failed")]
    assert json.loads(rows[0]["params_json"]) == PARAMS[0]
    assert Path("again/s/tasks.csv").read_text() == Path("new/s/tasks.csv").read_text()


@pytest.mark.parametrize(
    ("target", "line"),
    [
        ("otuna:sqlite:///o.db", "did you mean 'optuna'?"),
        ("csv", "names no place; allowed: "),
        ("optuna:nothing", "cannot be used"),
        ("optuna:sqlite:///no/such/folder/o.db", "cannot be used"),
    ],
)
def test_a_target_that_is_none(sweep: Path, target: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = printed(capsys, target, code=2)
    assert said.startswith("error: --to: ")
    assert line in said
    assert said.count("\n") == 1


def test_a_sweep_that_is_none(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no sweep 'x'" in printed(capsys, "csv:new", code=2, name="x")
    store = Store("results", "t")
    check_unchanged(load_space("s.yaml", ("name=t",)), store.folder, None, "images")
    assert "nothing to export" in printed(capsys, "csv:new", code=2, name="t")


@pytest.mark.parametrize(("kind", "module"), [("tensorboard", "tensorboard"), ("mlflow", "mlflow")])
def test_what_is_not_installed_is_one_line(
    kind: str, module: str, sweep: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # which is how Python notes what cannot be imported
    expected = f"error: --to: {kind} needs {module}: pip install 'imbalanced-cil-sweeper[{kind}]'\n"
    assert printed(capsys, f"{kind}:out", code=2) == expected
    assert not Path("out").exists()


@pytest.mark.slow
def test_tensorboard(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    hparams = pytest.importorskip("tensorboard.plugins.hparams.plugin_data_pb2")
    for _ in range(2):  # the second takes the place of the first
        assert printed(capsys, "tensorboard:tb") == "tensorboard: tb/s: 3 trials\n"
    assert sorted(path.name for path in Path("tb/s").iterdir()) == [f"trial_{n:06}" for n in (1, 2, 3)]
    found = accumulators.EventAccumulator("tb/s/trial_000001").Reload()
    assert [(event.step, event.value) for event in found.Scalars("by_task/objective")] == [(0, 0.5), (1, 1.5), (2, 2.5)]
    assert [event.value for event in found.Scalars("objective")] == [2.5]
    content = found.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    start = hparams.HParamsPluginData.FromString(content).session_start_info
    assert start.hparams["method.alpha"].number_value == 0.5
    assert start.hparams["memory.selection"].string_value == "random"
    failed = accumulators.EventAccumulator("tb/s/trial_000003").Reload()
    assert "objective" not in failed.Tags()["scalars"]


@pytest.mark.slow
def test_mlflow(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("mlflow")
    from mlflow import MlflowClient  # noqa: PLC0415  (slow to import, and optional)

    assert printed(capsys, "mlflow:runs_of_mlflow") == "mlflow: experiment s: 3 runs added, 3 in all\n"
    store_trial(Store("results", "s"), 3)
    assert printed(capsys, "mlflow:runs_of_mlflow") == "mlflow: experiment s: 1 run added, 4 in all\n"
    client = MlflowClient(tracking_uri="runs_of_mlflow")
    experiment = client.get_experiment_by_name("s")
    runs = sorted(client.search_runs([experiment.experiment_id]), key=lambda run: int(run.data.tags["cil.trial"]))
    assert [run.info.status for run in runs] == ["FINISHED", "KILLED", "FAILED", "FINISHED"]
    assert runs[0].data.params == {name: str(value) for name, value in PARAMS[0].items()}
    assert runs[0].data.metrics["objective"] == 2.5
    history = client.get_metric_history(runs[1].info.run_id, "by_task/objective")
    assert [(one.step, one.value) for one in history] == [(0, 10.5), (1, 11.5)]
    assert runs[2].data.tags["cil.error"] == "out of memory"


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.mark.slow
def test_the_dashboard_of_optuna_opens_it(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("optuna_dashboard")
    printed(capsys, "optuna:sqlite:///o.db")
    port = _free_port()
    command = [str(Path(sys.executable).parent / "optuna-dashboard"), "sqlite:///o.db", "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:

        def ask(path: str) -> Any:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/{path}", timeout=5) as answer:
                return json.load(answer)

        deadline = time.monotonic() + 60
        while True:
            try:
                (study,) = ask("studies")["study_summaries"]
                break
            except OSError:
                assert time.monotonic() < deadline
                assert server.poll() is None
                time.sleep(0.2)
        assert study["study_name"] == "s"
        trials = ask(f"studies/{study['study_id']}?after=0")["trials"]
        assert [trial["state"] for trial in trials] == ["Complete", "Pruned", "Fail"]
    finally:
        server.terminate()
        server.wait(timeout=30)
