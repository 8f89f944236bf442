"""``cil look``: what a data set holds, each oddity named once, all mistakes at once, and pictures."""

import io
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import ExifTags, Image
from rich.cells import cell_len

from sweeper import init, look
from trainer.errors import exit_code
from trainer.look import main

ROOT = Path(__file__).parents[2]
CLASSES = {"ant": 30, "bee": 12, "cat": 6, "dog": 1}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return a_set(tmp_path_factory.mktemp("clean"))


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A natural tail with one of each oddity."""
    folder = a_set(tmp_path / "odd")
    train, test = folder / "train", folder / "test"
    (train / "ant" / "corrupt.jpg").write_bytes(b"no image")
    (train / "ant" / ".DS_Store").write_bytes(b"")
    (train / "bee" / "notes.txt").write_text("of the field")
    picture(100, grey=True).save(train / "bee" / "grey.png")
    picture(101).save(train / "stray.png")
    copy(train / "ant" / "1.png", train / "ant" / "again.png")
    copy(train / "cat" / "2.png", train / "bee" / "contradicts.png")
    copy(train / "cat" / "0.png", test / "cat" / "seen.png")
    return folder


def a_set(folder: Path) -> Path:
    number = 0
    for split, counts in (("train", CLASSES), ("test", dict.fromkeys(CLASSES, 2))):
        for name, count in counts.items():
            (folder / split / name).mkdir(parents=True)
            for image in range(count):
                number += 1
                picture(number).save(folder / split / name / f"{image}.png")
    return folder


def picture(seed: int, *, grey: bool = False) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    return Image.fromarray(pixels[..., 0] if grey else pixels)


def copy(source: Path, target: Path) -> None:
    target.write_bytes(source.read_bytes())


def looked(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> tuple[str, str]:
    assert exit_code(lambda: look.main(list(map(str, arguments)))) == code
    return capsys.readouterr()


def row(out: str, name: str) -> Sequence[str]:
    (line,) = [line for line in out.splitlines() if line.split()[:1] == [name]]
    return line.split()


def test_a_clean_folder_shows_splits_classes_and_tasks(clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, err = looked(capsys, clean)
    assert err == ""
    assert "warning:" not in out
    assert row(out, "train")[1:] == ["49", "0", "40x30", "40x30", "40x30", "49", "RGB", "49", "PNG"]
    # a fifth of each class is validated on, the rest trained on
    assert {name: row(out, name)[1:5] for name in CLASSES} == {
        "ant": ["30", "24", "6", "2"],
        "bee": ["12", "10", "2", "2"],
        "cat": ["6", "5", "1", "2"],
        "dog": ["1", "1", "0", "2"],
    }
    assert "0 many-shot (over 100), 1 medium-shot, 3 few-shot" in out
    assert [row(out, str(task))[1] for task in (1, 2)] == ["2", "2"]
    assert sum(int(row(out, str(task))[2]) for task in (1, 2)) == 40
    assert "protocol.tasks 2;" in out


def test_bars_are_as_long_as_the_classes_are_large(clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = looked(capsys, clean)
    bars = {name: row(out, name)[5] for name in CLASSES}
    assert set("".join(bars.values())) == {"█", "░"}
    assert [len(bar) for bar in bars.values()] == sorted((len(bar) for bar in bars.values()), reverse=True)
    assert len(bars["cat"]) == pytest.approx(len(bars["ant"]) / 5, abs=1)
    assert bars["ant"].count("█") == pytest.approx(0.8 * len(bars["ant"]), abs=1)
    assert max(len(line) for line in out.splitlines() if "█" in line) <= 100


def test_each_oddity_is_named_once(odd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, err = looked(capsys, odd, "--set", "data.on_bad_image=error", code=2)
    (line,) = err.splitlines()
    assert line.startswith(f"error: {odd}/train/ant/corrupt.jpg: ")
    said = [line for line in out.splitlines() if line.startswith(("note:", "warning:"))]
    for words, kind in {
        "1 hidden": "note",
        "1 .txt": "note",
        "1 .png in train/ itself": "warning",
        "none of class dog": "note",
        "grey among colours": "note",
        "seen.png": "warning",
        "again.png": "warning",
        "contradicts.png": "warning",
    }.items():
        found = [line for line in said if words in line]
        assert len(found) == 1, (words, said)
        assert found[0].startswith(kind)
    assert row(out, "train")[1:3] == ["52", "1"]


def test_photos_that_are_turned_and_their_formats_are_counted(
    clean: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(clean, tmp_path / "photos")
    for number, orientation in enumerate((1, 6, 8)):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        picture(200 + number).save(folder / "train" / "bee" / f"photo{number}.jpg", exif=exif)
    out, _ = looked(capsys, folder)
    assert out.count("note: train: 2 images turned upright, as EXIF says") == 1
    assert row(out, "train")[-4:] == ["49", "PNG,", "3", "JPEG"]


def test_images_that_may_be_left_out_are_no_mistake(odd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, err = looked(capsys, odd)
    assert err == ""
    assert out.count("corrupt.jpg") == 1


def test_all_mistakes_of_a_run_are_named_at_once(odd: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = {"source": "image_folder", "path": str(odd), "resize": 16, "crop": 24, "imbalance": {"ratio": 5000}}
    content = {"data": data, "protocol": {"tasks": 9}, "method": {"name": "finetune"}}
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(content))
    out, err = looked(capsys, file, code=2)
    lines = err.splitlines()
    assert all(line.startswith("error: ") for line in lines)
    for field in ("corrupt.jpg", "data.crop", "protocol.tasks", "data.imbalance.ratio"):
        assert len([line for line in lines if field in line]) == 1, err
    assert row(out, "ant")  # what is known is shown all the same


def test_a_search_space_shows_what_its_trials_see(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, _ = looked(capsys, "runs/digits_lfs5.yaml")
    space, _ = looked(capsys, "search_spaces/digits.yaml")
    assert row(run, "0")[1:5] == ["143", "143", "25", "35"]
    assert row(space, "0")[1:5] == ["143", "118", "25", "35"]


def test_the_trainers_own_command_takes_run_files(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs/digits_lfs5.yaml", "--set", "data.imbalance.ratio=10"]) == 0
    assert row(capsys.readouterr().out, "9")[2] == "14"


def test_what_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    _, err = looked(capsys, "runs/digits_lfs.yaml", code=2)
    assert err.count("\n") == 1
    assert "did you mean" in err


def test_a_slip_in_a_path_has_its_nearest(clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (look.main, main, init.main):
        assert exit_code(lambda command=command: command([str(clean.with_name("claen"))])) == 2  # type: ignore[misc]
        assert f"claen: no such folder or file; did you mean {clean.name!r}?" in capsys.readouterr().err


def test_many_classes_share_bars(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = np.repeat(np.arange(120), 3)
    pixels = np.random.default_rng(0).integers(0, 256, (360, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "set.npz", train_images=pixels, train_labels=labels)
    out, _ = looked(capsys, tmp_path / "set.npz")
    assert len([line for line in out.splitlines() if "█" in line]) == 41
    assert "and 2 more" in out


def test_columns_are_aligned_by_what_a_terminal_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, seeds in (("猫", range(9)), ("a tree", range(9, 12))):
        (tmp_path / name).mkdir()
        for seed in seeds:
            picture(seed).save(tmp_path / name / f"{seed}.png")
    out, _ = looked(capsys, tmp_path)
    cat, tree = (cell_len(line.partition("█")[0]) for line in out.splitlines() if line.startswith(("猫", "a tree")))
    assert cat == tree


def test_it_reads_in_ascii(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    printed = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", printed)
    assert exit_code(lambda: main([str(clean)])) == 0
    printed.seek(0)
    assert "####" in printed.read()


def test_pictures_are_written(odd: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "new" / "pictures"
    out, _ = looked(capsys, odd, "--out", folder)
    for name in ("tail.png", "images.png"):
        assert str(folder / name) in out
        with Image.open(folder / name) as image:
            assert min(image.size) > 100


def test_the_first_line_waits_for_no_import() -> None:
    code = "import sys; from sweeper import look; look.parser(); print({'torch', 'optuna'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"
