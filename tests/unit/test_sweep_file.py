"""``space.yaml`` of a sweep's folder: damaged, it stops a launch and every reader in one line, and stays as it is."""

from collections.abc import Callable
from pathlib import Path

import pytest

from support.results import store_trials
from support.sweeps import space_file
from sweeper import launch
from sweeper.search.space_file import load_space
from sweeper.store.folder import Folder
from sweeper.store.store import Store
from sweeper.store.sweep_file import check_unchanged, read_space
from trainer.errors import StoreError, exit_code


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
    check_unchanged(space, folder, None, "")
    file = tmp_path / "s" / "space.yaml"
    file.write_bytes(damage(file.read_bytes()))
    damaged = file.read_bytes()
    for reader in (lambda: check_unchanged(space, folder, None, ""), lambda: read_space(folder)):
        with pytest.raises(StoreError, match=r"space\.yaml: missing or damaged; restore it from a backup") as raised:
            reader()
        assert "\n" not in str(raised.value)
    assert file.read_bytes() == damaged


def test_images_may_move_but_not_change(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = space_file(tmp_path)
    space, folder = load_space(file), Folder.at(tmp_path / "s")
    check_unchanged(space, folder, "/old", "fingerprint of other images")
    check_unchanged(space, folder, "/new", "fingerprint of other images")
    assert read_space(folder).base.data.path == "/new"
    store_trials(Store(tmp_path, "s"), range(1), tasks=1, classes=False)
    assert exit_code(lambda: launch.main([str(file), "--results", str(tmp_path)])) == 2
    line = capsys.readouterr().err
    assert line.startswith(f"error: {file}: data.path: the images are not those that sweep s started with")
    assert line.count("\n") == 1
