"""What ``python -m trainer.run`` does, from its run file to its last line."""

import argparse
import itertools
import shlex
import sys
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column, Table

from trainer.command import words
from trainer.config.files import RunFile, dump_run, load_run
from trainer.config.run_config import RunConfig
from trainer.data.decode import cores
from trainer.data.tasks import build
from trainer.data.world import World
from trainer.errors import CheckpointError, ConfigError, UserError, os_reason
from trainer.files import atomic_write
from trainer.limits import MOST_THREADS, PRECISIONS
from trainer.model.folder import keep
from trainer.results.folder import write_results
from trainer.results.rows import Row, RunResult
from trainer.results.spread import mean_std_over_seeds
from trainer.results.verify import RecordedResult, compare
from trainer.training.checkpoint import FileSlot
from trainer.training.loop import EpochReport
from trainer.training.observer import Observer, TaskReport
from trainer.training.options import DeviceOptions
from trainer.training.session import train
from trainer.words import WARNING, format_count

_WIDE = 80
"""characters of a terminal from which on tables are framed"""


def run(arguments: argparse.Namespace) -> int:
    """Train the run file that the arguments name. Returns the exit code. Raises UserError."""
    file = load_run(arguments.file, arguments.set)
    options = DeviceOptions(
        device=arguments.device,
        precision=arguments.precision,
        compile=arguments.compile,
        deterministic=arguments.deterministic,
        checkpoint_every_epochs=arguments.checkpoint_every,
    )
    if options.resolve_device().type == "cpu" and options.precision == "auto":
        options = replace(options, precision=_recorded_precision(file))
    recorded = RecordedResult.of(file, arguments.file) if arguments.verify else None
    configs = _repetitions(file.config, arguments, recorded)
    worlds = len({str(config.world) for config in configs})
    threads = arguments.threads or _recorded_threads(file)
    if threads is not None:
        if threads > cores():
            each = format_count(cores(), "core")
            print(
                f"{WARNING}{threads} threads on {each}: they wait for each other, and training takes longer", flush=True
            )
        torch.set_num_threads(threads)
    slot = _prepare(Path(arguments.out), configs, arguments.resume) if arguments.out else None
    if arguments.resume and slot is None:
        raise ConfigError("needs --out, the folder of the run to continue", field="--resume")
    if arguments.keep_model and slot is None:
        raise ConfigError("needs --out, the folder to write the model to", field="--keep-model")

    if arguments.keep_model and worlds > 1:
        raise ConfigError("keeps the models of one world; train them one by one", field="--keep-model")

    print(_headline(configs), flush=True)
    task_stream = build(configs[0].data, configs[0].protocol)
    for line in task_stream.said:
        print(line, flush=True)
    terminal = Console()
    progress = _Progress(terminal, configs[0])
    with progress.bar:
        given = task_stream if worlds == 1 else None
        results = train(configs, options, checkpoint=slot, observer=progress, task_stream=given)
    show(results, terminal)
    print(f"computed on                 {_machine(results[0])}")
    if arguments.out:
        write_results(Path(arguments.out), results)
        query = shlex.join([*words("sweeper.query"), "--results", arguments.out])
        print(f"results: {arguments.out}  ({query})")
    if arguments.keep_model and slot is not None:
        for path in keep(Path(arguments.out), slot, configs, results, task_stream):
            print(f"model: {path}  ({shlex.join([*words('trainer.predict'), str(path), 'IMAGES'])})")
    if recorded:
        return compare(recorded, results)
    return 0 if all(r.status == "finished" for r in results) else 1


def _repetitions(config: RunConfig, arguments: argparse.Namespace, recorded: RecordedResult | None) -> list[RunConfig]:
    """The runs to train: those that are recorded, or those that the arguments ask for."""
    if recorded:
        return [config.repetition(seed, world) for seed, world, _ in recorded.runs]
    worlds = [None] if arguments.worlds is None else [World.drawn(number) for number in arguments.worlds]
    return [config.repetition(seed, world) for world in worlds for seed in arguments.seeds or [config.seed]]


def show(results: Sequence[RunResult], terminal: Console) -> None:
    """The table of tasks, mean over seeds, and the last lines that people quote."""
    headers = ("task", "classes", "images", "memory", "acc %", "ACC %", "forget %", "time s")
    table = Table(*(Column(header, justify="right", no_wrap=True) for header in headers), header_style="bold")
    if terminal.width < _WIDE:
        table.box, table.pad_edge = None, False
    for number, found in enumerate(itertools.zip_longest(*(r.tasks for r in results)), start=1):
        rows = [row for row in found if row is not None]
        table.add_row(
            str(number),
            str(rows[0].classes_seen),
            str(rows[0].images_new),
            str(rows[0].images_memory),
            _mean(rows, "phase_acc_task_mean_pct"),
            _mean(rows, "acc_task_mean_pct"),
            _mean(rows, "forgetting_pct"),
            f"{rows[0].wall_s:.1f}",
        )
    terminal.print(table)
    for r in results:
        if r.status != "finished":
            where = "" if r.world is None else f"world {r.world}, "
            print(f"{where}seed {r.seed}: {r.status} after {format_count(len(r.tasks), 'task')}: {r.error}")
    finished = [r for r in results if r.status == "finished"]
    if finished:
        mean = partial(_mean, finished, spread=True)
        on = f"on {finished[0].split}, n = {len(finished)}"
        print(f"ACC (mean over tasks)       {mean('acc_task_mean_pct')} %  {on}")
        print(f"ACC (weighted by classes)   {mean('acc_class_weighted_pct')} %")
        print(f"after the last task         {mean('last_acc_task_mean_pct')} %")
        print(f"forgetting                  {mean('forgetting_pct')} %")
        shots = (f"{mean(f'acc_{name}_pct')} {name}" for name in ("many", "medium", "few"))
        print(f"by shot                     {', '.join(shots)}")


