"""Cache entries appear whole or not at all, with several real processes, and with one killed in the middle."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainer.data import cache
from trainer.data.config import DataConfig
from trainer.data.sources import load
from trainer.errors import DataError

LOAD = (
    "import sys; from trainer.data.config import DataConfig; from trainer.data.sources import load;"
    "print(load(DataConfig(source='image_folder', path=sys.argv[1], crop=8)).fingerprint)"
)
HANG = (
    "import sys, time; from trainer.data import cache;"
    "half = lambda folder: ((folder / 'half').touch(), print('building', flush=True), time.sleep(60));"
    "cache.entry('k', half)"
)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CIL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    state = np.random.RandomState(0)
    for split in ("train", "test"):
        for name in ("a", "b"):
            where = tmp_path / "set" / split / name
            where.mkdir(parents=True)
            for i in range(100):
                Image.fromarray(state.randint(0, 256, (8, 8, 3), dtype=np.uint8)).save(where / f"{i:03d}.png")
    return tmp_path / "set"


def entries(root: Path) -> list[Path]:
    return [path for path in root.iterdir() if not path.name.startswith(".")]


def left_over(root: Path) -> list[Path]:
    return list(root.glob(".tmp.*"))


@pytest.mark.slow
def test_processes_that_build_at_once_agree(root: Path, folder: Path) -> None:
    builders = [
        subprocess.Popen([sys.executable, "-c", LOAD, str(folder)], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    found = {builder.communicate(timeout=120)[0] for builder in builders}
    assert [builder.returncode for builder in builders] == [0, 0, 0]
    assert len(found) == 1
    assert len(entries(root)) == 2  # train and test
    assert not left_over(root)


def test_without_locks_the_first_entry_stays(root: Path) -> None:
    """As on a network file system: another machine finishes while this one builds."""

    def build(folder: Path) -> None:
        (folder / "mine").write_text("x")
        (root / "k").mkdir()
        (root / "k" / "theirs").write_text("x")

    assert os.listdir(cache.entry("k", build)) == ["theirs"]
    assert not left_over(root)


def test_a_killed_builder_leaves_no_half_entry(root: Path) -> None:
    builder = subprocess.Popen([sys.executable, "-c", HANG], stdout=subprocess.PIPE, text=True)
    assert builder.stdout is not None
    assert builder.stdout.readline() == "building\n"
    builder.send_signal(signal.SIGKILL)
    builder.wait(timeout=60)
    assert not entries(root)
    assert len(left_over(root)) == 1
    found = cache.entry("k", lambda folder: (folder / "whole").touch())
    assert sorted(os.listdir(found)) == ["crc32.json", "whole"]
    assert not left_over(root)


def test_files_that_take_long_to_read_are_known_by_the_time_of_their_change(root: Path) -> None:
    built = []

    def build(folder: Path) -> None:
        built.append(folder)
        with (folder / "large").open("wb") as file:
            file.truncate(2**30 + 1)  # without a block on the disk

    found = cache.entry("k", build)
    assert cache.entry("k", build) == found
    assert len(built) == 1
    os.utime(found / "large", (0, 0))
    cache.entry("k", build)
    assert len(built) == 2


def test_a_failing_builder_leaves_nothing(root: Path, folder: Path) -> None:
    (folder / "train" / "a" / "050.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"050\.png: cannot be decoded"):
        load(DataConfig(source="image_folder", path=str(folder), crop=8))
    assert [len(np.load(entry / "labels.npy")) for entry in entries(root)] == [200]  # the test images
    assert not left_over(root)


def test_pixels_are_mapped_and_not_decoded_again(root: Path, folder: Path) -> None:
    data = DataConfig(source="image_folder", path=str(folder), crop=8)
    first = load(data)
    assert isinstance(first.train.pixels_NHWC, np.memmap)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.name != ".lock"}
    time.sleep(0.01)
    assert load(data).fingerprint == first.fingerprint
    assert {path: path.stat().st_mtime_ns for path in before} == before
    load(data.model_copy(update={"resize": 16}))
    assert len(entries(root)) == 4


def test_a_cache_that_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("CIL_CACHE", str(tmp_path / "file"))
    with pytest.raises(
        DataError, match=r"^the image cache .*file cannot be written: .*; set CIL_CACHE to another folder$"
    ):
        load(DataConfig(source="image_folder", path=str(folder), crop=8))


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def make_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "one bit of an image": lambda entry: flip_a_bit(entry / "pixels.u8"),
    "a file cut": lambda entry: os.truncate(entry / "pixels.u8", 100),
    "a file deleted": lambda entry: (entry / "labels.npy").unlink(),
    "a file too many": lambda entry: (entry / "labels (1).npy").touch(),
    "a folder": lambda entry: make_a_folder(entry / "meta.json"),
    "no checksums": lambda entry: (entry / "crc32.json").unlink(),
    "nothing in it": lambda entry: [file.unlink() for file in entry.iterdir()],
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_entry_is_named_and_made_again(
    root: Path, folder: Path, damage: Callable[[Path], object], capsys: pytest.CaptureFixture[str]
) -> None:
    data = DataConfig(source="image_folder", path=str(folder), crop=8)
    first = load(data)
    whole = np.array(first.train.pixels_NHWC), np.array(first.train.labels_N)
    damaged = entries(root)
    for entry in damaged:
        damage(entry)
    capsys.readouterr()
    again = load(data)
    np.testing.assert_array_equal(again.train.pixels_NHWC, whole[0])
    np.testing.assert_array_equal(again.train.labels_N, whole[1])
    assert again.fingerprint == first.fingerprint
    said = capsys.readouterr().err
    assert [line for line in said.splitlines() if line.startswith("warning: ")] == [
        f"warning: the image cache entry {entry} is damaged: its images are decoded again"
        for entry in sorted(damaged, key=lambda entry: said.index(entry.name))
    ]
    assert not left_over(root)
    load(data)
    assert capsys.readouterr().err == ""
