"""macOS and Windows, simulated by removing what they lack."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainer.data.config import DataConfig
from trainer.data.sources import load

ROOT = Path(__file__).parents[2]


def test_macos_does_not_say_which_cores_a_process_may_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setenv("CIL_CACHE", str(tmp_path / "cache"))
    for split in ("train", "test"):
        for shade, name in enumerate("ab"):
            (tmp_path / split / name).mkdir(parents=True)
            Image.fromarray(np.full((8, 8), shade, np.uint8)).save(tmp_path / split / name / "x.png")
    assert load(DataConfig(source="image_folder", path=str(tmp_path), crop=8)).train.labels_N.tolist() == [0, 1]


WINDOWS = "import sys; sys.platform = 'win32'; sys.modules['fcntl'] = None; sys.argv = {}; import trainer.data.cache"


@pytest.mark.parametrize(
    ("argv", "code", "begins"),
    [(["-m"], 2, "error: "), (["C:/env/cil.exe"], 2, "error: "), (["mine.py"], 1, "ImportError: ")],
)
def test_windows_is_told_to_use_wsl(argv: list[str], code: int, begins: str) -> None:
    command = [sys.executable, "-c", WINDOWS.format(argv)]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == code
    line = found.stderr.strip().splitlines()[-1]
    assert line.startswith(begins)
    assert "install WSL" in line
    assert code == 1 or found.stderr.count("\n") == 1
