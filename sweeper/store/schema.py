"""The columns of a sweep's results: those of a run, with the sweep's in front, and those of the SQL views."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa
from pydantic import Field

from trainer.results.columns import DETAILS, IDS, Column, accuracies, columns_of, run_columns
from trainer.results.rows import Row, RunResult

ABOUT: dict[str, str] = {
    "runs": "One row per run: a configuration with one seed.",
    "tasks": "One row per run and task.",
    "epochs": "One row per run and epoch.",
    "classes": "One row per run, task and class seen.",
    "promotions": "One row per decision about a run file.",
    "steering": "One row per request of `sweeper.steer`.",
    "seeds": "One row per configuration, over its runs: its seeds, in each of its worlds.",
    "best": "One row per sweep: the best configuration by its objective, among those whose seeds all finished and that "
    "meet the constraints.",
    "front": "One row per configuration that no other of its sweep beats in all objectives.",
    "ledger": "One row per sweep: its cost and its savings, in device seconds.",
    "sweeps": "One row per sweep: its objectives.",
}
"""what a row of each table and view is"""


class StoredColumns(Row):
    """What a sweep says of a run, in front of the run's own columns."""

    sweep: str | None = Field(None, description="name of the sweep, or of the folder of a single run")
    trial: int | None = Field(None, description="number of the configuration in the sweep, which is Optuna's")
    attempt: str | None = Field(None, description="start of the trial that wrote the row; from-store if none was made")
    pack: str | None = Field(None, description="the Ray trial whose configurations were trained together")
    objective: float | None = Field(None, description="mean over seeds of the objective's metric; null if none")
    violations: dict[str, float] | None = Field(
        None,
        description="mean over seeds past the bound of each constraint, by its name, such as `device_s <= 20`; 0 or "
        "less: it is met; null without constraints and unless all seeds finished",
    )
    params_json: str | None = Field(None, description="the values that the search varied, by field, as JSON")
    packing_saved_s: float | None = Field(
        None,
        description="device seconds saved by training together, by steps timed at sweep start; null if not timed",
    )


class PromotionRow(Row):
    """A decision about a run file."""

    sweep: str = Field(description="name of the sweep")
    trial: int = Field(description="number of the configuration in the sweep, which is Optuna's")
    config_id: str = Field(description="hash of the configuration without its seed")
    name: str = Field(description="name of the run file")
    file: str = Field(description="path of the run file that was written, or would have been")
    decision: str = Field(description="promoted or refused")
    reason: str = Field(description="reason of the decision")
    metric: str = Field(description="metric that decided")
    split: str = Field(description="images that the metric was measured on")
    tested_on: str | None = Field(
        None, description="run file of another data set that it was tested on; null: the sweep's own images and tasks"
    )
    seeds: list[int] = Field(description="fresh seeds that the configuration was trained on again")
    worlds: list[str] | None = Field(
        None, description="fresh worlds, in each of which it was trained with these seeds; null: on the seeds alone"
    )
    test_looks: int | None = Field(
        None,
        description="looks at the test images of this data set in the results folder by then, this one included: "
        "configurations of any sweep, each on its seeds and worlds",
    )
    n: int = Field(description="number of those seeds; of the worlds, if there are any")
    mean_pct: float = Field(description="mean of the metric over the seeds and worlds")
    std_pct: float | None = Field(description="standard deviation over the seeds, or over worlds; null with one")
    interval_low_pct: float = Field(description="lower end of the interval of the mean difference to the incumbent")
    interval_high_pct: float = Field(description="upper end of that interval")
    further_json: str | None = Field(
        None,
        description="a list of the objectives after the first, as JSON: metric, direction, mean, incumbent_mean, "
        "difference and difference_interval; null without any",
    )
    incumbent_config_id: str | None = Field(description="configuration in the run file before; null if there was none")
    incumbent_mean_pct: float = Field(description="the incumbent's mean over the same runs")
    incumbent_std_pct: float | None = Field(description="the incumbent's standard deviation over the same")
    query: str = Field(description="the SQL that chose the configuration")
    git_commit: str | None = Field(description="commit of the code; -dirty where files differed")
    data_fingerprint: str | None = Field(description="hash of the decoded images and labels")
    decided_at: datetime = Field(description="time of the decision")


