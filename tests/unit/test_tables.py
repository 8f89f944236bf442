"""Tables on a terminal fit its width or turn into records, and whatever is printed can be printed everywhere."""

import os
import pty
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from support.results import store_trials
from sweeper import compact, query
from sweeper.execution.packing import Packing
from sweeper.store.folder import Folder
from sweeper.store.sealed import sealed_json
from sweeper.store.status_file import Best, Status
from sweeper.store.store import Store
from trainer.errors import exit_code
from trainer.tables import records_text
from trainer.words import format_count

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    for name in ("zebra", "an-ablation-with-a-long-name"):
        store = Store(folder, name)
        objective = {"metric": "acc_task_mean_pct", "split": "validation", "direction": "maximize"}
        store.folder.write("space.yaml", sealed_json({"objective": objective}))
        store_trials(store, range(2))
        Status(2, state="finished", done=2).write(store.folder)
    Status(10, state="finished", done=10, best=Best(1, 88.5, {}), device_s=3700, saved_s=65).write(
        Folder.at(folder).child("an-ablation-with-a-long-name")
    )
    return folder


def on_terminal(columns: int, *arguments: str, code: int = 0) -> list[str]:
    """What a command prints on a terminal of this many columns."""
    ours, its = pty.openpty()
    termios.tcsetwinsize(its, (24, columns))
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")} | {"TERM": "xterm"}
    process = subprocess.Popen([sys.executable, "-m", *arguments], cwd=ROOT, env=environment, stdout=its, stderr=its)
    os.close(its)
    printed = b""
    try:
        while some := os.read(ours, 1 << 16):
            printed += some
    except OSError:  # Linux says so when the other end is closed
        pass
    os.close(ours)
    assert process.wait() == code, printed.decode()
    return printed.decode().replace("\r", "").splitlines()


@pytest.mark.parametrize(
    "command",
    [
        ("sweeper.status",),
        ("sweeper.status", "an-ablation-with-a-long-name"),
        ("sweeper.query", "SELECT * FROM runs WHERE sweep = 'zebra'"),
    ],
)
def test_a_terminal_of_60_columns_is_enough(results: Path, command: tuple[str, ...]) -> None:
    lines = on_terminal(60, *command, "--results", str(results))
    assert max(map(len, lines)) <= 60
    words = " ".join(" ".join(lines).split())
    assert "zebra" in words or "done: 10 of 10 configurations" in words
    if command == ("sweeper.status",):
        assert "88.5 (trial 1)" in words
        assert "sweep an-ablation-with-a-long-name" in words


def test_a_table_that_fits_is_drawn(results: Path) -> None:
    lines = on_terminal(80, "sweeper.query", "SELECT trial, n FROM seeds LIMIT 1", "--results", str(results))
    assert "│ trial │ n │" in lines[-2] or "│ 0     │ 2 │" in lines[-2]


def test_records_wrap_between_words_and_leave_out_what_is_not_there() -> None:
    text = records_text(["a", "name"], [["-", "one two three four five six"], ["1", "x"]], 24)
    assert text.splitlines() == [
        "row 1 of 2",
        "  name  one two three",
        "        four five six",
        "row 2 of 2",
        "  a     1",
        "  name  x",
        "(fields without a value are left out)",
    ]


def test_parquet_is_not_written_to_a_terminal(results: Path) -> None:
    lines = on_terminal(80, "sweeper.query", "FROM runs", "--format", "parquet", "--results", str(results), code=2)
    assert lines == ["error: Parquet cannot be shown on a terminal; pass --out FILE"]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_what_a_stream_cannot_encode_is_replaced(encoding: str) -> None:
    script = "from trainer.errors import exit_code; exit_code(lambda: print('86.45 ± 1.03 … ≥ 中'))"
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, check=False)
    assert not done.stderr
    replaced = "86.45 +- 1.03 ... >= \\u4e2d\n"
    assert done.stdout.decode("latin-1") == (replaced if "ascii" in encoding else replaced.replace("+-", "±"))


def test_numbers_and_nouns_agree() -> None:
    assert [format_count(number, "seed") for number in (0, 1, 2)] == ["0 seeds", "1 seed", "2 seeds"]
    assert str(Packing(1, 1, 0.5, 0.5)) == "1 configuration per pack"


@pytest.mark.parametrize("view", ["best", "ledger", "sweeps"])
def test_views_of_sweeps_are_sorted(results: Path, capsys: pytest.CaptureFixture[str], view: str) -> None:
    assert query.main([f"SELECT sweep FROM {view}", "--results", str(results)]) == 0
    assert capsys.readouterr().out.split() == ["sweep", "an-ablation-with-a-long-name", "zebra"]


def test_compact_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store_trials(Store(tmp_path, "s"), range(3))
    for said in ("3 files merged into 1, which hold 3 configurations", "nothing to merge: 3 configurations in 1 file"):
        assert exit_code(lambda: compact.main(["s", "--results", str(tmp_path)])) == 0
        assert capsys.readouterr().out == f"{tmp_path}/s/runs: {said}\n"
