"""The models of a run: ``DIR/models/seed0.safetensors``, one for each seed that was trained to its end."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from trainer.command import words
from trainer.config.run_config import RunConfig
from trainer.data.augment import statistics
from trainer.data.tasks import TaskStream
from trainer.errors import nearest_path
from trainer.model.file import FORMAT, About, ModelError, write_model
from trainer.results.rows import RunResult
from trainer.stages.learner import TEACHER, select
from trainer.training import checkpoint

FOLDER = "models"
_SUFFIX = ".safetensors"


def keep(
    out: Path,
    slot: checkpoint.FileSlot,
    configs: Sequence[RunConfig],
    results: Sequence[RunResult],
    task_stream: TaskStream,
) -> list[Path]:
    """Write a file for each run that finished, from the checkpoint after its last task. Returns their paths.

    A model is all that evaluation uses: the network, what the method keeps, and the frozen networks but for the
    teacher. Raises CheckpointError, OSError.
    """
    content = slot.read()
    if content is None or all(result.status != "finished" for result in results):
        return []
    saved = checkpoint.from_bytes(content, slot)
    teacher = f"frozen/{TEACHER}/"
    used = {
        name: tensor
        for name, tensor in saved["tensors"].items()
        if name.startswith(("network/", "frozen/", "method_state/")) and not name.startswith(teacher)
    }
    written = []
    for member, position in enumerate(saved["positions"]):
        config, result = configs[position], results[position]
        if result.status == "finished":
            (out / FOLDER).mkdir(exist_ok=True)
            path = out / FOLDER / f"seed{config.seed}{_SUFFIX}"
            write_model(path, _about(config, result, task_stream), select(used, [member]))
            written.append(path)
    return written


def find(place: Path, seed: int | None = None) -> Path:
    """The file of a model, from itself or from the folder of its run. Raises ModelError."""
    if place.is_file():
        return place
    if not place.exists():
        raise ModelError(f"{place}: no such folder or file{nearest_path(place)}")
    found = {path.stem: path for path in sorted((place / FOLDER).glob(f"seed*{_SUFFIX}"))}
    if not found:
        command = shlex.join([*words("trainer.run"), "RUN.yaml", "--out", "DIR", "--keep-model"])
        raise ModelError(f"{place}: holds no model; a run keeps its own: {command} (with --resume if it has ended)")
    if seed is None and len(found) > 1:
        seeds = ", ".join(sorted((name.removeprefix("seed") for name in found), key=int))
        raise ModelError(f"{place}: holds models of seeds {seeds}: choose one with --seed")
    if seed is not None and f"seed{seed}" not in found:
        raise ModelError(f"{place}: no model of seed {seed}; it has {', '.join(found)}")
    return next(iter(found.values())) if seed is None else found[f"seed{seed}"]


def _about(config: RunConfig, result: RunResult, task_stream: TaskStream) -> About:
    _, channels, height, width = task_stream.train_pixels_NCHW.shape
    mean_C, std_C = statistics(config.data.normalise, channels)
    return About(
        format=FORMAT,
        run=config.as_dict(),
        class_names=list(task_stream.class_names_C),
        class_ids=list(task_stream.class_ids_C),
        height=height,
        width=width,
        channels=channels,
        mean=list(mean_C),
        std=list(std_C),
        precision=result.precision or "float32",
        data_fingerprint=task_stream.fingerprint,
        split=result.split,
        accuracy_pct=result.last_acc_class_weighted_pct,
        git_commit=result.git_commit,
        versions=result.versions or {},
    )
