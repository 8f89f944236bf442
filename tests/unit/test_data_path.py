"""Where a relative ``data.path`` starts: at the file that states it, so that files and images can be moved together."""

from pathlib import Path

import pytest
import yaml
from PIL import Image

from support.sweeps import space_file
from sweeper import init
from sweeper.search.space_file import load_space
from trainer.config.files import load_run
from trainer.data.location import as_stated, found
from trainer.errors import DataError


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: ``runs/a.yaml``, which states ``../photos``, and ``photos``."""
    folder = tmp_path / "here"
    for name in ("runs", "photos/cat", "photos/dog"):
        (folder / name).mkdir(parents=True)
    monkeypatch.setenv("CIL_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(folder)
    run_file(folder / "runs" / "a.yaml", "../photos")
    return folder


def run_file(file: Path, path: str) -> Path:
    file.write_text(yaml.safe_dump({"data": {"source": "image_folder", "path": path}, "method": {"name": "finetune"}}))
    return file


def images_of(file: str | Path, *sets: str) -> Path:
    return found(load_run(file, sets).config.data)


def test_it_starts_at_the_file_from_wherever_that_is_read(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here.parent / "photos").mkdir()
    for folder, file in ((here, "runs/a.yaml"), (here.parent, "here/runs/a.yaml"), (here / "runs", "a.yaml")):
        monkeypatch.chdir(folder)
        assert images_of(file) == here / "photos"


def test_otherwise_at_the_working_directory(here: Path) -> None:
    assert images_of(run_file(here / "runs" / "b.yaml", "photos")).absolute() == here / "photos"


def test_one_that_leads_nowhere_is_refused_with_where_it_was_looked_for(here: Path) -> None:
    with pytest.raises(DataError, match=r"^data\.path: \.\./photo is missing, beside the file .* directory$"):
        images_of(run_file(here / "runs" / "b.yaml", "../photo"))
    with pytest.raises(DataError, match=r"directory; did you mean 'photos'\?$"):
        images_of("runs/a.yaml", "data.path=photo")


def test_on_the_command_line_at_the_working_directory(here: Path) -> None:
    (here / "runs" / "photos").mkdir()
    assert images_of("runs/a.yaml", "data.path=photos").absolute() == here / "photos"
    space = load_space(space_file(here / "runs", trials=1), ("data.path=photos",))
    assert found(space.base.data).absolute() == here / "photos"


def test_variables_and_absolute_paths_stay(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIL_DATA", "photos")
    (here / "runs" / "$CIL_DATA").mkdir()
    for path in ("$CIL_DATA/cat", "${CIL_DATA}/cat", "~/cat", "/nowhere"):
        assert load_run(run_file(here / "runs" / "b.yaml", path)).config.data.path == path
    assert images_of("runs/b.yaml", "data.path=$CIL_DATA/cat").absolute() == here / "photos" / "cat"


@pytest.mark.parametrize("stated", [{"data.path": "../scans"}, {"data": {"source": "csv", "path": "../scans"}}])
def test_a_search_space_states_its_own(here: Path, stated: dict[str, object]) -> None:
    (here / "search_spaces").mkdir()
    (here / "scans").mkdir()
    space = load_space(space_file(here / "search_spaces", trials=1, set=stated))
    assert found(space.base.data) == here / "scans"


def test_what_is_written_leads_back_and_is_relative_within_the_working_directory(here: Path) -> None:
    for images, written in ((here / "photos", "../photos"), (here.parent / "photos", str(here.parent / "photos"))):
        stated = as_stated(str(images), Path("runs", "c.yaml"))
        assert stated == written
        images.mkdir(exist_ok=True)
        assert images_of(run_file(here / "runs" / "c.yaml", stated)) == images
    assert as_stated("${CIL_DATA}/photos", Path("runs", "c.yaml")) == "${CIL_DATA}/photos"


def test_what_init_writes_can_be_moved_with_its_images(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for shade, name in enumerate(("cat", "dog")):
        for number in range(3):
            Image.new("RGB", (16, 16), (shade, number, 0)).save(here / "photos" / name / f"{number}.png")
    assert init.main(["photos", "--yes", "--no-gpu"]) == 0
    moved = here.rename(here.with_name("moved"))
    monkeypatch.chdir(moved.parent)
    assert found(load_space("moved/search_spaces/photos.yaml").base.data) == moved / "photos"
