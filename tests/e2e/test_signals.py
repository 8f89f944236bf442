"""Ctrl-C and SIGTERM in the first seconds of every command: one line, and nothing is left running."""

import io
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from support.results import store_trials
from support.sweeps import OWN, ROOT, space_file
from sweeper.search.space_file import load_space
from sweeper.store.status_file import Status
from sweeper.store.store import Store
from sweeper.store.sweep_file import check_unchanged

COMMANDS = ("launch", "query", "status", "report", "replay", "compact", "promote")
MARK = "CIL_TEST_STARTED_BY"


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path leaves room for the names of sockets."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


@contextmanager
def started(module: str, *arguments: str | Path, tmp: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command once it handles signals, and what its processes can be told by. Python itself is up before that."""
    mark, words = uuid.uuid4().hex, [sys.executable, "-m", module, *map(str, arguments)]
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"} | OWN
    environment |= {MARK: mark, "RAY_TMPDIR": str(tmp)}
    pipe = subprocess.PIPE
    process = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True)
    try:
        while not catches(process.pid, signal.SIGTERM):
            time.sleep(0.001)
        yield process, mark
    finally:
        process.kill()
        process.communicate()


def catches(pid: int, number: int) -> bool:
    caught = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def running(mark: str) -> list[str]:
    """The commands of the processes that carry the mark."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except (OSError, UnicodeDecodeError):
            continue
    return found


def ends_in_a_line(process: subprocess.Popen[str], number: signal.Signals) -> None:
    process.send_signal(number)
    output, errors = process.communicate(timeout=120)
    if errors.startswith("error: ") and process.returncode in (2, -number):
        return  # it was ending by itself
    assert process.returncode == 128 + number, (process.returncode, output + errors)
    assert (output + errors).count("stopped") == 1, output + errors
    assert "Traceback" not in errors
    assert errors in ("", "stopped\n")


@pytest.mark.slow
@pytest.mark.parametrize("name", [*COMMANDS, "run"])
def test_while_a_command_is_imported(tmp_path: Path, name: str, long: bool) -> None:
    arguments = {"run": ["runs/digits_lfs5.yaml"], "replay": ["s", "--pruning", "NopPruner"]}.get(name, ["s"])
    module = "trainer.run" if name == "run" else f"sweeper.{name}"
    numbers = cycle((signal.SIGINT, signal.SIGTERM))
    for delay_s, number in zip((0.0, 0.1, 0.2, 0.3, 0.5, 0.8) if long else (0.0, 0.3), numbers, strict=False):
        with started(module, *arguments, tmp=tmp_path) as (process, _):
            time.sleep(delay_s)
            if process.poll() is None:
                ends_in_a_line(process, number)


@pytest.mark.slow
def test_while_images_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, long: bool) -> None:
    monkeypatch.setenv("CIL_CACHE", str(tmp_path / "cache"))
    encoded = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)).save(encoded, "PNG")
    table = pa.table({"image": [encoded.getvalue()] * 4000, "label": [i % 4 for i in range(4000)]})
    for split in ("train", "test"):
        pq.write_table(table, tmp_path / f"{split}.parquet")
    file = tmp_path / "run.yaml"
    data = {"source": "parquet", "path": str(tmp_path), "crop": 32, "resize": 32}
    file.write_text(yaml.safe_dump({"method": {"name": "finetune"}, "data": data, "protocol": {"tasks": 2}}))
    for delay_s in (0.0, 0.3, 0.6, 1.0) if long else (0.3,):
        for number in (signal.SIGINT, signal.SIGTERM):
            with started("trainer.run", file, tmp=tmp_path) as (process, _):
                deadline = time.monotonic() + 60
                while not list((tmp_path / "cache").rglob("pixels.u8")) and time.monotonic() < deadline:
                    assert process.poll() is None, process.communicate()
                    time.sleep(0.01)
                time.sleep(delay_s)
                ends_in_a_line(process, number)
            shutil.rmtree(tmp_path / "cache")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["launch", "promote"])
def test_while_ray_starts(tmp_path: Path, short: Path, name: str, long: bool) -> None:
    file, results = space_file(tmp_path), tmp_path / "results"
    arguments: list[str | Path] = [file, "--results", results]
    if name == "promote":
        space = load_space(file)
        store_trials(Store(results, "s"), [0])
        Status(6, state="stopped", done=1).write(Store(results, "s").folder)
        check_unchanged(space, Store(results, "s").folder, None, "images")
        arguments[0] = "s"
    some = {"launch": (4.0,), "promote": (0.3,)}
    delays_s = (0.0, 0.3, 1.0, 2.0, 3.0, 3.5, 4.0, 4.5, 5.5) if long else some[name]
    for delay_s, number in zip(delays_s, cycle((signal.SIGINT, signal.SIGTERM)), strict=False):
        with started(f"sweeper.{name}", *arguments, tmp=short) as (process, mark):
            assert process.stdout is not None
            assert "starting Ray on this machine\n" in iter(process.stdout.readline, "")
            time.sleep(delay_s)
            ends_in_a_line(process, number)
        deadline = time.monotonic() + 10
        while running(mark) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert running(mark) == []
        assert list(short.iterdir()) == [], "Ray's files"
        assert not list(results.glob("*/lease.json"))
