"""``cil init``: files for the images in a folder, which a launch accepts as they are."""

import io
import os
import pty
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from sweeper import init, launch
from sweeper.search.space import Space
from sweeper.search.space_file import load_space
from trainer.errors import exit_code

ROOT = Path(__file__).parents[2]
TAIL = (24, 12, 6, 5)


def pictures(count: int, width: int, height: int, grey: bool = False) -> list[Image.Image]:
    shape = (count, height, width) if grey else (count, height, width, 3)
    return [Image.fromarray(array) for array in np.random.default_rng(count).integers(0, 256, shape, dtype=np.uint8)]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Class folders with a tail of their own, and a name that is no plain word."""
    folder = tmp_path / "my photos: 2024"
    for label, count in enumerate(TAIL):
        (folder / f"class {label}").mkdir(parents=True)
        for number, picture in enumerate(pictures(count, 60, 48)):
            picture.save(folder / f"class {label}" / f"{number}.jpg")
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, empty."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def written(name: str) -> list[Space]:
    """The search spaces of that name, read as a launch reads them."""
    return [load_space(f"search_spaces/{name}{kind}.yaml") for kind in ("", "_methods")]


def test_photos_in_class_folders_get_files_that_a_launch_accepts(
    photos: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert init.main([str(photos)]) == 0
    said = capsys.readouterr().out
    assert "47 training images of 4 classes, 5 to 24 each, in colour, 48 pixels on the short side" in said
    own, methods = written("my_photos__2024")
    base = own.base
    assert (base.data.source, base.data.path, base.data.imbalance.order) == ("image_folder", str(photos), "balanced")
    assert (base.data.crop, base.protocol.tasks, base.data.flip) == (32, 2, True)
    assert set(own.spec.vary) == {"method.alpha", "method.lambda", "method.temperature"}
    assert "method.name" in methods.spec.vary
    assert launch.main(["search_spaces/my_photos__2024.yaml", "--dry-run"]) == 0
    assert not (here / "cluster").exists()


def test_nothing_is_overwritten_unless_it_is_wanted(
    photos: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "runs").mkdir()
    file = here / "runs" / "mine_start.yaml"
    file.write_text("mine")
    assert exit_code(lambda: init.main([str(photos), "--name", "mine"])) == 2
    assert "runs/mine_start.yaml: there already" in capsys.readouterr().err
    assert file.read_text() == "mine"
    assert not (here / "search_spaces").exists()
    assert init.main([str(photos), "--name", "mine", "--size", "16", "--tasks", "4", "--cluster", "--force"]) == 0
    own, _ = written("mine")
    assert (own.base.data.crop, own.base.protocol.tasks) == (16, 4)
    assert (here / "cluster" / "runtime_env.yaml").is_file()


def test_grey_images_of_one_size_stay_as_they_are(tmp_path: Path, here: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 28, 28), dtype=np.uint8)
    labels = np.arange(40) % 4
    np.savez(tmp_path / "scans.npz", train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    assert init.main([str(tmp_path / "scans.npz")]) == 0
    base = written("scans")[0].base
    assert (base.data.source, base.data.resize, base.data.crop, base.data.flip) == ("npz", None, 28, False)


def test_parquet_is_found_in_a_folder(tmp_path: Path, here: Path) -> None:
    (tmp_path / "set" / "data").mkdir(parents=True)
    encoded = []
    for picture in pictures(24, 40, 40):
        content = io.BytesIO()
        picture.save(content, format="png")
        encoded.append({"bytes": content.getvalue(), "path": None})
    table = pa.table({"image": encoded, "label": [number % 3 for number in range(24)]})
    pq.write_table(table, tmp_path / "set" / "data" / "train-00000-of-00001.parquet")
    assert init.main([str(tmp_path / "set"), "--gpu"]) == 0
    own = written("set")[0]
    assert (own.base.data.source, own.base.data.crop, own.base.net.name) == ("parquet", 40, "resnet32")
    assert own.spec.resources.gpu == 1


@pytest.mark.parametrize("given", ["nowhere", "."])
def test_a_folder_that_is_not_there_or_has_no_images_is_one_line(
    given: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(lambda: init.main([given])) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert list(here.iterdir()) == []


def test_on_a_terminal_it_asks(photos: Path, here: Path) -> None:
    ours, theirs = pty.openpty()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "sweeper.cil", "init", str(photos)]
    started = subprocess.Popen(command, cwd=here, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    os.write(ours, b"asked\nmany\n24\n\n")  # the name; no size, a size; the tasks that were picked
    assert started.wait(timeout=60) == 0
    os.close(ours)
    own, _ = written("asked")
    assert (own.base.data.crop, own.base.protocol.tasks) == (24, 2)


def test_tar_files_are_found(tmp_path: Path, here: Path) -> None:
    (tmp_path / "packed").mkdir()
    with tarfile.open(tmp_path / "packed" / "train-0000.tar", "w") as packed:
        for number, picture in enumerate(pictures(24, 40, 40)):
            content = io.BytesIO()
            picture.save(content, format="png")
            for suffix, body in (("png", content.getvalue()), ("cls", str(number % 3).encode())):
                member = tarfile.TarInfo(f"{number:04d}.{suffix}")
                member.size = len(body)
                packed.addfile(member, io.BytesIO(body))
    assert init.main([str(tmp_path / "packed")]) == 0
    base = written("packed")[0].base
    assert (base.data.source, base.data.crop) == ("webdataset", 32)
