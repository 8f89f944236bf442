"""``python -m trainer.predict``: its tables and files, and a line for everything that is wrong."""

import csv
import io
import json
import pickle
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import safetensors
import torch
from PIL import Image

from support.pages import blocks
from support.runs import FEW_IMAGES, tiny_run
from sweeper import cil
from trainer import predict, run
from trainer.config.files import dump_run
from trainer.errors import exit_code
from trainer.model.file import read_model, write_model
from trainer.model.model import load_model
from trainer.training.options import DeviceOptions


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds of a run on digits with their models, and a folder of images with one in a folder of its own."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "tiny.yaml").write_text(dump_run(tiny_run("finetune", data=FEW_IMAGES, optim={"epochs": 1})))
    arguments = [str(folder / "tiny.yaml"), "--seeds", "0,1", "--out", str(folder / "out"), "--device", "cpu"]
    assert run.main([*arguments, "--keep-model"]) == 0
    random = np.random.default_rng(0)
    for name in ("a.png", "inner/b.png"):
        (folder / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (8, 8), dtype=np.uint8)).save(folder / "images" / name)
    (folder / "images" / "notes.txt").write_text("no image")
    return folder


@pytest.fixture
def folder(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to work in."""
    shutil.copytree(shared, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def printed(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    capsys.readouterr()
    assert exit_code(partial(predict.main, [*arguments, "--device", "cpu"])) == code
    out, err = capsys.readouterr()
    return err if code else out


def test_predictions_in_every_format(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ask = partial(printed, capsys, "out", "images", "--seed", "1", "--top", "3")
    header, *rows = ask().splitlines()
    assert header.split() == ["image", "1", "2", "3"]
    assert [row.split()[0] for row in rows] == ["images/a.png", "images/inner/b.png"]
    found = list(csv.DictReader(io.StringIO(ask("--format", "csv"))))
    images = ("images/a.png", "images/inner/b.png")
    assert [(row["image"], row["rank"]) for row in found] == [(image, rank) for image in images for rank in "123"]
    assert json.loads(ask("--format", "json")) == [
        row
        | {key: int(row[key]) for key in ("rank", "class_id")}
        | {key: float(row[key]) for key in ("probability", "score")}
        for row in found
    ]
    assert ask("--parquet", "new/found.parquet") == "predictions: new/found.parquet\n"
    assert pq.read_table("new/found.parquet").to_pylist() == json.loads(ask("--format", "json"))
    model = load_model(folder / "out", DeviceOptions(device="cpu"), seed=1)
    best = [one[0] for one in model.predict(sorted((folder / "images").rglob("*.png")))]
    assert [(one.class_name, one.probability) for one in best] == [
        (row["class_name"], float(row["probability"])) for row in found if row["rank"] == "1"
    ]


def test_it_is_a_command_of_cil(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cil.main(["predict", "out/models/seed0.safetensors", "images/a.png", "--device", "cpu"]) == 0
    assert "images/a.png" in capsys.readouterr().out


def test_an_evaluation_is_a_table_and_a_picture(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = printed(capsys, "out", "--seed", "0", "--evaluate", "--out", "new")
    recorded = pq.read_table("out/runs/000000.parquet").to_pylist()[0]
    assert f"accuracy {recorded['last_acc_class_weighted_pct']:.1f} %" in shown
    assert f"calibration error {recorded['ece_pct']:.1f} % (15 bins)" in shown
    assert shown.splitlines()[-1] == "picture: new/evaluation.png"
    with Image.open("new/evaluation.png") as picture:
        assert picture.size[0] > 1000


def test_a_finished_run_gives_its_model_without_training(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = read_model(folder / "out/models/seed0.safetensors").tensors
    shutil.rmtree("out/models")
    assert run.main(["tiny.yaml", "--seeds", "0,1", "--out", "out", "--device", "cpu", "--resume", "--keep-model"]) == 0
    after = read_model(folder / "out/models/seed0.safetensors").tensors
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


# -- what is wrong ---------------------------------------------------------------------------------------


def test_a_folder_without_a_model(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "images", "images", code=2).startswith(
        "error: images: holds no model; a run keeps its own: "
    )
    assert printed(capsys, "outt", "images", code=2) == "error: outt: no such folder or file; did you mean 'out'?\n"
    assert printed(capsys, "out", "images", code=2) == (
        "error: out: holds models of seeds 0, 1: choose one with --seed\n"
    )
    assert "no model of seed 7" in printed(capsys, "out", "images", "--seed", "7", code=2)
    assert printed(capsys, "out", code=2).startswith("error: no images given")


def test_a_model_needs_a_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(partial(run.main, ["tiny.yaml", "--keep-model"])) == 2
    assert capsys.readouterr().err == "error: --keep-model: needs --out, the folder to write the model to\n"


def test_any_damage_to_a_model_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = folder / "out/models/seed0.safetensors"
    whole = file.read_bytes()
    places = [0, 7, 8, 200, *range(8, len(whole), len(whole) // 40), len(whole) - 1]
    damaged = [whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :] for place in places]
    for content in [*damaged, b"", whole[:5], whole[:-1], whole + b"x", pickle.dumps({"a": 1})]:
        file.write_bytes(content)
        line = printed(capsys, str(file), "images", code=2)
        assert line == f"error: {file}: not a model, or damaged (its digest does not match)\n"
    file.write_bytes(whole)
    printed(capsys, str(file), "images")


def changed(file: Path, **changes: Any) -> None:
    found = read_model(file)
    write_model(file, found.about.model_copy(update=changes), found.tensors)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"format": 99}, "model format 99, this version of the code reads 1"),
        ({"run": {"method": {"name": "unheard_of"}}}, "this version of the code cannot use it: method.name"),
        ({"class_names": ["a"]}, "has names of 1 classes"),
    ],
)
def test_other_versions(changes: Any, line: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changed(folder / "out/models/seed0.safetensors", **changes)
    shown = printed(capsys, "out", "images", "--seed", "0", code=2)
    assert shown.count("\n") == 1
    assert line in shown


def test_a_missing_tensor(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = folder / "out/models/seed0.safetensors"
    found = read_model(file)
    write_model(file, found.about, {k: v for k, v in found.tensors.items() if not k.endswith("head.bias_MK")})
    assert "it has no tensor 'head.bias_MK'" in printed(capsys, str(file), "images", code=2)


def test_images_that_cannot_be_classified_are_all_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(np.zeros((9, 8), dtype=np.uint8)).save("images/tall.png")
    Image.fromarray(np.full((8, 8, 3), (200, 0, 0), dtype=np.uint8)).save("images/red.png")
    Path("images/broken.png").write_bytes(b"no image")
    assert predict.main(["out", "images", "--seed", "0", "--format", "csv", "--device", "cpu"]) == 0
    shown = capsys.readouterr()
    classified = {Path(row.split(",")[0]).name for row in shown.out.splitlines()[1:]}
    assert classified == {"a.png", "b.png"}, "the others are classified"
    lines = sorted(shown.err.splitlines())
    assert lines[0].startswith("warning: left out: images/broken.png: cannot be decoded")
    assert lines[1:] == [
        "warning: left out: images/red.png: has colour, and the images of the run were grey",
        "warning: left out: images/tall.png: has 8x9 pixels, the images of the run 8x8 (its data.resize is null)",
    ]
    line = printed(capsys, "out", "images/broken.png", "--seed", "0", code=2)
    assert line.startswith("error: no image can be read: images/broken.png: cannot be decoded")
    assert printed(capsys, "out", "none", "--seed", "0", code=2) == "error: none: no such image or folder\n"
    Path("empty").mkdir()
    assert printed(capsys, "out", "empty", "--seed", "0", code=2) == "error: empty: no images\n"


def test_the_file_is_what_others_read(folder: Path) -> None:
    with safetensors.safe_open(str(folder / "out/models/seed0.safetensors"), "pt") as file:
        about = json.loads(file.metadata()["about"])
        assert about["class_names"] == load_model(folder / "out", seed=0).class_names
        assert (about["height"], about["width"], about["channels"]) == (8, 8, 1)
        assert about["mean"] == pytest.approx([0.5])
        assert not [name for name in file.keys() if "teacher" in name]  # noqa: SIM118  (no mapping)


def test_the_code_of_the_page(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree("out/models", "out/digits/models", ignore=shutil.ignore_patterns("seed1*"))
    for name in ("a.png", "b.png"):
        shutil.copy("images/a.png", name)
    code = next(block.text for block in blocks("docs/models.md", "python") if "load_model" in block.text)
    capsys.readouterr()
    exec(code, {})
    assert len(capsys.readouterr().out.splitlines()) == 2
