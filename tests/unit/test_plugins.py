"""Sources and methods of one's own, outside the checkout: in a folder, or in an installed distribution."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SOURCE = '''"""Stripes: a few images without files."""

import numpy as np

from trainer.data.config import DataConfig
from trainer.data.images import ImageSet, Source


def read(config: DataConfig) -> Source:
    """Eight images of two classes."""
    pixels_NHWC = np.zeros((8, 8, 8, 1), np.uint8)
    pixels_NHWC[np.arange(8), np.arange(8)] = 255
    return Source(ImageSet.of(pixels_NHWC, np.arange(8) % 2), None, ("even", "odd"))
'''

LOAD = "import sys; from trainer.data.config import DataConfig; from trainer.data.sources import load;"
READ = LOAD + "print(load(DataConfig(source=sys.argv[1])).class_names)"
METHOD = "from trainer.methods.base import Method\n\n\nclass Mine(Method):\n    paper = 'none'\n"
FIND = "import sys; from trainer.methods.base import METHODS; print(METHODS.find(sys.argv[1])().name)"


def run(program: str, name: str, where: Path, *, path: Path = ROOT, **environment: str) -> str:
    """What it prints in that working directory, or the last line of its traceback."""
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{path}", **environment}
    command = [sys.executable, "-c", program, name]
    found = subprocess.run(command, cwd=where, env=env, capture_output=True, text=True, check=False, timeout=60)
    return (found.stdout or found.stderr).strip().splitlines()[-1]


def write(folder: Path, name: str, text: str = SOURCE) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.py").write_text(text)
    return folder


def test_a_file_in_plugins_of_the_working_directory(tmp_path: Path) -> None:
    write(tmp_path / "plugins" / "sources", "stripes")
    assert run(READ, "stripes", tmp_path) == "('even', 'odd')"


def test_a_folder_of_the_environment(tmp_path: Path) -> None:
    write(tmp_path / "mine" / "sources", "stripes")
    assert run(READ, "stripes", tmp_path, CIL_PLUGINS=str(tmp_path / "mine")) == "('even', 'odd')"
    assert "'stripes'" not in run(READ, "digit", tmp_path)


@pytest.mark.slow  # PyTorch is imported
def test_methods_too(tmp_path: Path) -> None:
    write(tmp_path / "plugins" / "methods", "mine", METHOD)
    assert run(FIND, "mine", tmp_path) == "mine"


def test_an_installed_distribution(tmp_path: Path) -> None:
    site = tmp_path / "site"
    write(site / "their_package", "__init__", "")
    write(site / "their_package", "stripes")
    (site / "theirs-1.dist-info").mkdir()
    (site / "theirs-1.dist-info" / "METADATA").write_text("Name: theirs\nVersion: 1\n")
    points = site / "theirs-1.dist-info" / "entry_points.txt"
    points.write_text("[imbalanced_cil.sources]\nstripes = their_package.stripes\n")
    assert run(READ, "stripes", tmp_path, path=site) == "('even', 'odd')"
    points.write_text("[imbalanced_cil.sources]\nlines = their_package.stripes\n")
    assert "the entry point lines leads to their_package.stripes: both must have one name" in run(
        READ, "lines", tmp_path, path=site
    )


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("broken", "import nothing_of_this_name", "sources/broken.py: ModuleNotFoundError: No module named"),
        ("broken", "def read(:", "sources/broken.py: SyntaxError: "),
        ("helpers", "x = 1", "sources/helpers.py must define read(config) -> Source"),
        ("parquet", SOURCE, "plugins/sources/parquet.py: "),
    ],
)
def test_a_file_that_is_no_source_is_named(tmp_path: Path, name: str, text: str, complaint: str) -> None:
    write(tmp_path / "plugins" / "sources", name, text)
    line = run(READ, name, tmp_path)
    assert line.startswith("trainer.errors.ConfigError: ")
    assert complaint in line
