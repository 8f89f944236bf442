"""The measurements for a GPU, on a CPU and at tiny size: they run where little is installed, and keep to their time."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.gpu import images, ways
from benchmarks.gpu.__main__ import PARTS, main
from benchmarks.gpu.findings import Findings
from benchmarks.gpu.steps import real_step, together
from benchmarks.step import main as step_main
from support.fake_gpu import FakeGpu
from support.runs import tiny_run
from trainer.data.tasks import build
from trainer.errors import exit_code
from trainer.training.options import DeviceOptions

ROOT = Path(__file__).parents[2]
ABSENT = ("ray", "optuna", "duckdb", "rich", "scipy", "sklearn", "matplotlib", "pandas", "torchvision", "safetensors")
"""packages that a machine with a GPU need not have, beside all others that are not named in the command's help"""
TINY = {
    "data.crop": 8,
    "data.pad": 1,
    "net.name": "small",
    "protocol.tasks": 2,
    "memory.per_class": 2,
    "optim.batch_size": 16,
    "optim.epochs": 1,
    "optim.milestones": [],
}
SETS = [word for field, value in TINY.items() for word in ("--set", f"{field}={value}")]


def written(folder: Path) -> dict[str, Any]:
    return {file.stem: json.loads(file.read_text()) for file in folder.glob("*.json")}


@pytest.mark.slow
def test_every_part_runs_with_few_packages(tmp_path: Path) -> None:
    code = f"import sys, runpy\nfor name in {ABSENT}: sys.modules[name] = None\n"
    code += "runpy.run_module('benchmarks.gpu', run_name='__main__', alter_sys=True)"
    arguments = ["--device", "cpu", "--minutes", "60", "--out", str(tmp_path), "--members", "1,2", "--rounds", "1"]
    arguments += ["--methods", "bic"]
    command = [sys.executable, "-c", code, *arguments, *SETS]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    found = written(tmp_path)
    assert set(found) == set(PARTS)
    for name, content in found.items():
        assert not content["errors"], content["errors"]
        assert not content["failed"]
        assert not content["left_out"]
        assert (name == "pack_float32") == (not content["rows"])  # a CPU trains in float32 anyway
        assert content["device"] == "cpu"
        assert content["versions"]["torch"] == torch.__version__
        assert content["commit"]
        assert content["images"].startswith("made-up images")
    assert {row["way"] for row in found["members"]["rows"]} == set(ways.WAYS)
    summary = (tmp_path / "summary.md").read_text()
    assert all(part.title in summary for part in PARTS.values())
    assert "On a CPU there are no CUDA graphs" in summary


def test_what_does_not_fit_is_not_begun(tmp_path: Path) -> None:
    arguments = ["--device", "cpu", "--minutes", "0", "--out", str(tmp_path), "--run", "runs/digits_lfs5.yaml"]
    assert main(arguments) == 0
    for content in written(tmp_path).values():
        assert not content["rows"]
        assert not content["errors"]
    assert "Not begun." in (tmp_path / "summary.md").read_text()


def test_a_part_that_fails_is_written_down_and_the_next_one_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(kit: object, found: Findings) -> None:
        found.add(["a result"])
        raise RuntimeError("no kernel image")

    monkeypatch.setitem(PARTS, "correctness", PARTS["correctness"]._replace(measure=broken))
    arguments = ["--device", "cpu", "--minutes", "0.2", "--out", str(tmp_path), "--run", "runs/digits_lfs5.yaml"]
    assert main([*arguments, "--parts", "correctness,pack"]) == 1
    found = written(tmp_path)
    assert found["correctness"]["rows"] == [{"shown": ["a result"]}]
    assert found["correctness"]["errors"][0].endswith("no kernel image")
    assert found["pack"]["left_out"]


