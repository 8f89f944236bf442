"""The small files of a sweep: a changed bit anywhere changes no value, or the file is named."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from support.sweeps import space_file
from sweeper.execution.packing import Packing, note, noted
from sweeper.search.space import Resources
from sweeper.search.space_file import load_space
from sweeper.store.damage import Damage
from sweeper.store.folder import Folder
from sweeper.store.status_file import Best, Running, Status
from sweeper.store.stopped_file import read_stopped, write_stopped
from sweeper.store.store import Store
from sweeper.store.sweep_file import check_unchanged, read_space
from trainer.errors import StoreError


class Small(NamedTuple):
    write: Callable[[Folder, Path], object]
    read: Callable[[Folder, Callable[[str], None]], Any]
    without: Any
    """what a damaged one is read as"""


def space(folder: Folder, report: Callable[[str], None]) -> Any:
    try:
        return read_space(folder).identity()
    except StoreError as error:
        report(str(error))
        return None


STATUS = Status(8, done=2, running=[Running(3, {"x": 0.5}, 1, 4, 80.0)], best=Best(1, 90.0, {"x": 1}), eta_s=3.0)
SMALL = {
    "space.yaml": Small(
        lambda f, where: check_unchanged(load_space(space_file(where)), f, "/data", "images"), space, None
    ),
    "status.json": Small(lambda f, where: STATUS.write(f), lambda f, report: Status.read(f, Damage(report)), None),
    "suggested.json": Small(
        lambda f, where: Store(f.parent, "s").suggest({3: {"method.alpha": 0.125}}),
        lambda f, report: Store(f.parent, "s", report).suggested(),
        {},
    ),
    "stopped.json": Small(
        lambda f, where: write_stopped(f, {3}), lambda f, report: read_stopped(f, Damage(report)), set()
    ),
    "packing.json": Small(
        lambda f, where: note(f, Resources(), Packing(2, 4, 0.5, 1.0)),
        lambda f, report: noted(f, Resources()) or report("packing.json"),  # measured again without a word
        None,
    ),
}


@pytest.mark.parametrize("name", SMALL)
def test_a_changed_bit_is_noticed(tmp_path: Path, name: str) -> None:
    folder, small = Folder.at(tmp_path / "results" / "s"), SMALL[name]
    small.write(folder, tmp_path)
    named: list[str] = []
    expected = small.read(folder, named.append)
    assert expected != small.without
    assert named == []
    file = tmp_path / "results" / "s" / name
    whole = file.read_bytes()
    for at in range(0, len(whole), 1 + len(whole) // 100):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        named.clear()
        found = small.read(folder, named.append)
        assert found == expected or (found == small.without and [name in line for line in named] == [True])


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"{}", b'{"crc32": 1}', b"\xff\x00", b"[" * 100_000])
def test_what_is_no_such_file_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    folder, named = Folder.at(tmp_path / "results" / "s"), list[str]()
    folder.write(name, content)
    assert SMALL[name].read(folder, named.append) == SMALL[name].without
    assert [name in line for line in named] == [True]


@pytest.mark.parametrize("name", SMALL)
def test_a_folder_in_its_place_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "results" / "s" / name).mkdir(parents=True)
    named: list[str] = []
    assert SMALL[name].read(Folder.at(tmp_path / "results" / "s"), named.append) == SMALL[name].without
    assert [name in line for line in named] == [True]
