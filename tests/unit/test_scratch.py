"""Temporary folders: those of killed processes go with the next one, and no other folder does."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeper.execution.scratch import scratch_folder

OWNER = """
import sys, time
from sweeper.execution.scratch import scratch_folder
with scratch_folder("x-", sys.argv[1]) as folder:
    print(folder, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process that lives, and its folder."""
    process = subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield process, Path(process.stdout.readline().strip())
    process.kill()
    process.communicate()


def test_the_folder_is_private_and_goes_with_the_block(tmp_path: Path) -> None:
    with scratch_folder("x-", str(tmp_path)) as folder:
        assert os.stat(folder).st_mode & 0o777 == 0o700
        (Path(folder) / "r").mkdir()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_has_left_goes_with_the_next(
    tmp_path: Path, owner: tuple[subprocess.Popen[str], Path]
) -> None:
    process, left = owner
    (left / "r").mkdir()
    (left / "r" / "log").write_text("x")
    with scratch_folder("x-", str(tmp_path)):
        assert (left / "r" / "log").exists(), "its process lives"
    process.kill()
    process.wait()
    with scratch_folder("y-", str(tmp_path)):
        assert left.exists(), "another prefix"
    with scratch_folder("x-", str(tmp_path)) as folder:
        assert [str(path) for path in tmp_path.iterdir()] == [folder]


def test_no_other_folder_is_deleted(tmp_path: Path, owner: tuple[subprocess.Popen[str], Path]) -> None:
    process, left = owner
    process.kill()
    process.wait()
    (tmp_path / "x-nobody").mkdir(mode=0o700)
    (tmp_path / "x-link").symlink_to(left)
    left.chmod(0o755)
    before = {*tmp_path.iterdir(), *left.iterdir()}
    with scratch_folder("x-", str(tmp_path)):
        pass
    left.chmod(0o700)
    if os.geteuid() == 0:
        os.chown(left, 12345, -1)
        with scratch_folder("x-", str(tmp_path)):
            pass
    assert {*tmp_path.iterdir(), *left.iterdir()} == before
