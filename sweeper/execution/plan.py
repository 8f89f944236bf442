"""Before a sweep starts: whether the data set allows it, and what it would do (``--dry-run``)."""

import math
from collections.abc import Mapping, Sequence
from itertools import islice
from statistics import stdev
from typing import Any

import torch
from pydantic import BaseModel, Field

from sweeper.search.repetitions import in_words
from sweeper.search.space import Space
from sweeper.search.study import Study
from sweeper.search.words import METHOD, format_value
from sweeper.store.damage import Damage
from sweeper.store.steering import Steered, read_steering
from sweeper.store.store import Store
from trainer.config.run_config import RunConfig
from trainer.data.sources import load
from trainer.data.tasks import TaskStream, build, cut
from trainer.errors import ConfigError, DataError
from trainer.results.columns import metrics
from trainer.results.history import measured_metrics
from trainer.survey.text import tail_line
from trainer.training.options import DeviceOptions
from trainer.training.profile import profile_steps
from trainer.words import WARNING, format_count


def load_benchmark(space: Space) -> TaskStream:
    """The tasks and images of the base run file.

    Raises DataError for images that are missing or damaged, ConfigError where they lack the objective or do not allow a
    bound of a dimension.
    """
    metric = space.spec.objective.metric
    base, *other_worlds = space.configs({}, space.spec.repeated.of_each_world)
    source = load(base.data)
    task_stream = cut(source, base.data, base.protocol)
    check_objective(metric, task_stream, space.file)
    further = [(f"constraints.{place}.metric", one.metric) for place, one in enumerate(space.spec.constraints)]
    further += [(f"objectives.{place}.metric", one.metric) for place, one in enumerate(space.spec.objectives)][1:]
    for field, column in further:
        if column in metrics():
            check_objective(column, task_stream, space.file, field)
    for config in other_worlds:
        try:
            check_objective(metric, cut(source, config.data, config.protocol))
        except (ConfigError, DataError) as error:
            problem = f"world {config.world}: {error}"
            raise ConfigError(problem, file=space.file, field="repetitions.worlds") from None
    for name, dimension in space.spec.vary.items():
        for value in dimension.corners() if name.startswith(("data.", "protocol.")) else ():
            config = space.configs({name: value})[0]
            try:
                check_objective(metric, build(config.data, config.protocol))
            except (ConfigError, DataError) as error:
                raise ConfigError(f"{value!r}: {error}", file=space.file, field=f"vary.{name}") from None
    return task_stream


def check_objective(
    metric: str, task_stream: TaskStream, file: str | None = None, field: str = "objective.metric"
) -> None:
    """Raises ConfigError for a metric that runs on these images do not have."""
    known = measured_metrics(task_stream)
    if metric not in known:
        images, tasks = task_stream.counts_C, format_count(len(task_stream.tasks), "task")
        problem = f"{metric} does not exist for {tasks} and classes of {images.min()} to {images.max()} training images"
        raise ConfigError(problem, file=file, field=field, allowed=", ".join(known))


class Configuration(BaseModel):
    """A configuration that a search suggests."""

    number: int = Field(description="number of the trial")
    params: dict[str, Any] = Field(description="values of its dimensions, by field")


class Plan(BaseModel):
    """What a launch would do."""

    sweep: str = Field(description="name of the sweep")
    results: str = Field(description="folder or URI of the sweep")
    trials: int = Field(description="total number of configurations, stored ones included")
    seeds: list[int] = Field(description="seeds of every configuration, in each of the worlds if there are any")
    worlds: list[str] = Field(description="worlds of every configuration; empty where its repetitions are seeds alone")
    runs: int = Field(description="number of runs: configurations times their repetitions")
    classes: int = Field(description="classes of the data set")
    tasks: int = Field(description="tasks of a run")
    training_images: int = Field(description="training images of a run")
    split: str = Field(description="images that the objective is measured on")
    tail: str = Field(description="the long tail, in words")
    notes: list[str] = Field(description="what was said of the images and of stored runs, in words")
    shares_first_task: bool = Field(description="whether configurations share the training of the first task")
    first_task_depends_on: list[str] = Field(description="dimensions that act in the first task")
    stored: int = Field(description="configurations that are stored already")
    configurations: list[Configuration] = Field(description="the first few configurations, from the start")
    device_hours: float = Field(description="estimated device hours of all runs")
    estimated_from: str = Field(description="what the estimate rests on, in words")
    affordable: int | None = Field(
        description="estimated number of configurations, stored ones included, that budget.device_hours has room for; "
        "null without that limit"
    )
    affordable_interval: tuple[int, int] | None = Field(
        description="its 95 % interval, by how the costs of stored configurations vary; null with fewer than two"
    )