class _Progress(Observer):
    """A progress bar on a terminal, otherwise a line per task."""

    def __init__(self, terminal: Console, config: RunConfig) -> None:
        self._lines = not terminal.is_terminal
        self.bar = Progress(
            TextColumn("task {task.fields[number]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("epochs  loss {task.fields[loss]:.3f}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=terminal,
            disable=self._lines,
            transient=True,
        )
        self._id = self.bar.add_task("", total=config.optim.epochs, number=1, loss=float("nan"))

    def on_epoch(self, report: EpochReport) -> None:
        loss = sum(report.loss) / len(report.loss)
        self.bar.update(self._id, completed=report.epoch + 1, total=report.epochs, number=report.task + 1, loss=loss)

    def on_unreadable(self, problem: str) -> None:
        print(f"{WARNING}{problem}", file=sys.stderr)

    def on_task(self, report: TaskReport) -> Collection[int]:
        if self._lines:
            rows = [member.metrics for member in report.members]
            acc, mean = _mean(rows, "phase_acc_task_mean_pct"), _mean(rows, "acc_task_mean_pct")
            start = f"task {report.task + 1}/{report.tasks}"
            print(f"{start}: accuracy {acc} %, ACC so far {mean} %, {rows[0].wall_s:.1f} s", flush=True)
        return ()


def _recorded_threads(file: RunFile) -> int | None:
    """Those that the numbers of a promoted file were computed with; None for any other file."""
    found = (file.provenance or {}).get("torch_threads")
    return found if type(found) is int and 0 < found <= MOST_THREADS else None


def _recorded_precision(file: RunFile) -> str:
    """That of the numbers of a file that was promoted on a CPU; ``auto`` for any other file."""
    provenance = file.provenance or {}
    found = provenance.get("precision")
    return found if provenance.get("device") == "cpu" and found in PRECISIONS else "auto"


def _machine(result: RunResult) -> str:
    """What decides the last digits. A run that failed at once does not say."""
    threads = format_count(result.torch_threads, "thread")
    note = " (another number of threads rounds differently: --threads)" if result.device == "cpu" else ""
    return f"{result.device}, {result.precision}, {threads}{note}"


def _prepare(out: Path, configs: Sequence[RunConfig], resume: bool) -> FileSlot:
    """The checkpoint of an output folder. Refuses to mix two runs in one folder, or a run with a sweep."""
    slot = FileSlot(out / "checkpoint.pt")
    try:
        if not slot.path.exists() and not any(out.glob(f"{slot.path.stem}-*{slot.path.suffix}")):
            if any((out / "runs").glob("*.parquet")):
                there = "contains results of a sweep or of another run, which this one would replace"
                raise UserError(f"--out {out}: {there}; choose a folder of its own")
            out.mkdir(parents=True, exist_ok=True)
            atomic_write(out / "run.yaml", dump_run(configs[0]).encode())
        elif not resume:
            raise CheckpointError(f"{slot}: already contains a run; pass --resume to continue it or a different --out")
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written: {os_reason(error)}") from None
    return slot


def _headline(configs: Sequence[RunConfig]) -> str:
    config, seeds = configs[0], list(dict.fromkeys(config.seed for config in configs))
    worlds = list(dict.fromkeys(str(config.world) for config in configs if config.world is not None))
    within = f", world{'s' if len(worlds) > 1 else ''} {', '.join(worlds)}" if worlds else ""
    data, protocol = config.data, config.protocol
    uncut = data.imbalance.order == "balanced" or data.imbalance.ratio == 1
    tail = "no tail cut" if uncut else f"ratio {data.imbalance.ratio:g}"
    tasks = f"{protocol.tasks} {'equal tasks' if protocol.kind == 'lfs' else 'tasks after half of the classes'}"
    return (
        f"{config.method.name} on {data.source} ({tail}), {tasks} ({protocol.kind}), {config.net.name}, "
        f"{config.optim.epochs} epochs a task, seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}{within}"
    )


def _mean(rows: Sequence[Row], name: str, *, spread: bool = False) -> str:
    found = [value for row in rows if (value := getattr(row, name)) is not None]
    if not found:
        return "-"
    return mean_std_over_seeds(found) if spread else f"{sum(found) / len(found):.2f}"
