"""Parquet sets of real encoded images, written here as people's downloads look, and every way in which they are bad."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from trainer.data.config import DataConfig, Imbalance, Protocol
from trainer.data.sources import load
from trainer.data.tasks import build
from trainer.errors import ConfigError, DataError, UserError


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIL_CACHE", str(tmp_path / "cache"))


def picture(seed: int, size: tuple[int, int] = (16, 16), mode: str = "RGB") -> Image.Image:
    pixels = np.random.RandomState(seed).randint(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def write(file: Path, images: list[Any], labels: list[Any], names: list[str] | None = None) -> None:
    """``images``: bytes or Hugging Face structs."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(images[0], dict):
        column = pa.array(images, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    else:
        column = pa.array(images, pa.binary())
    table = pa.table({"image": column, "label": pa.array(labels)})
    if names:
        features = {"label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, file, row_group_size=3)


def config(folder: Path, **fields: Any) -> DataConfig:
    return DataConfig(**{"source": "parquet", "path": str(folder), "crop": 16, **fields})


def simple(folder: Path, labels: tuple[int, ...] = (0, 0, 1, 1, 2, 2)) -> Path:
    for split, first in (("train", 0), ("test", 100)):
        write(folder / f"{split}.parquet", [encoded(picture(first + i)) for i in range(len(labels))], list(labels))
    return folder


def line_of(kind: type[UserError], data: DataConfig) -> str:
    with pytest.raises(kind) as caught:
        load(data)
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_pixels_are_pillows_and_names_the_metadatas(tmp_path: Path) -> None:
    structs = [{"bytes": encoded(picture(i), "JPEG"), "path": None} for i in range(4)]
    write(tmp_path / "train.parquet", structs, [0, 1, 0, 1], ["cat", "dog"])
    write(tmp_path / "test.parquet", structs[:2], [1, 0], ["cat", "dog"])
    source = load(config(tmp_path))
    for i in range(4):
        expected = np.asarray(Image.open(io.BytesIO(structs[i]["bytes"])))
        assert (source.train.pixels_NHWC[i] == expected).all()
    assert source.train.labels_N.tolist() == [0, 1, 0, 1]
    assert source.test.labels_N.tolist() == [1, 0]
    assert source.class_names == ("cat", "dog")


@pytest.mark.parametrize(
    ("train", "test"),
    [
        (
            ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"],
            "data/validation-00000-of-1.parquet",
        ),
        (["train/0000.parquet", "train/0001.parquet"], "test/0000.parquet"),
        (["train_a.parquet", "train_b.parquet"], "val.parquet"),
    ],
)
def test_shards_in_the_places_that_people_have(tmp_path: Path, train: list[str], test: str) -> None:
    for shard, name in enumerate(train):
        write(tmp_path / name, [encoded(picture(4 * shard + i)) for i in range(4)], [0, 1, 0, 1])
    write(tmp_path / test, [encoded(picture(50)), encoded(picture(51))], [0, 1])
    source = load(config(tmp_path))
    assert source.train.pixels_NHWC.shape == (8, 16, 16, 3)
    assert (source.train.pixels_NHWC[5] == np.asarray(picture(5))).all()


def test_labels_with_gaps_are_numbered_in_order(tmp_path: Path) -> None:
    names = [f"class {i}" for i in range(60)]
    for split in ("train", "test"):
        write(tmp_path / f"{split}.parquet", [encoded(picture(i)) for i in range(3)], [50, 7, 9], names)
    source = load(config(tmp_path))
    assert source.train.labels_N.tolist() == [2, 0, 1]
    assert source.class_names == ("class 7", "class 9", "class 50")


def test_labels_may_be_names(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write(tmp_path / f"{split}.parquet", [encoded(picture(i)) for i in range(3)], ["owl", "ant", "owl"])
    source = load(config(tmp_path))
    assert source.class_names == ("ant", "owl")
    assert source.train.labels_N.tolist() == [1, 0, 1]


TEXT = ["owl", "ant", "owl"]


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param(pa.array(TEXT).dictionary_encode(), id="text categories of pandas"),
        pytest.param(pa.array(TEXT, pa.large_string()).dictionary_encode(), id="text categories of Polars"),
        pytest.param(pa.DictionaryArray.from_arrays([1, 0, 1], ["ant", "owl", "unused"]), id="an unused category"),
        pytest.param(pa.array([9, 3, 9]).dictionary_encode(), id="categories of integers"),
        pytest.param(pa.array([9, 3, 9], pa.uint8()), id="small integers"),
        pytest.param(pa.array(TEXT, pa.string_view()), id="text of Polars"),
        pytest.param(pa.array(TEXT, pa.large_string()), id="large text"),
    ],
)
def test_labels_as_data_frames_write_them(tmp_path: Path, labels: pa.Array) -> None:
    images = pa.array([encoded(picture(i)) for i in range(3)], pa.binary_view())
    for split in ("train", "test"):
        pq.write_table(pa.table({"image": images, "label": labels}), tmp_path / f"{split}.parquet")
    source = load(config(tmp_path))
    assert source.train.labels_N.tolist() == [1, 0, 1]
    assert source.class_names in (("ant", "owl"), ("3", "9"))


@pytest.mark.parametrize("labels", [pa.DictionaryArray.from_arrays([0, None, 0], ["a"]), pa.array(["a", None, "a"])])
def test_a_missing_category_is_a_missing_label(tmp_path: Path, labels: pa.Array) -> None:
    simple(tmp_path)
    images = [encoded(picture(i)) for i in range(3)]
    pq.write_table(pa.table({"image": images, "label": labels}), tmp_path / "train.parquet")
    assert line_of(DataError, config(tmp_path)).endswith("train.parquet: row 1 has no label")


def test_column_names_are_configurable(tmp_path: Path) -> None:
    simple(tmp_path)
    for split in ("train", "test"):
        file = tmp_path / f"{split}.parquet"
        pq.write_table(pq.read_table(file).rename_columns(["img", "fine_label"]), file)
    source = load(config(tmp_path, image_column="img", label_column="fine_label"))
    assert len(source.train.labels_N) == 6
    line = line_of(ConfigError, config(tmp_path, image_column="img", label_column="fine_labels"))
    assert line.startswith("data.label_column: ")
    assert line.endswith("allowed: img, fine_label; did you mean 'fine_label'?")
    assert line_of(ConfigError, config(tmp_path, label_column="fine_label")).startswith("data.image_column: ")
    line = line_of(ConfigError, config(tmp_path, image_column="fine_label", label_column="fine_label"))
    assert line.endswith("column 'fine_label' holds int64, not images")
    line = line_of(ConfigError, config(tmp_path, image_column="img", label_column="img"))
    assert line.endswith("column 'img' holds binary, neither integers nor text")


@pytest.mark.parametrize(
    ("modes", "channels"),
    [(("L", "L"), 1), (("L", "RGB"), 3), (("RGB", "L"), 3), (("RGBA", "P"), 3), (("1", "L"), 1), (("CMYK", "RGB"), 3)],
)
def test_grey_stays_grey_and_mixtures_become_colour(tmp_path: Path, modes: tuple[str, str], channels: int) -> None:
    images = [picture(i, mode=modes[i % 2]) for i in range(6)]
    for split in ("train", "test"):
        data = [encoded(image, "TIFF") for image in images]
        write(tmp_path / f"{split}.parquet", data, [0, 1] * 3)
    found = load(config(tmp_path)).train.pixels_NHWC
    assert found.shape == (6, 16, 16, channels)
    expected = [
        np.asarray(image.convert("L" if channels == 1 else "RGB")).reshape(16, 16, channels) for image in images
    ]
    assert (found == np.stack(expected)).all()


def test_several_sizes_need_resize(tmp_path: Path) -> None:
    sizes = [(40, 20), (20, 40), (20, 20), (30, 60)]
    for split in ("train", "test"):
        write(tmp_path / f"{split}.parquet", [encoded(picture(i, size)) for i, size in enumerate(sizes)], [0, 1, 0, 1])
    line = line_of(ConfigError, config(tmp_path))
    assert line.startswith("data.resize: ")
    assert "train.parquet row 0 is 40x20" in line
    assert "train.parquet row 1 is 20x40" in line
    found = load(config(tmp_path, resize=20)).train.pixels_NHWC
    assert found.shape == (4, 20, 20, 3)
    assert (found[0] == np.asarray(picture(0, (40, 20)))[:, 10:30]).all()
    halved = picture(3, (30, 60)).resize((20, 40), Image.Resampling.BILINEAR)
    assert (found[3] == np.asarray(halved)[10:30]).all()


@pytest.mark.parametrize("bad", [b"not an image", None, "cut"])
def test_bad_images_are_named_or_skipped_aloud(
    tmp_path: Path, bad: bytes | str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    simple(tmp_path)
    images: list[bytes | None] = [encoded(picture(i)) for i in range(6)]
    images[3] = encoded(picture(3))[:300] if bad == "cut" else bad  # type: ignore[assignment]
    write(tmp_path / "train.parquet", images, [0, 0, 1, 1, 2, 2])
    line = line_of(DataError, config(tmp_path))
    assert f"{tmp_path}/train.parquet row 3: " in line
    assert ("missing" if bad is None else "cannot be decoded") in line
    for _ in range(2):  # decoded, then from the cache
        source = load(config(tmp_path, on_bad_image="skip"))
        assert source.train.labels_N.tolist() == [0, 0, 1, 2, 2]
        assert (source.train.pixels_NHWC[3] == np.asarray(picture(4))).all()
        told = capsys.readouterr().err
        assert "(train): 1 of 6 images skipped: " in told
        assert "train.parquet row 3: " in told
    assert "row 3" in line_of(DataError, config(tmp_path))  # a cache made by skipping does not hide it


def test_a_path_without_its_image_is_named(tmp_path: Path) -> None:
    simple(tmp_path)
    structs = [{"bytes": None, "path": f"{i}.png"} for i in range(3)]
    write(tmp_path / "test.parquet", structs, [0, 1, 2])
    assert "test.parquet row 0 (no bytes, only the path '0.png'): missing" in line_of(DataError, config(tmp_path))


def test_all_bad(tmp_path: Path) -> None:
    simple(tmp_path)
    write(tmp_path / "train.parquet", [b"x"] * 3, [0, 1, 2])
    assert "no image can be read" in line_of(DataError, config(tmp_path, on_bad_image="skip"))


def test_missing_things_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert line_of(DataError, config(tmp_path / "nowhere")).endswith("nowhere is missing")
    assert "has no train*.parquet" in line_of(DataError, config(tmp_path))
    assert line_of(ConfigError, DataConfig(source="parquet")).startswith("data.path: is missing")
    monkeypatch.delenv("CIL_NO_SUCH", raising=False)
    line = line_of(DataError, DataConfig(source="parquet", path="${CIL_NO_SUCH}/sets"))
    assert line.startswith("data.path: the environment variable CIL_NO_SUCH is not set")
    monkeypatch.setenv("CIL_NO_SUCH", str(simple(tmp_path / "sets").parent))
    assert len(load(config(tmp_path).model_copy(update={"path": "${CIL_NO_SUCH}/sets"})).train.labels_N) == 6


def test_broken_files_in_one_line(tmp_path: Path) -> None:
    simple(tmp_path)
    (tmp_path / "train.parquet").write_bytes(b"PAR1 no more")
    assert "not a readable Parquet file" in line_of(DataError, config(tmp_path))
    write(tmp_path / "train.parquet", [encoded(picture(0))] * 2, [0, None])
    assert line_of(DataError, config(tmp_path)).endswith("train.parquet: row 1 has no label")
    pq.write_table(
        pa.table({"image": pa.array([], pa.binary()), "label": pa.array([], pa.int64())}), tmp_path / "train.parquet"
    )
    assert line_of(DataError, config(tmp_path)).endswith("train.parquet: no images")


def test_classes_without_images(tmp_path: Path) -> None:
    simple(tmp_path)
    write(tmp_path / "train.parquet", [encoded(picture(0))] * 2, [0, 1])
    assert "label 2 of the test images has no training images" in line_of(DataError, config(tmp_path))
    simple(tmp_path)
    write(tmp_path / "test.parquet", [encoded(picture(0))] * 2, [0, 2])
    assert line_of(DataError, config(tmp_path)) == "test: class 1 has no images"
    simple(tmp_path)
    write(tmp_path / "test.parquet", [encoded(picture(i, (20, 20))) for i in range(3)], [0, 1, 2])
    assert "test images 20x20x3" in line_of(DataError, config(tmp_path))


def test_a_changed_file_is_decoded_anew(tmp_path: Path) -> None:
    simple(tmp_path)
    before = load(config(tmp_path))
    assert load(config(tmp_path)).fingerprint == before.fingerprint
    write(tmp_path / "train.parquet", [encoded(picture(7 + i)) for i in range(6)], [0, 0, 1, 1, 2, 2])
    after = load(config(tmp_path))
    assert after.fingerprint != before.fingerprint
    assert (after.train.pixels_NHWC[0] == np.asarray(picture(7))).all()
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for split in ("train", "test"):
        (tmp_path / f"{split}.parquet").rename(moved / f"{split}.parquet")
    assert load(config(moved)).fingerprint == after.fingerprint


def test_a_benchmark_of_parquet(tmp_path: Path) -> None:
    labels = tuple(i % 4 for i in range(40))
    found = build(config(simple(tmp_path, labels), imbalance=Imbalance(ratio=5)), Protocol(tasks=2))
    assert sorted(found.counts_C.tolist()) == [2, 3, 5, 10]
    assert found.eval_counts_C == (10,) * 4
    assert found.train_pixels_NCHW.shape == (20, 3, 16, 16)


# -- shards -------------------------------------------------------------------------------------------


def shards(folder: Path, names: list[str], labels: tuple[Any, ...] = (0, 1)) -> Path:
    """Two images in each file."""
    for number, name in enumerate(names):
        write(folder / name, [encoded(picture(2 * number + i)) for i in range(len(labels))], list(labels))
    return folder


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        (["train-00000-of-00004", "train-00001-of-00004", "train-00003-of-00004"], "train-00002-of-00004.parquet"),
        (["data/train-0-of-2"], "train-1-of-2.parquet"),
        (["train/0000-of-0003"], "0001-of-0003.parquet, 0002-of-0003.parquet"),
    ],
)
def test_a_missing_shard_is_named(tmp_path: Path, names: list[str], missing: str) -> None:
    shards(tmp_path, [f"{name}.parquet" for name in [*names, "test"]])
    line = line_of(DataError, config(tmp_path))
    assert "of the train split are missing: " in line
    assert line.endswith(missing)


