"""docs/images.md: its layouts are made and read, its fields and sources exist, its source is a source."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from trainer.data.config import DataConfig
from trainer.data.file_types import readable
from trainer.data.sources import load
from trainer.registry import files

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "images.md").read_text()
EXAMPLES = re.findall(r"```text\n(.*?)```(.*?)```yaml\n(.*?)```", PAGE, re.DOTALL)


def write(path: Path, number: int, table: str) -> None:
    """A file of the kind that its name says; ``table``: the content of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(np.random.RandomState(number).randint(0, 256, (70, 90, 3), dtype=np.uint8))
    if path.suffix == ".csv":
        path.write_text(table)
    elif path.suffix == ".parquet":
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        pq.write_table(pa.table({"image": [buffer.getvalue()] * 2, "label": ["owl", "wren"]}), path)
    elif path.suffix == ".npz":
        own = {f"{split}_images": np.full((4, 28, 28), number, np.uint8) for split in ("train", "val", "test")}
        labels = {key.replace("images", "labels"): np.array([[0], [1], [0], [1]]) for key in own}
        np.savez(path, **own, **labels)
    else:
        picture.save(path)


@pytest.mark.parametrize(("listed", "between", "section"), EXAMPLES, ids=lambda text: text.split("/")[0][:9])
def test_its_layouts_are_read(
    listed: str,
    between: str,
    section: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CIL_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    table = re.search(r"```csv\n(.*?)```", between, re.DOTALL)
    for number, name in enumerate(listed.split()):
        write(Path(name), number, table[1] if table else "")
    source = load(DataConfig(**yaml.safe_load(section)["data"]))
    assert len(source.class_names) == 2
    assert source.test is not None
    assert capsys.readouterr().err == ""


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 4


def test_every_source_has_its_row() -> None:
    rows = "\n".join(line for line in PAGE.splitlines() if line.startswith("| "))
    assert [name for name in files("trainer.data.sources") if f"`{name}`" not in rows] == []


def test_fields_and_their_defaults_are_the_real_ones() -> None:
    for named, defaults in re.findall(r"^\| (`data\.[^|]*) \| ([^|]*) \|", PAGE, re.MULTILINE):
        for field, default in zip(re.findall(r"`data\.(\w+)`", named), re.findall("`(.*?)`", defaults), strict=True):
            assert DataConfig.model_fields[field].default == yaml.safe_load(default)


def test_named_suffixes_are_read() -> None:
    named = re.findall(r"`(\.\w+)`", PAGE.split("## File types")[1].split("are read")[0])
    assert len(named) > 5
    assert set(named) - {".avif"} <= readable()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working directory with the page's own source."""
    (name,) = re.findall(r"`(plugins/sources/\w+\.py)`:", PAGE)
    (text,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.slow  # a process that imports PyTorch
def test_its_own_source_keeps_the_contract(folder: Path) -> None:
    (line,) = re.findall(r"^python -m pytest (\S+) -k (\w+)$", PAGE, re.MULTILINE)
    env = {**os.environ, "CIL_PLUGINS": str(folder / "plugins")}
    command = [sys.executable, "-m", "pytest", line[0], "-k", line[1], "-p", "no:cacheprovider"]
    found = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=120)
    assert found.returncode == 0, found.stdout
    assert re.search(r"\b([6-9]|\d\d) passed", found.stdout)
