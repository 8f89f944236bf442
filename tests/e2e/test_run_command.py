"""``python -m trainer.run`` as users run it: tables, Parquet, kills, recorded results, and a line for each mistake."""

import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from support.commands import ROOT, finish, start
from support.runs import FEW_IMAGES, tiny_run, without_times
from trainer.config.files import dump_run, load_run
from trainer.data.decode import cores
from trainer.errors import exit_code
from trainer.run import main
from trainer.training.checkpoint import FileSlot
from trainer.training.options import DeviceOptions
from trainer.training.session import train

COMMAND = "trainer.run"


def run_file(folder: Path, **changes: Any) -> Path:
    file = folder / "tiny.yaml"
    file.write_text(dump_run(tiny_run("distillation", **{"data": FEW_IMAGES, **changes})))
    return file


def stored(out: Path) -> list[dict[str, Any]]:
    """What ``--out`` holds, without times."""
    (file,) = (out / "runs").glob("*.parquet")
    found: list[dict[str, Any]] = without_times(pq.read_table(file).to_pylist())
    return found


@pytest.mark.slow
def test_a_run_is_shown_and_written(tmp_path: Path) -> None:
    file, out = run_file(tmp_path), tmp_path / "out"
    shown, errors = finish(start(COMMAND, file, "--seeds", "0,1", "--out", out, "--device", "cpu"))
    assert errors == ""
    expected = train(
        [tiny_run("distillation", data=FEW_IMAGES, seed=seed) for seed in (0, 1)], DeviceOptions(device="cpu")
    )
    first, *_ = shown.splitlines()
    assert first == "distillation on digits (ratio 4), 3 equal tasks (lfs), small, 2 epochs a task, seeds 0, 1"
    accuracies = [result.acc_task_mean_pct for result in expected]
    mean, spread = sum(accuracies) / 2, abs(accuracies[0] - accuracies[1]) / 2**0.5
    assert re.search(
        rf"^ACC \(mean over tasks\) +{mean:.2f} ± {spread:.2f} % +on validation, n = 2$", shown, re.MULTILINE
    )
    assert len(re.findall(r"^task \d/3: accuracy [\d.]+ %, ACC so far [\d.]+ %", shown, re.MULTILINE)) == 3
    assert len(re.findall(r"^.? *[123] .*\d+\.\d+ .*$", shown, re.MULTILINE)) >= 3, "the table has a row a task"
    for line in ("ACC (weighted by classes)", "after the last task", "forgetting", "by shot", f"results: {out}"):
        assert line in shown
    assert load_run(out / "run.yaml").config == load_run(file).config
    rows = stored(out)
    assert [row["acc_task_mean_pct"] for row in rows] == accuracies
    assert [[len(row[detail]) for detail in ("tasks", "epochs", "classes")] for row in rows] == [[3, 6, 4 + 7 + 10]] * 2


def wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_numbers(tmp_path: Path) -> None:
    # Long tasks, so that the kill finds it within one.
    file = run_file(tmp_path, optim={"epochs": 12, "lr": 0.05})
    arguments = (file, "--device", "cpu", "--checkpoint-every", "1")
    finish(start(COMMAND, *arguments, "--out", tmp_path / "whole"))
    out = tmp_path / "killed"
    process = start(COMMAND, *arguments, "--out", out)
    checkpoint = out / "checkpoint.pt"
    wait_for(lambda: checkpoint.exists() or process.poll() is not None)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (out / "runs").exists()
    _, errors = finish(start(COMMAND, *arguments, "--out", out), code=2)
    assert errors.startswith(f"error: {checkpoint}: already contains a run; pass --resume")
    finish(start(COMMAND, *arguments, "--out", out, "--resume"))
    # The commit aside: the code may change between two commands.
    (found,), (whole,) = stored(out), stored(tmp_path / "whole")
    assert found | {"git_commit": None} == whole | {"git_commit": None}
    assert not [path for path in out.iterdir() if path.name.startswith(".checkpoint.pt") and path.suffix == ".pt"]


