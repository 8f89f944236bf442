"""Other projects' code beside ours: the same work, where ``$CIL_PEERS`` holds checkouts, and what is refused."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.optim.optimizer import register_optimizer_step_post_hook

from benchmarks import run as whole_run
from benchmarks import step
from benchmarks.peers.base import Peer
from benchmarks.peers.long_tailed_cil import LongTailedCil
from benchmarks.peers.options import PEERS, find
from benchmarks.peers.pycil import PyCil
from benchmarks.peers.released import ReleasedCode
from trainer.config.run_config import RunConfig
from trainer.data.tasks import build
from trainer.errors import ConfigError, exit_code
from trainer.training.loop import EpochReport
from trainer.training.observer import Observer
from trainer.training.options import DeviceOptions
from trainer.training.session import train

COLOURS = ((220, 30, 30), (30, 200, 30), (40, 60, 220), (220, 210, 40), (20, 20, 20), (230, 230, 230))
CHANCE_PCT = 100 * (1 / 3 + 1 / 6) / 2
SECOND = {"epochs": 2, "lr": 0.02, "scale_lr_factor": 0.1, "full_rate_epochs": 1, "images_per_visit": 4}
RANDOM_CROP = {"data": {"augment": "random_crop"}, "net": {"shortcut": "pad", "init": "fan_out_wide_head"}}
SYSTEMS: list[tuple[type[Peer], dict[str, Any], dict[str, Any]]] = [
    (ReleasedCode, {"name": "gradient_reweighting"}, {}),
    (LongTailedCil, {"name": "lucir"}, {}),
    (LongTailedCil, {"name": "lucir"}, {"stage2": SECOND}),
    (LongTailedCil, {"name": "eeil", "balanced_new": "random", "skip_last_task": True}, {}),
    (
        LongTailedCil,
        {"name": "eeil", "balanced_new": "random", "skip_last_task": True},
        {"stage2": {**SECOND, "epochs": 1}},
    ),
    (PyCil, {"name": "finetune"}, RANDOM_CROP),
    (PyCil, {"name": "icarl"}, RANDOM_CROP),
    (PyCil, {"name": "wa"}, RANDOM_CROP),
]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six classes, each of one colour with noise: 24 images of each to train on and 8 to test."""
    folder, noise = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for split, count in (("train", 24), ("test", 8)):
        for label, colour in enumerate(COLOURS):
            place = folder / split / f"class{label}"
            place.mkdir(parents=True)
            for number in range(count):
                pixels = np.clip(np.array(colour) + noise.normal(0, 25, (32, 32, 3)), 0, 255)
                Image.fromarray(pixels.astype(np.uint8)).save(place / f"{number:02}.png")
    return folder


@pytest.fixture
def configured(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., RunConfig]:
    monkeypatch.setenv("CIL_CACHE", str(tmp_path / "cache"))

    def make(method: dict[str, Any], **changes: Any) -> RunConfig:
        fields: dict[str, Any] = {
            "data": {"source": "image_folder", "path": str(pictures), "imbalance": {"ratio": 2}},
            "protocol": {"tasks": 2},
            "net": {"name": "resnet32"},
            "method": method,
            "memory": {"per_class": 4},
            "optim": {"epochs": 6, "lr": 0.02, "milestones": [4], "batch_size": 8},
        }
        merged = {k: {**fields.get(k, {}), **v} if isinstance(v, dict) else v for k, v in changes.items()}
        return RunConfig.model_validate({**fields, **merged})

    return make


def peer_of(root: Path, config: RunConfig) -> Peer:
    return find(root)(root, config, build(config.data, config.protocol), torch.device("cpu"), 0)


def pretended(kind: type[Peer], root: Path) -> Path:
    """A checkout of which nothing is there but the file that it is known by."""
    (root / kind.mark).parent.mkdir(parents=True)
    (root / kind.mark).touch()
    return root


# -- for real, where checkouts are ----------------------------------------------------------------------


@pytest.fixture
def checkout(request: pytest.FixtureRequest) -> Path:
    folder = Path(os.environ.get("CIL_PEERS") or "/nonexistent")
    for root in sorted(folder.iterdir()) if folder.is_dir() else ():
        if (root / request.param.mark).is_file():
            return root.resolve()
    pytest.skip(f"{request.param.repository} is not here: CIL_PEERS names no folder that holds a checkout of it")


class _Steps(Observer):
    count = 0

    def on_epoch(self, report: EpochReport) -> None:
        self.count += report.steps


@pytest.mark.parametrize(
    ("checkout", "method", "changes"),
    SYSTEMS,
    indirect=["checkout"],
    ids=[f"{kind.__name__}-{method['name']}{'-2stage' * ('stage2' in changes)}" for kind, method, changes in SYSTEMS],
)
def test_a_peer_does_the_same_work_and_learns(
    checkout: Path, method: dict[str, Any], changes: dict[str, Any], configured: Callable[..., RunConfig]
) -> None:
    config = configured(method, **changes)
    before = Path.cwd(), list(sys.path), set(os.listdir())
    peer = peer_of(checkout, config)
    steps = 0

    def count(*_: object) -> None:
        nonlocal steps
        steps += 1

    hook = register_optimizer_step_post_hook(count)
    peer.run()
    hook.remove()

    ours = _Steps()
    (result,) = train([config], DeviceOptions(device="cpu"), observer=ours)
    assert steps == ours.count
    assert peer.acc_pct > CHANCE_PCT + 10
    assert result.acc_task_mean_pct > CHANCE_PCT + 10
    assert len(peer.step_s) == config.optim.epochs
    assert peer.epochs_s > sum(peer.step_s)
    assert (Path.cwd(), sys.path, set(os.listdir())) == before
    assert not [m for m in sys.modules.values() if str(getattr(m, "__file__", None)).startswith(str(checkout))]