class SteeringRow(Row):
    """A request to a running sweep, and its answer."""

    sweep: str = Field(description="name of the sweep")
    number: int = Field(description="number of the request in the sweep")
    requested_at: datetime = Field(description="time of the request")
    requested_by: str = Field(description="who made it: user@host")
    action: str = Field(description="add, stop, pause, resume, trials or note")
    params_json: str | None = Field(description="values given for a configuration to add, by field, as JSON")
    trial: int | None = Field(description="number of the configuration that was added or stopped")
    trials: int | None = Field(description="new total number of configurations")
    text: str | None = Field(description="text of a note")
    state: str = Field(description="waiting, taken or refused")
    taken_at: datetime | None = Field(description="time at which the driver took or refused it; null while it waits")
    reason: str | None = Field(description="reason of a refusal")


class SweepRow(Row):
    """A sweep and its objectives."""

    sweep: str = Field(description="name of the sweep")
    metric: str | None = Field(None, description="metric of the objective, of several the first: a column of runs")
    split: str | None = Field(None, description="images that the metric is measured on")
    direction: str | None = Field(None, description="maximize or minimize")
    metrics: list[str] | None = Field(None, description="metrics of all its objectives; the first is `metric`")
    directions: list[str] | None = Field(None, description="directions of all its objectives")


class BestRow(Row):
    """The best configuration of a sweep by its objective, of those whose seeds all finished, within the constraints."""

    sweep: str = Field(description="name of the sweep")
    trial: int = Field(description="number of the configuration in the sweep, which is Optuna's")
    config_id: str = Field(description="hash of the configuration without its seed")
    metric: str = Field(description="metric of the objective: a column of runs")
    split: str = Field(description="images that the metric is measured on")
    direction: str = Field(description="maximize or minimize")
    mean: float = Field(description="mean of the metric over the seeds")
    std: float | None = Field(description="standard deviation over the seeds; null with one")
    n: int = Field(description="number of seeds")
    params_json: str | None = Field(description="the values that the search varied, by field, as JSON")


class FrontRow(Row):
    """A configuration that no other of its sweep beats in all objectives, of those that could be the best."""

    sweep: str = Field(description="name of the sweep")
    trial: int = Field(description="number of the configuration in the sweep, which is Optuna's")
    config_id: str = Field(description="hash of the configuration without its seed")
    metrics: list[str] = Field(description="metrics of the objectives: columns of runs")
    directions: list[str] = Field(description="maximize or minimize, for each objective")
    means: list[float] = Field(description="mean over the seeds, for each objective")
    stds: list[float | None] = Field(description="standard deviation over the seeds, for each objective")
    n: int = Field(description="number of seeds")
    device_s: float = Field(description="device seconds of all its runs, with those that were saved")
    params_json: str | None = Field(description="the values that the search varied, by field, as JSON")


class LedgerRow(Row):
    """What a sweep has cost and what it was spared, in device seconds."""

    sweep: str = Field(description="name of the sweep")
    spent_s: float = Field(description="device seconds of all runs")
    sharing_s: float = Field(description="saved by reusing another run's first task")
    pruning_s: float = Field(description="saved by pruning: tasks not trained, each at the mean of finished runs")
    packing_s: float = Field(description="saved by packs, from a step timed alone and together; 0 if not timed")
    store_s: float = Field(description="saved by answering whole runs from what a sweep has stored")


Configuration = Sequence[Column] | None
"""the columns of configurations; None: ``configuration_columns()``"""


def file_columns(configuration: Configuration = None) -> tuple[Column, ...]:
    """The columns of a file of runs: a row a run, its tasks, epochs and classes within it."""
    known = configuration_columns() if configuration is None else configuration
    return (*columns_of(StoredColumns), *run_columns(known))