def recording(folder: Path, **changes: Any) -> Path:
    """A promoted file that records what its run gives, but for ``changes`` in its provenance."""
    config = tiny_run("finetune", data=FEW_IMAGES)
    (found,) = train([config], DeviceOptions(device="cpu"))
    accuracy = found.acc_task_mean_pct
    provenance = {
        "metric": "acc_task_mean_pct",
        "by_seed_pct": {0: accuracy},
        "interval_pct": [accuracy - 1, accuracy + 1],
        "data_fingerprint": found.data_fingerprint,
        "torch_threads": torch.get_num_threads(),
    }
    file = folder / "promoted.yaml"
    file.write_text(dump_run(config, provenance | changes))
    return file


@pytest.mark.slow
def test_recorded_results_are_verified(tmp_path: Path) -> None:
    shown, _ = finish(start(COMMAND, recording(tmp_path), "--verify", "--device", "cpu"))
    assert shown.splitlines()[-1] == "verified: acc_task_mean_pct matches the recorded value for every seed"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"by_seed_pct": {0: 1.0}, "interval_pct": [0.5, 1.5]}, r"not verified: the means differ by [\d.]+, more than"),
        ({"by_seed_pct": {0: 50.0}, "interval_pct": [-50.0, 150.0]}, r"verified: the means differ by [\d.]+, within"),
        ({"data_fingerprint": "0123"}, r"not verified: the images differ \(fingerprint [0-9a-f]+, recorded 0123\)"),
    ],
)
def test_recorded_results_that_differ(
    tmp_path: Path, changes: Any, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main([str(recording(tmp_path, **changes)), "--verify", "--device", "cpu"])
    assert re.match(line, capsys.readouterr().out.splitlines()[-1])
    assert code == (0 if line.startswith("verified") else 1)


@pytest.fixture
def threads() -> Iterator[None]:
    """The number of threads is the process's: put back what it was."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_a_file_promoted_on_a_cpu_is_run_in_its_precision(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = recording(tmp_path, device="cpu", precision="bfloat16")
    assert main([str(file), "--device", "cpu"]) == 0
    assert re.search(r"^computed on +cpu, bfloat16, ", capsys.readouterr().out, re.MULTILINE)
    main([str(file), "--device", "cpu", "--verify", "--precision", "float32"])
    assert "warning: recorded in bfloat16, measured in float32" in capsys.readouterr().out


@pytest.mark.usefixtures("threads")
def test_more_threads_than_cores_are_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    many = str(cores() + 1)
    assert main([str(recording(tmp_path)), "--threads", many]) == 0
    assert f"warning: {many} threads on " in capsys.readouterr().out
    assert main([str(recording(tmp_path)), "--threads", "1"]) == 0
    assert "warning" not in capsys.readouterr().out


@pytest.mark.usefixtures("threads")
def test_the_number_of_threads_is_said_and_stored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = recording(tmp_path, torch_threads=2), tmp_path / "out"
    assert main([str(file), "--device", "cpu", "--out", str(out)]) == 0
    assert re.search(r"^computed on +cpu, float32, 2 threads", capsys.readouterr().out, re.MULTILINE)
    assert [row["torch_threads"] for row in stored(out)] == [2], "as the file records, unless --threads says otherwise"
    main([str(file), "--device", "cpu", "--verify", "--threads", "1"])
    shown = capsys.readouterr().out
    assert "\nwarning: recorded with 2 CPU threads, measured with 1 CPU thread: " in shown
    assert re.search(r"^computed on +cpu, float32, 1 thread ", shown, re.MULTILINE)


# -- mistakes --------------------------------------------------------------------------------------------


def refusal(arguments: list[str | Path], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of a command that is refused before anything starts."""
    assert exit_code(lambda: main([*map(str, arguments), "--device", "cpu"])) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.endswith("\n")
    assert captured.err.count("\n") == 1
    return captured.err.removeprefix("error: ").rstrip("\n")


FILE = str(ROOT / "runs" / "digits_lfs5.yaml")


@pytest.mark.parametrize(
    ("sets", "line"),
    [
        (
            ["method.alhpa=1"],
            r"{file}: method\.alhpa: no such field of gradient_reweighting; allowed: .*; did you mean 'alpha'\?",
        ),
        (["optmi.lr=1"], r"{file}: optmi: no such field; allowed: .*; did you mean 'optim'\?"),
        (["optim.epochs=ten"], r"{file}: optim\.epochs: 'ten' is not allowed; allowed: a whole number"),
        (["optim.epochs=1.5"], r"{file}: optim\.epochs: 1\.5 is not allowed; allowed: a whole number"),
        (["seed=true"], r"{file}: seed: True is not allowed; allowed: a whole number"),
        (["method.alpha=-1"], r"{file}: method\.alpha: -1 is not allowed; allowed: greater than or equal to 0"),
        (["optim.lr=.inf"], r"{file}: optim\.lr: inf is not allowed; allowed: a finite number"),
        (
            ["optim.lr=1e-3"],
            r"{file}: optim\.lr: '1e-3' is text, not a number \(YAML reads 1e-3 as text",
        ),
        (
            ["memory.selection=hreding"],
            r"{file}: memory\.selection: 'hreding' is not one of .*; did you mean 'herding'\?",
        ),
        (["method.name=gradient_reweigthing"], r"{file}: method\.name: no such method: .*'gradient_reweighting'\?"),
        (["protocol.tasks=11"], r"protocol\.tasks: more tasks \(11\) than 10 classes make; allowed: 1 to 10"),
        (["data.crop=9"], r"data\.crop: 9 pixels are more than the images have \(8x8\)"),
        (["optim.lr"], r"--set: 'optim\.lr' is not of the form FIELD=VALUE"),
        (["optim.lr=[1"], r"--set optim\.lr: '\[1' is not a YAML value"),
        (["seed=2020-13-45"], r"--set seed: '2020-13-45' is not a YAML value"),
        (["seed.x=1"], r"(.*: )?seed\.x: 'seed' holds no fields"),
    ],
)
def test_fields(sets: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = refusal([FILE, *(word for item in sets for word in ("--set", item))], capsys)
    assert re.match(line.replace("{file}", re.escape(FILE)), found), found


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("seed: 1\nmethod: {name: finetune}\nseed: 2\n", "line 3: key given twice: 'seed'"),
        ("optim: {lr: 1.0\n", "line 2: not valid YAML: "),
        ("", "must hold fields by name"),
        ("- 1\n", "must hold fields by name"),
        ("seed: 1\n", "method: is missing"),
        ("method: {}\n", "method.name: is missing; allowed: ada_prior, balanced_softmax"),
    ],
)
def test_files(tmp_path: Path, text: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(text)
    assert refusal([file], capsys).startswith(f"{file}: {line}")


def test_a_missing_file_and_its_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    missing = ROOT / "runs" / "digits_lsf5.yaml"
    assert refusal([missing], capsys) == f"{missing}: no such file; did you mean 'digits_lfs5.yaml'?"


@pytest.mark.slow
def test_the_real_command_says_it_in_one_line(tmp_path: Path) -> None:
    processes = {
        "method.alhpa: no such field": start(COMMAND, FILE, "--set", "method.alhpa=1"),
        "no such file": start(COMMAND, tmp_path / "none.yaml"),
        "more tasks (11) than 10 classes": start(COMMAND, FILE, "--set", "protocol.tasks=11"),
    }
    for line, process in processes.items():
        output, errors = finish(process, code=2)
        assert line in errors
        assert (errors.count("\n"), errors[:7]) == (1, "error: ")
        assert "Traceback" not in output + errors


@pytest.mark.parametrize("contents", ["nothing", "no images", "a class without images"])
def test_folders_without_images(tmp_path: Path, contents: str, capsys: pytest.CaptureFixture[str]) -> None:
    if contents != "nothing":
        for split in ("train", "test"):
            for label in ("cat", "dog"):
                (tmp_path / split / label).mkdir(parents=True)
                if contents == "a class without images" and (split, label) != ("test", "dog"):
                    for shade in range(3):
                        image = Image.fromarray(np.full((8, 8), 50 * shade, np.uint8))
                        image.save(tmp_path / split / label / f"{shade}.png")
    data = ["data.source=image_folder", f"data.path={tmp_path}", "protocol.tasks=2", "data.crop=8"]
    found = refusal([FILE, *(word for item in data for word in ("--set", item))], capsys)
    assert str(tmp_path) in found
    if contents == "a class without images":
        assert "dog" in found


def test_more_places_than_images_keep_them_all(tmp_path: Path) -> None:
    out = tmp_path / "out"
    file = run_file(tmp_path, memory={"per_class": 1000})
    assert main([str(file), "--device", "cpu", "--out", str(out)]) == 0
    tasks = stored(out)[0]["tasks"]
    assert tasks[-1]["images_memory"] == tasks[0]["images_new"] + tasks[1]["images_new"]


def test_places_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/here")):
        assert refusal([FILE, "--out", out], capsys).startswith(f"--out {out}: cannot be written: ")


@pytest.mark.parametrize("resume", [False, True])
def test_a_sweep_s_folder_is_no_place_for_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], resume: bool
) -> None:
    stored = tmp_path / "s" / "runs" / "000000.parquet"
    stored.parent.mkdir(parents=True)
    stored.write_bytes(b"results")
    given = [FILE, "--out", stored.parent.parent, *(["--resume"] if resume else [])]
    assert "contains results of a sweep or of another run" in refusal(given, capsys)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [stored]
    assert stored.read_bytes() == b"results"


