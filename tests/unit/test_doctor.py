"""``sweeper.doctor``: each fault has its line, which says what to do; where there is none, all lines are ok."""

import json
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from support.clusters import running_cluster
from support.results import store_trials
from support.sweeps import ROOT, ended, space_file
from sweeper import doctor
from sweeper.search.space_file import load_space
from sweeper.store.folder import Folder
from sweeper.store.lease import Lease, holder
from sweeper.store.status_file import Status
from sweeper.store.store import Store
from sweeper.store.sweep_file import check_unchanged
from trainer.errors import exit_code


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A sweep of which three of six configurations are stored."""
    folder = Folder.at(tmp_path / "results")
    check_unchanged(load_space(space_file(tmp_path)), folder.child("s"), None, "images")
    store = Store(folder, "s")
    store.suggest({})
    store_trials(store, range(3), tasks=1)
    Status(6, state="stopped", done=3).write(store.folder)
    return tmp_path / "results"


def lines(capsys: pytest.CaptureFixture[str], results: Path, *words: str) -> list[str]:
    """The lines that say what to do; the exit code tells whether there is one."""
    code = exit_code(lambda: doctor.main([*words, "--results", str(results)]))
    printed, error = capsys.readouterr()
    assert error == ""
    assert all(line.startswith(("ok  ", "!!  ")) for line in printed.splitlines())
    found = [line for line in printed.splitlines() if line.startswith("!!  ")]
    assert code == bool(found)
    return [line for line in found if "in memory" not in line]


def lease(results: Path, ahead_s: float) -> None:
    """One that a driver of another machine left, whose heartbeat lies so far ahead of this clock."""
    folder = Folder.at(results).child("s")
    with Lease.acquire(folder):
        driver = holder(folder)
    assert driver is not None
    left = replace(driver, machine="another", host="node7", heartbeat=time.time() + ahead_s)
    folder.write("lease.json", json.dumps(asdict(left)).encode())


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-9])


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a damaged file": (lambda s: cut(s / "runs" / "000001.parquet"), "000001.parquet"),
    "a deleted file": (lambda s: (s / "runs" / "000001.parquet").unlink(), "000001.parquet"),
    "a copy": (lambda s: shutil.copy(s / "runs" / "000001.parquet", s / "runs" / "1.parquet"), "1.parquet"),
    "a damaged search space": (lambda s: cut(s / "space.yaml"), "space.yaml"),
    "a damaged status": (lambda s: cut(s / "status.json"), "status.json"),
    "a deleted status": (lambda s: (s / "status.json").unlink(), "status.json"),
    "damaged suggestions": (lambda s: cut(s / "suggested.json"), "suggested.json"),
    "a damaged lease": (lambda s: (s / "lease.json").write_text("{"), "lease.json"),
    "a foreign file": (lambda s: (s / "notes.txt").write_text("mine"), "notes.txt"),
    "a foreign folder": (lambda s: (s / "backup").mkdir(), "backup"),
    "an unfinished write": (lambda s: (s / "runs" / ".000003.parquet.1a2b3c4d").touch(), ".000003.parquet.1a2b3c4d"),
    "what Ray left": (lambda s: (s / "ray").mkdir(), "ray"),
    "a driver that is gone": (lambda s: lease(s.parent, -3600), "host node7"),
    "a clock in the future": (lambda s: lease(s.parent, 3600), "clocks of this machine and of node7"),
    "no room": (lambda s: Status(10**13, state="stopped", done=3).write(Folder.at(s)), "TiB are still to be written"),
}


def test_where_all_is_well_every_line_is_ok(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lines(capsys, results) == []
    assert lines(capsys, results, "s") == []
    with Lease.acquire(Folder.at(results).child("s")):
        assert lines(capsys, results, "s") == []


@pytest.mark.parametrize(("damage", "named"), FAULTS.values(), ids=FAULTS)
def test_a_fault_has_a_line(
    results: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], object], named: str
) -> None:
    damage(results / "s")
    (line,) = lines(capsys, results)
    assert named in line


def test_an_older_schema_has_a_line(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (results / "s" / "trials").mkdir()
    (results / "s" / "trials" / "part-t000000.parquet").touch()
    (line,) = lines(capsys, results)
    assert "schema version 1" in line


def test_a_folder_that_cannot_be_written_has_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    (line,) = lines(capsys, tmp_path / "file" / "results")
    assert "cannot be written" in line


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no disk in memory here")
def test_a_folder_in_memory_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(lambda: doctor.main(["--results", "/dev/shm"])) == 1
    assert "!!  results in /dev/shm: lie in memory" in capsys.readouterr().out


def test_images_that_are_gone_have_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = tmp_path / "images"
    space = load_space(space_file(tmp_path, set={"data.source": "image_folder", "data.path": str(images)}))
    check_unchanged(space, Folder.at(tmp_path / "results").child("s"), str(images), "images")
    (line,) = lines(capsys, tmp_path / "results", "s")
    assert f"{images} is missing" in line


def test_an_unknown_sweep_is_refused(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(lambda: doctor.main(["t", "--results", str(results)])) == 2
    assert "no sweep 't'" in capsys.readouterr().err


def test_an_address_where_nothing_listens_has_a_line(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = lines(capsys, results, "--address", "127.0.0.1:1")
    assert "no Ray cluster at 127.0.0.1:1" in line


@pytest.mark.slow
@pytest.mark.usefixtures("shared_cluster")
def test_every_node_of_a_cluster_is_checked(results: Path) -> None:
    printed = ended("--results", results, command="sweeper.doctor", code=0)
    assert "!!" not in printed
    assert "clocks agree" in printed
    assert f"{results} is on every node" in printed


SITE = """
import os, sys, time
from importlib.machinery import PathFinder
now = time.time
time.time = lambda: now() + 3600
class OwnCode:
    def find_spec(name, path=None, target=None):
        own = name in ("trainer", "sweeper")
        return PathFinder.find_spec(name, [os.path.dirname(__file__)]) if own else None
