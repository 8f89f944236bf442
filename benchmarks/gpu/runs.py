"""Whole runs of the protocol: one alone, a pack of seeds, and the same pack in float32."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import replace

from benchmarks.gpu.findings import Findings
from benchmarks.gpu.kit import Kit
from benchmarks.gpu.steps import together
from benchmarks.paper.cells import scaled
from trainer.config.files import parse_run
from trainer.config.run_config import RunConfig
from trainer.results.rows import RunResult
from trainer.results.spread import mean_std_over_seeds
from trainer.training.options import DeviceOptions
from trainer.training.session import train

_MARGIN = 1.5
"""times the steps of a run, for evaluation, exemplars and the drawing of images"""
_TASK_S = 1.0
"""seconds of a task that do not depend on its epochs"""
_FEWEST = 2
"""members of a pack"""
_MOST = 16

HEADERS = ("run", "epochs a task", "s", "s of epochs", "images/s", "ACC %", "after the last task %", "forgetting %")


def run(kit: Kit, found: Findings) -> None:
    """One run, its epochs scaled to the time; later parts train as many."""
    found.headers = HEADERS
    tasks = len(kit.task_stream.tasks)
    an_epoch_s = _MARGIN * epoch_steps(kit) * kit.a_step_s()
    epochs = min(kit.config.optim.epochs, math.floor((found.left_s - _TASK_S * tasks) / an_epoch_s))
    if epochs < 1:
        found.fits("a run of one epoch a task", an_epoch_s + _TASK_S * tasks)
        return
    if epochs < kit.config.optim.epochs:
        content = scaled(kit.config.as_dict(), epochs / kit.config.optim.epochs)
        found.notes.append(f"REDUCED RUN: {epochs} epochs a task instead of {kit.config.optim.epochs}.")
        kit.config = parse_run(content)
    (result,) = _trained("one run", [kit.config], kit.options, kit, found)
    kit.run_s = _seconds(result)


def pack(kit: Kit, found: Findings) -> None:
    """Seeds that are trained together, as many as are quick enough."""
    found.headers = HEADERS
    if kit.run_s is None:
        found.left_out.append("a pack: the run alone was not trained")
        return
    choices = [count for count in kit.members if _FEWEST <= count <= _MOST]
    fitting = [count for count in choices if _expected_s(kit, count) < found.left_s]
    if not fitting:
        found.fits(f"a pack of {min(choices, default=_FEWEST)}", _expected_s(kit, min(choices, default=_FEWEST)))
        return
    kit.pack = fitting[-1]
    results = _trained(f"{kit.pack} seeds together", together(kit.config, kit.pack), kit.options, kit, found)
    kit.acc_pct = _accuracies(results)
    seconds = _seconds(results[0])
    found.notes.append(
        f"A run of the pack takes {seconds / kit.pack:.2f} s, alone {kit.run_s:.2f} s: "
        f"{kit.run_s * kit.pack / seconds:.2f} times the throughput, all included."
    )
    found.write()


def pack_in_float32(kit: Kit, found: Findings) -> None:
    """The same seeds: what bfloat16 costs in accuracy."""
    found.headers = HEADERS
    if kit.options.resolve_precision() != "bfloat16":
        found.notes.append(
            "The runs above are in float32 already, as they are on a CPU unless --precision says otherwise."
        )
        return
    if kit.pack is None or not kit.acc_pct:
        found.left_out.append("the pack in float32: no pack was trained")
        return
    if not found.fits("the pack in float32", 3 * _expected_s(kit, kit.pack)):
        return
    options = replace(kit.options, precision="float32")
    results = _trained(f"{kit.pack} seeds together, float32", together(kit.config, kit.pack), options, kit, found)
    plain = _accuracies(results)
    if len(plain) != len(kit.acc_pct):
        return
    differences = [a - b for a, b in zip(kit.acc_pct, plain, strict=True)]
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    found.notes.append(
        f"ACC in bfloat16 minus float32, paired by seed: {statistics.fmean(differences):+.2f} points, standard error "
        f"{error:.2f}, n = {len(differences)}."
    )
    found.write()


def epoch_steps(kit: Kit) -> int:
    """Steps of an epoch of every task, about: new images and exemplars."""
    batch, memory = kit.config.optim.batch_size, kit.config.memory
    images = (len(task.train_N) + task.first * memory.quota(task.first or 1) for task in kit.task_stream.tasks)
    return sum(math.ceil(count / batch) for count in images)


def _expected_s(kit: Kit, members: int) -> float:
    assert kit.run_s is not None
    measured = kit.step_s.get(members)
    return 1.2 * kit.run_s * (measured / kit.step_s[1] if measured and 1 in kit.step_s else members)


def _trained(
    name: str, configs: Sequence[RunConfig], options: DeviceOptions, kit: Kit, found: Findings
) -> list[RunResult]:
    """Train them together, and add a row. A run that did not finish is an error."""
    results = train(configs, options, task_stream=kit.task_stream)
    ended = [result for result in results if result.status == "finished"]
    found.errors += [f"{name}, seed {r.seed}: {r.status}: {r.error}" for r in results if r.status != "finished"]
    optim, epochs_s = configs[0].optim, sum(row.wall_s for row in results[0].epochs)
    images_per_s = len(configs) * optim.batch_size * sum(row.steps for row in results[0].epochs) / epochs_s
    measured = {
        metric: [value for result in ended if (value := getattr(result, metric)) is not None]
        for metric in ("acc_task_mean_pct", "last_acc_task_mean_pct", "forgetting_pct")
    }
    found.add(
        [
            name,
            str(optim.epochs),
            f"{_seconds(results[0]):.2f}",
            f"{epochs_s:.2f}",
            f"{images_per_s:,.0f}",
            *(mean_std_over_seeds(values) if values else "-" for values in measured.values()),
        ],
        members=len(configs),
        precision=results[0].precision,
        epochs=optim.epochs,
        run_s=_seconds(results[0]),
        task_s=[row.wall_s for row in results[0].tasks],
        epochs_s=epochs_s,
        images_per_s=images_per_s,
        **measured,
    )
    return results


def _accuracies(results: Sequence[RunResult]) -> list[float]:
    """ACC of the runs that have one."""
    return [result.acc_task_mean_pct for result in results if result.acc_task_mean_pct is not None]


def _seconds(result: RunResult) -> float:
    """Of all tasks, for all members together."""
    return sum(row.wall_s for row in result.tasks)