def test_a_folder_keeps_the_run_it_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    file = run_file(tmp_path)
    assert main([str(file), "--device", "cpu", "--out", str(out)]) == 0
    capsys.readouterr()
    kept = (out / "run.yaml").read_text(), FileSlot(out / "checkpoint.pt").read()
    assert "already contains a run" in refusal([file, "--out", out, "--set", "seed=5"], capsys)
    assert re.search("holds runs [0-9a-f]+, not", refusal([file, "--out", out, "--resume", "--set", "seed=5"], capsys))
    assert ((out / "run.yaml").read_text(), FileSlot(out / "checkpoint.pt").read()) == kept


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04" + b"\0" * 100])
def test_a_damaged_checkpoint_is_named_and_set_aside(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "checkpoint.pt").write_bytes(content)
    small = ["--set", "optim.epochs=1", "--set", "optim.milestones=[]", "--set", "protocol.tasks=2"]
    assert main([str(FILE), "--out", str(out), "--resume", *small]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(rf"warning: {out}/checkpoint\.pt: not a readable checkpoint", line)
    assert (out / "checkpoint.pt.unreadable").read_bytes() == content


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--resume"], "--resume: needs --out"),
        (["--verify"], ": provenance: missing; only promoted run files record results that can be verified"),
        (["--device", "gpu"], "--device: no such device: 'gpu'; allowed: auto, cpu, cuda, cuda:N"),
    ],
)
def test_options(arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(lambda: main([FILE, *arguments])) == 2
    assert line in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--seeds", "0,0"],
        ["--seeds", "-1"],
        ["--seeds", "a"],
        ["--seeds", "99999999999"],
        ["--checkpoint-every", "-1"],
        ["--threads", "0"],
    ],
)
def test_options_out_of_range(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main([FILE, *arguments])
    assert refused.value.code == 2
    assert f"argument {arguments[0]}" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"metric": "acc"}, "provenance.metric: 'acc' is not one of the choices; allowed: acc_task_mean_pct"),
        ({"by_seed_pct": 3}, "provenance.by_seed_pct: 3 is not allowed"),
        ({"by_seed_pct": {}}, "provenance.by_seed_pct: {} is not allowed"),
        ({"interval_pct": [1]}, "provenance.interval_pct.1: is missing"),
        ({"torch_threads": 0}, "provenance.torch_threads: 0 is not allowed"),
    ],
)
def test_provenance_that_promotion_does_not_write(
    tmp_path: Path, changes: dict[str, Any], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert line in refusal([recording(tmp_path, **changes), "--verify"], capsys)
