"""A disk that is full, read-only or forbidden to the driver: one line that names the file, and a resume that works."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.results import store_trials
from support.sweeps import accuracies, files, launch, space_file, start, until
from sweeper import query, status
from sweeper.search.space_file import load_space
from sweeper.store.folder import Folder
from sweeper.store.segments import Damage
from sweeper.store.status_file import Status
from sweeper.store.store import Store
from sweeper.store.sweep_file import check_unchanged
from trainer.errors import exit_code

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk, which only root may")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of four megabytes."""
    where = tmp_path / "disk"
    where.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", where], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("this machine lets nobody mount a disk")
    yield where
    subprocess.run(["umount", "-l", where], check=True)


def fill(disk: Path) -> Callable[[], object]:
    """Fill it, and return what frees it again."""
    ballast = disk / "ballast"
    with open(ballast, "wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
    return ballast.unlink


def forbid(disk: Path) -> Callable[[], object]:
    """Make it read-only."""
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    return lambda: subprocess.run(["mount", "-o", "remount,rw", disk], check=True)


@needs_root
@pytest.mark.slow
@pytest.mark.usefixtures("shared_cluster")
def test_a_disk_that_fails_in_a_sweep_is_one_line_and_the_same_command_resumes(
    disk: Path, tmp_path: Path, long: bool
) -> None:
    file, results = space_file(tmp_path, trials=4, resources={"cpu": 1, "pack": 1}), disk / "results"
    harms = ((fill, "No space left on device; free some"), (forbid, "Read-only file"))
    for harm, said in harms if long else harms[:1]:
        before = len(files(results))
        driver = start(file, "--results", results)
        until(driver, lambda before=before: len(files(results)) > before)
        mend = harm(disk)
        output, _ = driver.communicate(timeout=120)
        assert driver.returncode == 2, output
        assert "Traceback" not in output
        errors = [line for line in output.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1
        assert said in errors[0]
        assert str(results / "s") in errors[0]
        refused = launch(file, "--results", results, code=2)
        assert said in refused
        assert "Traceback" not in refused
        mend()
        assert Status.read(Folder.at(results / "s"), Damage(pytest.fail)) is not None
    launch(file, "--results", results)
    assert len(accuracies(results)) == 8


@needs_root
def test_a_small_file_that_no_longer_fits_is_left_as_it_was(disk: Path) -> None:
    folder = Folder.at(disk)
    folder.write("a", b"1")
    free = fill(disk)
    with pytest.raises(Exception, match=f"{disk}/a: cannot be written: No space left on device; free some space there"):
        folder.write("a", bytes(100_000))
    assert folder.read_bytes("a") == b"1"
    assert sorted(file.name for file in disk.iterdir()) == ["a", "ballast"]
    free()
    folder.write("a", b"2")


@needs_root
def test_what_only_reads_works_on_a_disk_that_nobody_may_write_to(disk: Path) -> None:
    results = disk / "results"
    store = Store(results, "s")
    check_unchanged(load_space(space_file(disk)), store.folder, None, "images")
    store_trials(store, range(3), tasks=1)
    Status(6, state="stopped", done=3).write(store.folder)
    forbid(disk)
    for main, words in ((query.main, ["SELECT count(*) FROM runs"]), (status.main, []), (status.main, ["s"])):
        assert exit_code(lambda main=main, words=words: main([*words, "--results", str(results)])) == 0