def make(space: Space, store: Store, task_stream: TaskStream) -> Plan:
    """The plan of a launch; its cost is estimated from stored runs, or from a few steps that are trained now."""
    spec, classes = space.spec, task_stream.counts_C
    trials = Steered.of(read_steering(store.folder, Damage()), spec.trials).trials
    stored = store.read(["trial", "status", "device_s"]).to_pylist()
    per_run_s, basis = _cost(space, stored, task_stream)
    repeated = spec.repeated
    runs = trials * len(repeated.runs)
    return Plan(
        sweep=space.name,
        results=str(store.folder),
        trials=trials,
        seeds=list(repeated.seeds),
        worlds=list(map(str, repeated.worlds)),
        runs=runs,
        classes=len(classes),
        tasks=len(task_stream.tasks),
        training_images=int(classes.sum()),
        split=spec.objective.split,
        tail=tail_line(classes.tolist()),
        notes=[*task_stream.said, *other_rounding(space, store)],
        shares_first_task=space.shares_first_task() or space.reuses_first_tasks(),
        first_task_depends_on=space.acting_first(),
        stored=len(store.trials()),
        configurations=[
            Configuration(number=suggestion.number, params=suggestion.params)
            for suggestion in islice(iter(Study(space).ask, None), 5)
        ],
        device_hours=per_run_s * runs / 3600,
        estimated_from=basis,
        **_affordable(space, stored, per_run_s * len(repeated.runs), trials),
    )


def _affordable(space: Space, runs: Sequence[Mapping[str, Any]], each_s: float, trials: int) -> dict[str, Any]:
    """What the limit of device hours has room for, if there is one; ``each_s``: estimate for a configuration."""
    limit = space.spec.budget.device_hours
    if limit is None:
        return {"affordable": None, "affordable_interval": None}
    stored: dict[int, float] = {}
    for row in runs:
        stored[row["trial"]] = stored.get(row["trial"], 0.0) + (row["device_s"] or 0.0)
    left_s = 3600 * limit - sum(stored.values())

    def room(one_s: float) -> int:
        return min(trials, len(stored) + max(0, int(left_s / one_s)))

    interval = None
    if len(stored) > 1:
        spread_s = 1.96 * stdev(stored.values()) / math.sqrt(len(stored))
        interval = room(each_s + spread_s), room(each_s - spread_s) if spread_s < each_s else trials
    return {"affordable": room(each_s), "affordable_interval": interval}


