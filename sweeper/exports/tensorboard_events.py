"""A sweep as TensorBoard's event files: HParams, and every metric by task."""

from pathlib import Path
from typing import Any

from sweeper.exports.source import Source
from sweeper.exports.trials import Trial, as_text
from trainer.errors import UserError, os_reason
from trainer.words import format_count


def write(source: Source, place: str) -> str:
    """Write ``PLACE/SWEEP/trial_000017/``, a run of TensorBoard a trial, in place of what an export wrote before.

    Raises UserError for a folder that cannot be written.
    """
    folder = Path(place) / source.name
    try:
        for trial in source.trials:
            _write(trial, folder / f"trial_{trial.number:06}")
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {os_reason(error)}") from None
    return f"tensorboard: {folder}: {format_count(len(source.trials), 'trial')}"


def _write(trial: Trial, folder: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  (needs the extra)
    from torch.utils.tensorboard.summary import hparams  # noqa: PLC0415

    for old in folder.glob("events.out.tfevents.*"):
        old.unlink()
    time = trial.finished_at.timestamp() if trial.finished_at else None
    final = dict(trial.metrics)
    if trial.value is not None:
        final["objective"] = trial.value
    writer: Any = SummaryWriter(str(folder))
    try:
        for summary in hparams({**_params(trial), "status": trial.status}, dict.fromkeys(final, 0.0)):
            writer.file_writer.add_summary(summary, walltime=time)
        for name, value in final.items():
            writer.add_scalar(name, value, 0, walltime=time)
        for task, value in trial.objective_by_task.items():
            writer.add_scalar("by_task/objective", value, task, walltime=time)
        for name, by_task in trial.metrics_by_task.items():
            for task, value in by_task.items():
                writer.add_scalar(f"by_task/{name}", value, task, walltime=time)
    finally:
        writer.close()


def _params(trial: Trial) -> dict[str, Any]:
    return {
        name: value if isinstance(value, str | bool | int | float) else as_text(value)
        for name, value in trial.params.items()
    }