def test_a_folder_with_a_damaged_file_is_measured_into_and_a_file_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--device", "cpu", "--minutes", "0", "--run", "runs/digits_lfs5.yaml", "--parts", "pack", "--out"]
    (tmp_path / "graphs.json").write_text("{")
    assert main([*arguments, str(tmp_path)]) == 0
    assert "graphs.json is damaged" in (tmp_path / "summary.md").read_text()
    assert exit_code(lambda: main([*arguments, str(tmp_path / "graphs.json")])) == 2
    assert capsys.readouterr().err == f"error: --out: {tmp_path / 'graphs.json'}: File exists\n"


@pytest.mark.parametrize("way", ways.WAYS)
def test_every_way_computes_the_same(way: str) -> None:
    config = tiny_run("distillation")
    task_stream = build(config.data, config.protocol)
    options = DeviceOptions(device="cpu", precision="float64")
    with ways.WAYS[ways.GROUPED]():
        expected, _ = real_step(together(config, 2), options, task_stream)()
    with ways.WAYS[way]():
        found, _ = real_step(together(config, 2), options, task_stream)()
    for name, loss_M in expected.items():
        torch.testing.assert_close(found[name], loss_M, rtol=1e-7, atol=0)


def test_a_written_file_holds_the_images_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIL_CACHE", str(tmp_path / "cache"))
    config = tiny_run("finetune")
    expected, file = build(config.data, config.protocol), tmp_path / "images.parquet"
    assert images.write(config, file) == len(expected.train_labels_N) + len(expected.eval_labels_N)
    found = images.chosen(config, file)
    for name in ("train_pixels_NCHW", "train_labels_N", "eval_pixels_NCHW", "eval_labels_N", "counts_C"):
        assert torch.equal(getattr(found.task_stream, name), getattr(expected, name)), name
    assert found.task_stream.class_names_C == expected.class_names_C


def test_a_part_that_there_is_not(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert exit_code(lambda: main(["--parts", "graph", "--out", str(tmp_path), "--run", "runs/digits_lfs5.yaml"])) == 2
    assert "did you mean 'graphs'?" in capsys.readouterr().err


def test_the_operations_of_a_step_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    fields = ["optim.epochs=1", "optim.milestones=[]", "protocol.tasks=2", "data.imbalance.ratio=2"]
    fields += ["data.imbalance.max_per_class=10", "data.evaluation.split=validation", "data.evaluation.per_class=2"]
    sets = [word for field in fields for word in ("--set", field)]
    assert step_main(["--run", "runs/digits_lfs5.yaml", "--device", "cpu", "--rounds", "1", *sets]) == 0
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if "cross-entropy |" in line]
    assert int(rows[0][3]) > 100


@pytest.mark.slow
def test_what_is_measured_on_a_gpu_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On tensors that say ``cuda``: waits are counted, float32 is compared with bfloat16, memory is read."""
    for name, value in {"synchronize": None, "set_sync_debug_mode": None, "max_memory_allocated": 1 << 20}.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)
    fields = ["protocol.tasks=2", "optim.epochs=1", "optim.milestones=[]", "data.imbalance.ratio=2"]
    fields += ["data.imbalance.max_per_class=10", "optim.batch_size=16"]
    sets = [word for field in fields for word in ("--set", field)]
    arguments = ["--device", "cuda", "--minutes", "60", "--out", str(tmp_path), "--run", "runs/digits_lfs5.yaml"]
    with FakeGpu():
        parts = "correctness,run,pack,pack_float32"
        assert main([*arguments, "--parts", parts, "--members", "2", "--rounds", "1", *sets]) == 0
    found = written(tmp_path)
    assert {row["precision"] for part in ("run", "pack") for row in found[part]["rows"]} == {"bfloat16"}
    assert [row["precision"] for row in found["pack_float32"]["rows"]] == ["float32"]
    assert "paired by seed" in found["pack_float32"]["notes"][0]
    assert [row["waits"] for row in found["correctness"]["rows"]] == [{}, {}, {}]