def describe(plan: Plan) -> list[str]:
    """The plan, a line each."""
    each, runs = in_words(len(plan.worlds), len(plan.seeds)), format_count(plan.runs, "run")
    depends_on = ", ".join(plan.first_task_depends_on)
    if not plan.shares_first_task:
        first_task = f"not shared: it depends on {depends_on}"
    elif depends_on:
        first_task = f"shared by configurations that agree on {depends_on}"
    else:
        first_task = f"shared: trained for {each} instead of {runs}"
    lines = [
        f"sweep {plan.sweep}: {format_count(plan.trials, 'configuration')} x {each} = {runs}",
        f"  results: {plan.results}",
        f"  each run: {plan.classes} classes in {format_count(plan.tasks, 'task')}, "
        f"{plan.training_images} training images, {plan.split} split",
        f"  the tail: {plan.tail}",
        *(f"  {line}" for line in plan.notes),
        f"  the first task is {first_task}",
    ]
    if plan.stored:
        stored = format_count(plan.stored, "configuration")
        lines += [f"  already stored: {stored}", "  configurations, from the start:"]
    else:
        lines.append("  first configurations:")
    for found in plan.configurations:
        shown = ", ".join(f"{name} = {format_value(value)}" for name, value in found.params.items())
        lines.append(f"    {found.number}: {shown}")
    lines.append(f"  estimated cost: {plan.device_hours:.2f} device hours ({plan.estimated_from})")
    if plan.affordable is not None:
        low, high = plan.affordable_interval or (plan.affordable, plan.affordable)
        interval = f" ({low} to {high})" if low != high else ""
        room = f"about {plan.affordable}{interval} of {format_count(plan.trials, 'configuration')}"
        lines.append(f"  the budget has room for {room}")
    return lines


def other_rounding(space: Space, store: Store) -> list[str]:
    """Lines for a sweep whose stored runs were computed on a CPU with other threads, or in another precision, than its
    next ones: they compare less well.
    """
    resources = space.spec.resources
    if resources.gpu:
        return []
    rows = [row for row in store.read(["device", "torch_threads", "precision"]).to_pylist() if row["device"] == "cpu"]
    now = {
        "torch_threads": resources.threads,
        "precision": DeviceOptions("cpu", resources.precision).resolve_precision(),
    }
    before = {
        name: " and ".join(sorted({str(row[name]) for row in rows} - {str(value), "None"}))
        for name, value in now.items()
    }
    lines = []
    if before["torch_threads"]:
        threads = f"{format_count(resources.threads, 'CPU thread')} (resources.cpu)"
        lines.append(f"trials train with {threads}, stored ones did with {before['torch_threads']}")
    if before["precision"]:
        lines.append(
            f"trials train in {now['precision']} (resources.precision), stored ones did in {before['precision']}"
        )
    return [f"{WARNING}{line}: rounding differs, and training amplifies it" for line in lines]


def _cost(space: Space, rows: Sequence[Mapping[str, Any]], task_stream: TaskStream) -> tuple[float, str]:
    """Device seconds of a run, from rows of this sweep or from a few steps trained now."""
    spent = [row["device_s"] for row in rows if row["status"] == "finished" and row["device_s"]]
    if spent:
        return sum(spent) / len(spent), f"mean of {format_count(len(spent), 'finished run')}"
    point = space.spec.first[0] if space.spec.first else {}
    points = [{METHOD: method} for method in space.methods()] if METHOD in space.spec.vary else [point]
    resources, before = space.spec.resources, torch.get_num_threads()
    torch.set_num_threads(resources.threads)
    try:
        together = space.spec.repeated.of_first_world
        costs = [_run_s(space, task_stream, space.configs(params, together)) for params in points]
    finally:
        torch.set_num_threads(before)
    how = "" if resources.gpu else f" with {format_count(resources.threads, 'thread')}, as a trial has"
    basis = f"from a few steps of the last task, timed now on this machine{how}"
    return sum(costs) / len(costs), basis + (", mean over the methods" if len(costs) > 1 else "")


def _run_s(space: Space, task_stream: TaskStream, configs: Sequence[RunConfig]) -> float:
    """Device seconds of one of these runs, trained together, by a few steps of theirs."""
    resources = space.spec.resources
    options = DeviceOptions(device="auto" if resources.gpu else "cpu", precision=resources.precision)
    cost, optim = profile_steps(configs, task_stream, options), configs[0].optim
    memory, counts_C = configs[0].memory, task_stream.counts_C
    images = [
        len(task.train_N) + int(counts_C[: task.first].clamp_max(memory.quota(task.first)).sum())
        for task in task_stream.tasks
    ]
    counted = images[1:] if space.reuses_first_tasks() and len(images) > 1 else images
    steps = optim.epochs * sum(math.ceil(number / optim.batch_size) for number in counted)
    return cost.step_s / cost.members * steps