def test_shards_of_two_versions_are_refused(tmp_path: Path) -> None:
    shards(tmp_path, ["train-00000-of-00001.parquet", "train-00000-of-00002.parquet", "test.parquet"])
    assert line_of(DataError, config(tmp_path)).endswith("two versions of the train split: of 1 and of 2")
    shards(tmp_path / "b", ["train-00000-of-00001.parquet", "train.parquet", "test.parquet"])
    assert line_of(DataError, config(tmp_path / "b")).endswith("are both the train split: keep one kind")


@pytest.mark.parametrize(
    "regular", [["train-00000-of-00002", "train-00001-of-00002"], ["train"], ["data/train-0", "data/train-1"]]
)
def test_copies_and_strange_names_are_said_and_not_read(
    tmp_path: Path, regular: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    copies = [f"{regular[-1]} (1)", "train_extra", "notes"]
    shards(tmp_path, [f"{name}.parquet" for name in [*regular, "test", *copies]])
    source = load(config(tmp_path))
    assert len(source.train.labels_N) == 2 * len(regular)
    (line,) = source.said
    assert "3 Parquet files passed over" in line
    assert all(f"{name}.parquet" in line for name in copies)
    assert line in capsys.readouterr().err


def test_a_configurations_folder(tmp_path: Path) -> None:
    shards(tmp_path, ["plain/train-0-of-1.parquet", "plain/test-0-of-1.parquet"])
    assert len(load(config(tmp_path)).train.labels_N) == 2
    shards(tmp_path, ["cropped/train/0000.parquet", "cropped/test/0000.parquet"])
    line = line_of(DataError, config(tmp_path))
    assert line.endswith(f"give the folder of one: {tmp_path}/cropped, {tmp_path}/plain")
    assert len(load(config(tmp_path / "cropped")).train.labels_N) == 2


# -- one file, a column of splits -------------------------------------------------------------------------


def with_splits(file: Path, values: list[str | None], column: str = "split") -> Path:
    write(file, [encoded(picture(i)) for i in range(len(values))], [i % 2 for i in range(len(values))])
    table = pq.read_table(file)
    pq.write_table(table.append_column(column, pa.array(values, pa.string())), file, row_group_size=3)
    return file


def test_a_single_file_with_a_column_of_splits(tmp_path: Path) -> None:
    file = with_splits(tmp_path / "all.parquet", ["train", "Train", "test", "test", "train", "train", "extra"])
    for path in (file, tmp_path):
        source = load(config(path))
        assert source.train.labels_N.tolist() == [0, 1, 0, 1]
        assert (source.train.pixels_NHWC[2] == np.asarray(picture(4))).all()
        assert (source.test.pixels_NHWC[1] == np.asarray(picture(3))).all()
        assert source.said == (
            f"warning: {file}: column 'split': 1 row of no known split (train, test, validation) passed over: "
            "1 of 'extra'",
        )


def test_a_column_of_splits_is_named(tmp_path: Path) -> None:
    file = with_splits(tmp_path / "all.parquet", ["train", "train", "test", "test"], "part")
    assert len(load(config(file, split_column="part")).test.labels_N) == 2
    line = line_of(ConfigError, config(file, split_column="parts"))
    assert line.startswith("data.split_column: ")
    assert line.endswith("did you mean 'part'?")
    with_splits(file, ["train", None, "test", "test"], "part")
    assert line_of(DataError, config(file, split_column="part")).endswith("column 'part': row 1 says no split")
    with_splits(file, ["test"] * 4, "part")
    assert "no row is of the train split" in line_of(DataError, config(file, split_column="part"))


# -- labels -------------------------------------------------------------------------------------------


def labelled(folder: Path, labels: pa.Array, names: list[str] | None = None) -> Path:
    images = [encoded(picture(i)) for i in range(len(labels))]
    for split in ("train", "test"):
        write(folder / f"{split}.parquet", images, labels, names)
    return folder


def test_hidden_labels_are_refused(tmp_path: Path) -> None:
    line = line_of(DataError, config(labelled(tmp_path, [0, 1, -1, -1])))
    assert "train.parquet: 2 of 4 labels are negative, the first is -1 in row 2" in line


def test_fractions_are_labels_only_where_they_are_whole(tmp_path: Path) -> None:
    assert load(config(labelled(tmp_path, pa.array([0.0, 5.0, 0.0])))).class_names == ("0", "5")
    assert "the label 0.5 in row 1 is no class" in line_of(DataError, config(labelled(tmp_path, pa.array([0.0, 0.5]))))
    assert line_of(DataError, config(labelled(tmp_path, pa.array([0.0, np.nan])))).endswith("row 1 has no label")


def test_yes_and_no_are_classes(tmp_path: Path) -> None:
    assert load(config(labelled(tmp_path, pa.array([True, False])))).train.labels_N.tolist() == [1, 0]


def test_a_label_that_the_metadata_do_not_name_is_refused(tmp_path: Path) -> None:
    line = line_of(DataError, config(labelled(tmp_path, [0, 2], ["cat", "dog"])))
    assert line.endswith("label 2, but the file's metadata name 2 classes")
