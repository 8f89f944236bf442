"""Before a sweep starts: whether the data set allows it, and what it would do (``--dry-run``)."""

import math

from sweeper.search.space import Space, format_value
from sweeper.search.study import Study
from sweeper.store.store import Store
from trainer.data.tasks import TaskStream, build
from trainer.errors import ConfigError, DataError
from trainer.training.options import DeviceOptions
from trainer.training.profile import profile_steps

_SHOWN = 5
_ON_IMAGES = ("data.", "protocol.")


def load_benchmark(space: Space) -> TaskStream:
    """The tasks and images of the base run file.

    Raises DataError for images that are missing or damaged, ConfigError for a dimension one of whose bounds they do not
    allow.
    """
    base = space.configs({})[0]
    task_stream = build(base.data, base.protocol)
    for name, dimension in space.spec.vary.items():
        if not name.startswith(_ON_IMAGES):
            continue
        for value in dimension.corners():
            config = space.configs({name: value})[0]
            try:
                build(config.data, config.protocol)
            except (ConfigError, DataError) as error:
                raise ConfigError(f"{value!r}: {error}", file=space.file, field=f"vary.{name}") from None
    return task_stream


def describe(space: Space, store: Store, task_stream: TaskStream) -> list[str]:
    """The plan, a line each."""
    spec = space.spec
    study = Study(space)
    found = [f"sweep {space.name}: {spec.trials} configurations x {len(spec.seeds)} seeds = {_runs(space)} runs"]
    found.append(f"  results: {store.folder}")
    tasks, classes = len(task_stream.tasks), len(task_stream.class_ids_C)
    images = int(task_stream.counts_C.sum())
    found.append(
        f"  each run: {classes} classes in {tasks} tasks, {images} training images, {spec.objective.split} split"
    )
    if space.shares_first_task():
        saved = (spec.trials - 1) * len(spec.seeds)
        found.append(
            f"  the first task is shared: trained {len(spec.seeds)} times instead of {saved + len(spec.seeds)}"
        )
    else:
        found.append("  the first task is not shared: a dimension acts in it")
    done = len(store.trials())
    if done:
        found.append(f"  already stored: {done} configurations")
    found.append("  first configurations:" if not done else "  configurations, from the start:")
    for _ in range(min(_SHOWN, spec.trials)):
        suggestion = study.ask()
        if suggestion is not None:
            shown = ", ".join(f"{name} = {format_value(value)}" for name, value in suggestion.params.items())
            found.append(f"    {suggestion.number}: {shown}")
    per_run_s, basis = _cost(space, store, task_stream)
    found.append(f"  estimated cost: {per_run_s * _runs(space) / 3600:.2f} device hours ({basis})")
    return found


def _runs(space: Space) -> int:
    return space.spec.trials * len(space.spec.seeds)


def _cost(space: Space, store: Store, task_stream: TaskStream) -> tuple[float, str]:
    """Device seconds of a run, from rows of this sweep or from a few steps trained now."""
    rows = store.read(["status", "device_s", "saved_s"]).to_pylist()
    spent = [row["device_s"] for row in rows if row["status"] == "finished" and row["device_s"]]
    if spent:
        return sum(spent) / len(spent), f"mean of {len(spent)} finished runs"
    configs = space.configs(space.spec.first[0] if space.spec.first else {})
    needs = profile_steps(configs, task_stream, DeviceOptions())
    optim = configs[0].optim
    kept = task_stream.counts_C.clamp_max(configs[0].memory.per_class)
    images = [len(task.train_N) + int(kept[: task.first].sum()) for task in task_stream.tasks]
    counted = images[1:] if space.shares_first_task() and len(images) > 1 else images
    steps = optim.epochs * sum(math.ceil(number / optim.batch_size) for number in counted)
    return needs.step_s / needs.members * steps, "from a few steps of the last task, timed now on this machine"
