"""docs/examples.md: its files are accepted for small images of the layout shown, its commands name its files."""

import importlib
import io
import re
import shlex
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from sweeper import cil, init
from sweeper.execution.plan import load_benchmark
from sweeper.search.rehearsal import rehearse
from sweeper.search.space_file import load_space
from trainer.config.files import load_run
from trainer.data.tasks import build

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "examples.md").read_text()
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))

CLASSES, LARGEST = 4, 60


def commands(text: str) -> list[list[str]]:
    """The arguments of every ``cil`` in blocks of shell, without comments."""
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    return [shlex.split(line, comments=True)[1:] for line in "".join(blocks).splitlines() if line.startswith("cil ")]


def pixels(count: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, *shape), dtype=np.uint8)


def photos(listed: list[Path]) -> None:
    """As many photos less in each class as in the one before it."""
    for label, folder in enumerate(path.parent for path in listed):
        folder.mkdir(parents=True)
        for number, picture in enumerate(pixels(LARGEST >> label, (72, 96, 3))):
            Image.fromarray(picture).save(folder / f"{number}.jpg")


def parquet(listed: list[Path]) -> None:
    for file in listed:
        file.parent.mkdir(parents=True, exist_ok=True)
        images = []
        for picture in pixels(CLASSES * 20, (80, 90, 3)):
            content = io.BytesIO()
            Image.fromarray(picture).save(content, "PNG")
            images.append({"bytes": content.getvalue(), "path": None})
        labels = [f"bird {number % CLASSES}" for number in range(len(images))]
        pq.write_table(pa.table({"image": images, "species": labels}), file)


def npz(listed: list[Path]) -> None:
    (file,) = listed
    file.parent.mkdir()
    arrays = {}
    for split in ("train", "val", "test"):
        arrays[f"{split}_images"] = pixels(CLASSES * LARGEST, (28, 28))
        arrays[f"{split}_labels"] = (np.arange(CLASSES * LARGEST) % CLASSES)[:, None]
    np.savez(file, **arrays)


MAKERS = {".jpg": photos, ".parquet": parquet, ".npz": npz}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.setenv("CIL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def write_files(section: str) -> dict[str, str]:
    """The files that an example shows, in the working directory; their contents by their names."""
    files = dict(re.findall(r"```yaml\n# (\S+)\n(.*?)```", section, re.DOTALL))
    for name, content in files.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(content)
    return files


def write_images(section: str) -> None:
    """Images in the layout that an example shows."""
    (text,) = re.findall(r"```text\n(.*?)```", section, re.DOTALL)
    listed = [Path(line) for line in text.split()]
    MAKERS[listed[0].suffix](listed)


def test_there_are_three() -> None:
    assert len(SECTIONS) == 3


@pytest.mark.parametrize("title", SECTIONS)
def test_a_launch_accepts_its_files(title: str) -> None:
    write_images(SECTIONS[title])
    run, search = write_files(SECTIONS[title])
    config = load_run(run).config
    assert len(build(config.data, config.protocol).tasks) == 2
    space = load_space(search)
    rehearse(space)
    assert load_benchmark(space).counts_C.min() > 0


@pytest.mark.parametrize("title", SECTIONS)
def test_its_commands_are_accepted_and_name_its_files(title: str) -> None:
    files = write_files(SECTIONS[title])
    given = commands(SECTIONS[title])
    promoted = {f"runs/{arguments[0]}.yaml" for command, *arguments in given if command == "promote"}
    assert {"look", "launch", "query", "promote"} <= {command for command, *_ in given}
    for command, *arguments in given:
        parsed = importlib.import_module(cil.commands()[command]).parser().parse_args(arguments)
        if command == "launch":
            load_space(parsed.file, tuple(parsed.set))
        assert {argument for argument in arguments if argument.endswith(".yaml")} <= {*files, *promoted}


def test_what_init_is_said_to_write_is_what_it_writes() -> None:
    section = SECTIONS["Phone photos in class folders"]
    write_images(section)
    shown = {name: yaml.safe_load(content) for name, content in write_files(section).items()}
    (arguments,) = [arguments for command, *arguments in commands(section) if command == "init"]
    assert init.main([*arguments, "--no-gpu", "--force"]) == 0
    written = {name: yaml.safe_load(Path(name).read_text()) for name in shown}
    assert written == shown
