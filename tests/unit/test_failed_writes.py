"""What a command cannot write is one line that names the file, exit code 2, and costs nothing that was there."""

import contextlib
import errno
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from support.results import store_trials
from support.sweeps import ROOT, space_file
from sweeper import init, look, report, sweeps
from sweeper.search.space_file import load_space
from sweeper.store.folder import Folder
from sweeper.store.store import Store
from sweeper.store.sweep_file import check_unchanged
from trainer import run
from trainer.errors import StoreError, exit_code

RUN = [
    str(ROOT / "runs" / "digits_lfs5.yaml"),
    "--set",
    "optim.epochs=1",
    "--set",
    "optim.milestones=[]",
    "--out",
    "out",
]
COMMANDS: dict[str, tuple[Callable[[list[str]], int], list[str]]] = {
    "init": (init.main, ["photos.npz", "--name", "mine", "--yes", "--to", "out", "--force"]),
    "look": (look.main, ["photos.npz", "--out", "out"]),
    "report": (report.main, ["s", "--out", "out"]),
    "sweeps note": (sweeps.main, ["note", "s", "a note that is longer than files may be" * 5]),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: images, and results of a sweep."""
    monkeypatch.chdir(tmp_path)
    state, arrays = np.random.RandomState(0), {}
    for split in ("train", "test"):
        arrays[f"{split}_images"] = state.randint(0, 256, (40, 16, 16), dtype=np.uint8)
        arrays[f"{split}_labels"] = np.arange(40) % 4
    np.savez(tmp_path / "photos.npz", **arrays)
    store = Store("results", "s")
    check_unchanged(load_space(space_file(tmp_path)), store.folder, None, "images")
    store_trials(store, range(3), tasks=1)
    return tmp_path


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Within, no file of this process may grow larger, as by ``ulimit -f``."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refusal(capsys: pytest.CaptureFixture[str], main: Callable[[list[str]], int], words: list[str]) -> str:
    capsys.readouterr()
    assert exit_code(lambda: main(words)) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if not line.startswith(("note: ", "warning: "))]
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize(("main", "words"), COMMANDS.values(), ids=COMMANDS)
def test_a_file_that_may_not_grow_so_large_stays_as_it_was(
    folder: Path, capsys: pytest.CaptureFixture[str], main: Callable[[list[str]], int], words: list[str]
) -> None:
    assert exit_code(lambda: main(words)) == 0
    before = content(folder)
    with largest_file(100):
        line = refusal(capsys, main, words)
    assert "File too large; raise the limit on the size of a file" in line
    assert "out" in line or "note.json" in line
    assert content(folder) == before


def test_a_quota_that_is_used_up_costs_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said when the file is synced, as by network disks; few machines can mount a disk with quotas for a test."""
    before = content(folder)

    def used_up(file: int) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", used_up)
        with pytest.raises(StoreError) as refused:
            Folder.at(folder / "results" / "s").write("space.yaml", b"new")
    said = f"{folder}/results/s/space.yaml: cannot be written: Disk quota exceeded; free some space there"
    assert str(refused.value) == said
    assert content(folder) == before


def test_a_run_whose_checkpoint_cannot_be_written_ends_in_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with largest_file(10_000):
        line = refusal(capsys, run.main, RUN)
    assert "out/checkpoint.pt: File too large; raise the limit on the size of a file" in line
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["run.yaml"]
    assert exit_code(lambda: run.main(RUN)) == 0