def tables(configuration: Configuration = None) -> dict[str, tuple[Column, ...]]:
    """The columns of every table, by the table's name."""
    every = file_columns(configuration)
    keys = [column for column in every if column.name in ("sweep", "trial", *IDS)]
    details = {name: (*keys, *columns_of(row)) for name, row in DETAILS.items()}
    runs = tuple(column for column in every if column.name not in DETAILS)
    return {"runs": runs, **details, "promotions": columns_of(PromotionRow), "steering": columns_of(SteeringRow)}


def views(configuration: Configuration = None) -> dict[str, tuple[Column, ...]]:
    """The columns of the SQL views that are derived from the tables, by the view's name."""
    return {
        "seeds": tuple(seeds(configuration)),
        "best": columns_of(BestRow),
        "front": columns_of(FrontRow),
        "ledger": columns_of(LedgerRow),
        "sweeps": columns_of(SweepRow),
    }


def seeds(configuration: Configuration = None) -> dict[Column, str]:
    """The columns of the view ``seeds``: the runs of a configuration together. Each with its SQL over ``runs``."""
    known = configuration_columns() if configuration is None else configuration
    of_run = {column.name: column for column in file_columns(known)}
    keys = {of_run[name]: name for name in ("sweep", "trial", "attempt", "config_id")}
    shared = {of_run[name]: f"any_value({name})" for name in ("objective", "violations", "params_json")}
    own = {
        of_run["packing_saved_s"]: "sum(packing_saved_s)",
        Column("n", of_run["seed"].type, "number of runs: seeds, in each of the worlds"): "count(*)",
        Column("worlds", of_run["seed"].type, "number of worlds; 0 where repetitions are seeds alone"): (
            "count(DISTINCT world)"
        ),
        of_run["status"]._replace(doc="finished if all runs are, otherwise the status of another run"): (
            "coalesce(min(status) FILTER (WHERE status <> 'finished'), 'finished')"
        ),
    }
    meets = Column("feasible", pa.bool_(), "whether it violates no constraint, as far as it was measured")
    own[meets] = feasible_sql("any_value(violations)")
    for name in accuracies():
        # A diverged run may hold a number that is none, which DuckDB's deviation refuses.
        finite = f"({name}) FILTER (WHERE isfinite({name}))"
        own[of_run[name]._replace(doc="mean over the runs")] = f"avg{finite}"
        std = Column(std_name(name), of_run[name].type, "standard deviation over the runs; null with one")
        own[std] = f"stddev_samp{finite}"
    sums = {of_run[name]._replace(doc="sum over the runs"): f"sum({name})" for name in ("device_s", "saved_s")}
    values = {column: f'any_value("{column.name}")' for column in known}
    return keys | shared | own | sums | values


def value_sql(column: str) -> str:
    """The number of a run that an objective counts, in SQL over ``runs``: device seconds include those saved."""
    return "device_s + coalesce(saved_s, 0)" if column == "device_s" else column


def feasible_sql(violations: str) -> str:
    """Whether no constraint is violated, in SQL."""
    return f"coalesce(list_max(map_values({violations})) <= 0, true)"


def phase_name(metric: str) -> str:
    """The column of ``tasks`` with the accuracy on all classes seen, weighted as in a metric of runs."""
    return f"phase_acc_{'class_weighted' if 'class_weighted' in metric else 'task_mean'}_pct"


def std_name(accuracy: str) -> str:
    """The column of ``seeds`` with an accuracy's standard deviation."""
    return accuracy.removesuffix("_pct") + "_std_pct"


def run_result(record: Mapping[str, Any]) -> RunResult:
    """A stored row as the result that it was; ``record``: all columns of a file of runs."""
    config = {c.name: record[c.name] for c in configuration_columns() if record[c.name] is not None}
    return RunResult(**{name: record[name] for name in RunResult.model_fields if name != "config"}, config=config)


def configuration_columns() -> tuple[Column, ...]:
    """The columns of configurations of all methods that this code has, whose import takes seconds."""
    from trainer.results.config_columns import config_columns  # noqa: PLC0415  (imports torch)

    return config_columns()