@pytest.mark.parametrize("checkout", [ReleasedCode], indirect=True)
@pytest.mark.parametrize("command", [whole_run, step])
def test_the_table_has_a_row_of_the_peer(
    checkout: Path, command: Any, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fields = [f"data.path={pictures}", "data.source=image_folder", "protocol.tasks=2", "optim.epochs=1"]
    fields += ["optim.milestones=[]", "data.imbalance.ratio=1", "optim.batch_size=16", "memory.per_class=4"]
    arguments = [word for field in fields for word in ("--set", field)]
    common = ["--device", "cpu", "--rounds", "1", "--peer", str(checkout), "--peer-workers", "0"]
    assert command.main([*common, *arguments]) == 0
    assert "| released code | " in capsys.readouterr().out


# -- what is refused, in one line -------------------------------------------------------------------------


def refusal(kind: type[Peer], root: Path, config: RunConfig) -> str:
    with pytest.raises(ConfigError) as error:
        peer_of(pretended(kind, root), config)
    return str(error.value)


def test_a_folder_that_is_no_checkout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--run", "runs/digits_lfs5.yaml", "--device", "cpu", "--peer", str(tmp_path)]
    for command in (whole_run, step):
        assert exit_code(lambda command=command: command.main(arguments)) == 2
        line = capsys.readouterr().err
        assert line.startswith(f"error: --peer: {tmp_path} is no checkout that is known by its files; allowed: ")
        assert all(peer.repository in line for peer in PEERS)
        assert line.count("\n") == 1


def test_each_is_told_by_its_file(tmp_path: Path) -> None:
    assert [find(pretended(kind, tmp_path / kind.__name__)) for kind in PEERS] == list(PEERS)


@pytest.mark.parametrize(
    ("kind", "allowed"),
    [(ReleasedCode, "gradient_reweighting"), (LongTailedCil, "eeil, lucir"), (PyCil, "finetune, icarl, wa")],
)
def test_a_method_that_it_does_not_train(
    kind: type[Peer], allowed: str, tmp_path: Path, configured: Callable[..., RunConfig]
) -> None:
    line = refusal(kind, tmp_path / "root", configured({"name": "podnet"}))
    assert line == f"method.name: {kind.title} does not train 'podnet' here; allowed: {allowed}"


@pytest.mark.parametrize(
    ("kind", "method", "changes", "line"),
    [
        (
            ReleasedCode,
            {"name": "gradient_reweighting", "lambda": 0.5},
            {},
            "method.lambda: released code has no 0.5; allowed: 0.7",
        ),
        (
            ReleasedCode,
            {"name": "gradient_reweighting"},
            {"net": {"name": "small"}},
            "net.name: released code has no 'small'; allowed: 'resnet32'",
        ),
        (
            LongTailedCil,
            {"name": "eeil"},
            {},
            "method.balanced_new: Long-Tailed CIL has no 'herded'; allowed: 'random'",
        ),
        (
            LongTailedCil,
            {"name": "eeil", "balanced_new": "random", "skip_last_task": True},
            {"stage2": SECOND},
            "stage2.epochs: Long-Tailed CIL has no 2; allowed: 1",
        ),
        (
            LongTailedCil,
            {"name": "lucir"},
            {"stage2": {**SECOND, "full_rate_epochs": 0}},
            "stage2.full_rate_epochs: Long-Tailed CIL has no 0; allowed: 1",
        ),
        (
            LongTailedCil,
            {"name": "lucir"},
            {"stage2": SECOND, "data": {"imbalance": {"ratio": 8, "max_per_class": 16}}},
            "data.imbalance: Long-Tailed CIL leaves out LUCIR's first stage in task 0, which has .* images of 3 classes"
            "; allowed: more than 10 images a class in every task",
        ),
        (
            PyCil,
            {"name": "wa"},
            {"net": {"init": "fan_out_wide_head"}},
            "net.shortcut: PyCIL has no 'conv'; allowed: 'pad'",
        ),
        (
            PyCil,
            {"name": "wa"},
            {**RANDOM_CROP, "memory": {"per_class": 20}},
            "memory.per_class: PyCIL wants 20 exemplars of every class, and the smallest has 12 images; "
            "allowed: 1 to 12, or a shorter tail",
        ),
    ],
)
def test_what_its_code_does_not_do(
    kind: type[Peer],
    method: dict[str, Any],
    changes: dict[str, Any],
    line: str,
    tmp_path: Path,
    configured: Callable[..., RunConfig],
) -> None:
    with pytest.raises(ConfigError, match=f"^{line}$"):
        peer_of(pretended(kind, tmp_path / "root"), configured(method, **changes))


@pytest.mark.parametrize(("kind", "method", "changes"), [SYSTEMS[0], SYSTEMS[-1]])
def test_a_module_that_is_missing_is_named(
    kind: type[Peer],
    method: dict[str, Any],
    changes: dict[str, Any],
    tmp_path: Path,
    configured: Callable[..., RunConfig],
) -> None:
    root, path = tmp_path / "root", list(sys.path)
    line = refusal(kind, root, configured(method, **changes))
    missing = "networks" if kind is ReleasedCode else "utils"
    assert line == f"--peer: {root}: {kind.title} imports {missing}, which is neither in it nor installed"
    assert sys.path == path
