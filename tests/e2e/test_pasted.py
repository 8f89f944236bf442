"""The commands that are printed run as they stand, also where names and folders need quotes."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from support.sweeps import ROOT, launch

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("shared_cluster")]

SPACE = {
    "base": str(ROOT / "runs" / "digits_lfs5.yaml"),
    "set": {"optim.epochs": 1, "optim.milestones": [], "data.imbalance.max_per_class": 40},
    "vary": {"method.lambda": {"type": "float", "low": 0.05, "high": 5.0}},
    "trials": 1,
}


def paste(line: str, *more: str) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path}
    command = f"{line} {shlex.join(more)}"
    ran = subprocess.run(command, shell=True, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def commands(output: str) -> list[str]:
    """From each line that prints one: up to what closes it, if it is in brackets."""
    return [found.rstrip(")") for found in re.findall(r"python -m .*$", output, re.MULTILINE)]


def test_every_printed_command_can_be_pasted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "it's a folder; $HOME"
    folder.mkdir()
    space = folder / "bob's space.yaml"
    space.write_text(yaml.safe_dump(SPACE))
    query, promote = commands(launch(space, "--results", folder / "my results"))
    assert "trial" in paste(query)
    (verify,) = commands(paste(promote, "--seeds", "2", "--force", "--runs", f"{folder}/runs"))
    assert "verified" in paste(verify)
    (stored,) = commands(paste(verify.replace("--verify", "--out"), f"{folder}/an out"))
    assert "runs" in paste(stored)
    # The shell that it is pasted into need not have what this one has.
    monkeypatch.setenv("CIL_RESULTS", str(folder / "my results"))
    query, _ = commands(launch(space))
    monkeypatch.delenv("CIL_RESULTS")
    assert "trial" in paste(query)
