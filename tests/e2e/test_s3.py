"""A sweep on an object store, as users run it: launched, killed, resumed, shown, promoted and merged."""

import os
import re
import signal
from pathlib import Path

import pytest

from support.sweeps import accuracies, ended, launch, space_file, start, until
from sweeper.store.folder import Folder
from sweeper.store.lease import holder

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("shared_cluster")]


SECRET = "hidden-word"


def test_a_sweep_on_s3_is_killed_resumed_shown_promoted_and_merged(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The nodes of the cluster, which is older than this test, know no credentials: those of the URI reach them.
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    shown, s3 = s3, s3.replace("s3://", f"s3://key:{SECRET}@")
    file = space_file(tmp_path, trials=4, seeds=[0, 1], concurrency=2, resources={"cpu": 1, "pack": 1})
    sweep = Folder.at(s3).child("s")
    driver = start(file, "--results", s3)
    until(driver, lambda: bool(sweep.child("runs").names()))
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    assert holder(sweep) is not None
    stored = {name: sweep.child("runs").read_bytes(name) for name in sweep.child("runs").names()}
    assert "interrupted" in ended("--results", s3, command="sweeper.status")
    kept = ended("s", "note", "it was killed", "--results", s3, command="sweeper.steer")
    assert "no driver runs; kept for the next launch" in kept
    output = launch(file, "--results", s3)
    assert f"{len(stored)} stored already" in output
    assert re.search(r"steering 0 by .+@.+: it was killed", output)
    assert f"--results '{shown}'" in output, "the next command can be pasted"
    assert stored.items() <= {n: sweep.child("runs").read_bytes(n) for n in sweep.child("runs").names()}.items()
    assert len(accuracies(s3)) == 8
    assert not {"ray", "checkpoints"} & set(sweep.folders())
    status = ended("s", "--results", s3, command="sweeper.status")
    assert "s: finished" in status
    assert "done: 4 of 4" in status
    ended("s", "--results", s3, "--out", tmp_path / "out", command="sweeper.report")
    assert (tmp_path / "out" / "s.png").exists()
    promoted = ["s", "--results", s3, "--runs", tmp_path / "runs", "--force", "--top", "1", "--seeds", "2"]
    ended(*promoted, command="sweeper.promote")
    assert (tmp_path / "runs" / "s.yaml").exists()
    merged = ended("s", "--results", s3, command="sweeper.compact")
    assert "4 files merged into 1" in merged
    rows = ended("SELECT decision FROM promotions", "--results", s3, "--format", "csv", command="sweeper.query")
    assert rows.split() == ["decision", "promoted"]
    for word in (SECRET, "Traceback"):
        assert word not in output + status + merged + rows
    for name in sweep.names():
        assert SECRET.encode() not in sweep.read_bytes(name)
