"""The small files of a sweep's folder, damaged: one line says what can be done, or they are made again."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from support.results import result
from support.sweeps import space_file
from sweeper import compact, launch, promote, query, report, status
from sweeper.execution.packing import Packing, note, noted
from sweeper.search.space import Resources
from sweeper.search.space_file import load_space
from sweeper.search.study import Study
from sweeper.store.folder import Folder
from sweeper.store.lease import Lease
from sweeper.store.store import Store
from trainer.errors import exit_code

FILES = ("space.yaml", "status.json", "packing.json", "suggested.json", "lease.json")
SOUND = {
    "packing.json": {"resources": {"cpu": 1, "gpu": 0, "pack": "auto"}, "packing": {"pack": 2}},
    "suggested.json": {"2": {"method.alpha": 0.5, "method.lambda": 0.5}},
    "lease.json": {"token": "t", "host": "h", "machine": "m", "pid": 1, "since": 1.0, "heartbeat": 1.0},
}
DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "binary": lambda content: b"\x00\xff\xfe" + content[::-1],
    "not text": lambda content: "ü".encode("latin-1") + content,
    "a list": lambda content: b"[1, 2]",
    "a word": lambda content: b"word",
    "other fields": lambda content: b'{"a": {"b": 1}}',
    "numbers for fields": lambda content: b'{"1": 2, "last_launch": 3, "objective": 4}',
    "wrong types": lambda content: content.replace(b"1", b"[x]").replace(b'"', b"'"),
    "huge numbers": lambda content: re.sub(rb"\d+(\.\d+)?", b"1e999", content),
    "huge times": lambda content: re.sub(rb'(_s": )[^,\n]+', rb"\g<1>1e999", content.replace(b"finished", b"running")),
    "a date that is none": lambda content: b"base: 2020-13-45\n",
    "nested": lambda content: b"[" * 5000,
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of two finished configurations, whose rows nobody trained, and its search-space file."""
    folder = tmp_path_factory.mktemp("sound")
    space = load_space(space_file(folder, trials=2))
    store, study = Store(folder, space.name), Study(space)
    for trial in range(2):
        suggestion = study.ask()
        assert suggestion is not None
        store.finish_trial(trial, [result(trial, 0, 50.0)], attempt="a", params=suggestion.params)
    assert command(launch.main, str(folder / "s.yaml"), "--results", str(folder)) == 0
    return folder


def command(main: Callable[[list[str]], int], *arguments: str) -> int:
    return exit_code(lambda: main([*arguments]))


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_file_is_one_line_or_made_again(
    sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str, damage: str
) -> None:
    results = shutil.copytree(sound, tmp_path, dirs_exist_ok=True)
    where = results / "s" / file
    whole = where.read_bytes() if where.exists() else json.dumps(SOUND[file]).encode()
    damaged = DAMAGE[damage](whole)
    commands: dict[str, tuple[Callable[[list[str]], int], list[str]]] = {
        "status": (status.main, []),
        "status s": (status.main, ["s"]),
        "query": (query.main, ["SELECT trial, acc_task_mean_pct FROM runs", "--format", "csv"]),
        "report": (report.main, ["s", "--out", str(tmp_path / "out")]),
        "promote": (promote.main, ["s"]),
        "launch": (launch.main, [str(results / "s.yaml")]),
        "compact": (compact.main, ["s"]),
    }
    if file != "space.yaml":
        del commands["promote"], commands["report"]  # they read no other; a promotion would start a cluster
    for name, (main, arguments) in commands.items():
        if damaged == whole or (file == "lease.json" and name in ("launch", "compact")):
            continue  # not damaged, or watched for half a minute: tests/unit/test_store_killed.py
        where.write_bytes(damaged)
        code = command(main, *arguments, "--results", str(results))
        printed, errors = capsys.readouterr()
        assert code in (0, 2), name
        assert errors.count("\n") <= 1, name
        assert len(errors) < 500, name
        if name == "query":
            assert printed.split() == ["trial,acc_task_mean_pct", "0,50.0", "1,50.0"]
        if file == "space.yaml" and name in ("report", "promote", "launch"):
            assert code == 2
            assert str(where) in errors or "search space changed" in errors
            assert (
                "restore it from a backup, or launch under a new --name" in errors or "search space changed" in errors
            )
        elif name in ("report", "launch", "compact"):
            assert code == 0, errors


def test_what_killed_processes_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    store = Store(tmp_path, "s")
    store.finish_trial(0, [result(0, 0)], attempt="a", pack="ended")
    hidden = [".lock", ".lease.json.lock", "runs/.keep", "base/.a.pt"]
    kept = ["base/a.pt", "checkpoints/open/000001-a.pt", "failed/trial-000000.yaml", *hidden]
    left = [
        ".status.json.0123abcd",
        "runs/.000001.parquet.0123abcd",
        "promotions/.000000.parquet.0123abcd",
        "failed/.trial-000000.yaml.0123abcd",
        "base/.a.pt.0123abcd",
        "checkpoints/open/.000001-a.pt.0123abcd",
        "checkpoints/ended/000002-b.pt",
        "checkpoints/ended/.000002-b.pt.0123abcd",
    ]
    for name in (*kept, *left):
        file = tmp_path / "s" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")
    with Lease.acquire(store.folder) as store.lease:
        store.tidy()
    found = {str(file.relative_to(tmp_path / "s")) for file in (tmp_path / "s").rglob("*") if file.is_file()}
    assert found == {*kept, "runs/000000.parquet"}


def test_only_what_was_left_of_the_run_file_itself_is_swept(tmp_path: Path) -> None:
    for name in (".a.yaml.0123abcd", ".b.yaml.0123abcd", "a.yaml"):
        (tmp_path / name).write_bytes(b"")
    Folder.at(tmp_path).delete_unfinished(of="a.yaml")
    assert {file.name for file in tmp_path.iterdir()} == {".b.yaml.0123abcd", "a.yaml"}


@pytest.mark.parametrize(
    "packing",
    [{"pack": 0}, {"pack": -1}, {"pack": 2, "members": 2, "alone_s": 1, "step_s": 0}, {"pack": 2, "step_s": -1}],
)
def test_an_impossible_packing_is_measured_again(tmp_path: Path, packing: dict[str, int]) -> None:
    folder, resources = Folder.at(tmp_path), Resources()
    note(folder, resources, Packing(2, 4, 1.0, 0.5))
    assert noted(folder, resources) == Packing(2, 4, 1.0, 0.5)
    folder.write("packing.json", json.dumps({"resources": resources.model_dump(), "packing": packing}).encode())
    assert noted(folder, resources) is None