sys.meta_path.insert(0, OwnCode)
"""
"""on one machine Ray would find the code in the driver's folder first"""


@pytest.fixture
def other_code(tmp_path: Path) -> Path:
    """What a node has whose PYTHONPATH it is: a changed copy of the code, another NumPy, a clock an hour ahead."""
    there = tmp_path / "there"
    for package in ("trainer", "sweeper"):
        shutil.copytree(ROOT / package, there / package)
    with (there / "trainer" / "words.py").open("a") as file:
        file.write("# changed\n")
    (there / "numpy-1.0.dist-info").mkdir()
    (there / "numpy-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 1.0\n")
    (there / "sitecustomize.py").write_text(SITE)
    return there


@pytest.mark.slow
def test_each_node_that_needs_a_hand_has_a_line(
    results: Path, other_code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")  # as in a job: nodes have their own code
    with running_cluster(num_cpus=1) as cluster:
        cluster.add_node(num_cpus=0, num_gpus=64, env_vars={"PYTHONPATH": str(other_code)})
        doctor_says = ended("--results", results, "--address", cluster.address, command="sweeper.doctor", code=1)
    assert "Ray has 0 GPUs, PyTorch sees" in doctor_says
    assert "clocks agree" in doctor_says
    lines = [line for line in doctor_says.splitlines() if line.startswith("!!") and "in memory" not in line]
    for said, line in zip(
        (
            f"numpy 1.0, here {np.__version__}: install the same version on all",
            "other code than here: update it, or submit with --working-dir",
            "Ray has 64 GPUs, PyTorch sees",
            "its clock and this one are 3600 s apart: set the clocks (NTP)",
        ),
        lines,
        strict=True,
    ):
        assert said in line


@pytest.mark.skipif(torch.cuda.is_available(), reason="said on machines without a GPU")
def test_without_a_gpu_it_says_whether_bfloat16_is_faster(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main(["--results", str(results)]) in (0, 1)
    assert re.search(r"^ok  bfloat16: this CPU has .* float32", capsys.readouterr().out, re.MULTILINE)
