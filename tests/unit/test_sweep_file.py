"""``space.yaml`` of a sweep's folder: damaged, it stops a launch and every reader in one line, and stays as it is."""

from collections.abc import Callable
from pathlib import Path

import pytest

from support.sweeps import space_file
from sweeper.search.space import load_space
from sweeper.store.folder import Folder
from sweeper.store.sweep_file import check_unchanged, read_space
from trainer.errors import StoreError


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: content[: content.index(b"last_launch")],
        lambda content: bytes(range(256)),
        lambda content: b"[1, 2]",
        lambda content: b"a: [1",
    ],
    ids=["empty", "half", "without its end", "binary", "a list", "not YAML"],
)
def test_a_damaged_file_is_one_line_and_is_not_overwritten(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    space, folder = load_space(space_file(tmp_path)), Folder.at(tmp_path / "s")
    check_unchanged(space, folder, None)
    file = tmp_path / "s" / "space.yaml"
    file.write_bytes(damage(file.read_bytes()))
    damaged = file.read_bytes()
    for reader in (lambda: check_unchanged(space, folder, None), lambda: read_space(folder)):
        with pytest.raises(StoreError, match=r"space\.yaml: cannot be read; restore it from a backup") as raised:
            reader()
        assert "\n" not in str(raised.value)
    assert file.read_bytes() == damaged
