"""The table of a landscape, as anyone reads it: needs pyarrow and numpy alone.

    land = Landscape.load("benchmarks/results/landscape_digits.parquet", "gradient_reweighting")
    study = optuna.create_study(direction="maximize")
    study.optimize(land.objective(), n_trials=50)     # milliseconds a trial

Syne Tune's ``BlackboxTabular(**land.syne_tune())`` takes the same numbers.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

SPLITS = ("validation", "test")
LEVELS = b"levels"
"""key of the file's metadata that holds each system's fields: low, high, log, values"""


def column_of(field: str) -> str:
    """The column of a field of the run file: ``method_alpha`` for ``method.alpha``."""
    return field.replace(".", "_")


@dataclass(frozen=True)
class Dimension:
    """One field that a system was measured at several values of."""

    low: float
    high: float
    log: bool
    values: Sequence[float]
    """the levels, from the lowest"""

    def nearest(self, value: float) -> int:
        """The position of the closest level, on the scale of the range."""
        levels = np.array(self.values)
        return int(np.abs(np.log(levels / value) if self.log else levels - value).argmin())


@dataclass(frozen=True)
class Landscape:
    """One system: P points (every combination of levels), R repetitions (world and seed), T tasks."""

    system: str
    dimensions: Mapping[str, Dimension]
    """by field of the run file; the last varies fastest with a point's number"""
    repetitions: Sequence[tuple[str, int]]
    """world and seed, of those that are complete"""
    acc_RPT: Mapping[str, NDArray[np.float64]]
    """by split: ACC after each task, in percent; NaN from where a run diverged"""
    device_s_PT: NDArray[np.float64]
    """mean over repetitions of the device seconds of each task, on validation"""

    @classmethod
    def load(cls, file: str | Path, system: str) -> "Landscape":
        """Read one system. Raises KeyError for a system that the file lacks, or of which no repetition is complete."""
        read = pq.read_table(file, filters=[("system", "=", system)])
        stated = json.loads(read.schema.metadata[LEVELS])[system]
        dimensions = {field: Dimension(**one) for field, one in stated.items()}
        points = int(np.prod([len(one.values) for one in dimensions.values()]))
        slices: dict[tuple[str, int], dict[str, dict[int, dict[str, Any]]]] = {}
        for row in read.to_pylist():
            of_splits = slices.setdefault((row["world"], row["seed"]), {split: {} for split in SPLITS})
            of_splits[row["split"]][row["point"]] = row
        whole = [key for key, own in slices.items() if all(len(own[split]) == points for split in SPLITS)]
        if not whole:
            raise KeyError(f"{file}: no repetition of {system} is complete")
        runs = {split: [[slices[key][split][p] for p in range(points)] for key in whole] for split in SPLITS}
        tasks = max(len(row["device_s_by_task"]) for row in runs[SPLITS[0]][0])
        acc = {split: np.array([[_acc(row, tasks) for row in own] for own in runs[split]]) for split in SPLITS}
        seconds = [[_padded(row["device_s_by_task"], tasks) for row in own] for own in runs[SPLITS[0]]]
        return cls(system, dimensions, whole, acc, np.nan_to_num(np.array(seconds)).mean(0))

    @property
    def points(self) -> int:
        return len(self.device_s_PT)

    def params(self, point: int) -> dict[str, float]:
        """The values of a point, by field."""
        places = np.unravel_index(point, [len(one.values) for one in self.dimensions.values()])
        return {field: one.values[place] for (field, one), place in zip(self.dimensions.items(), places, strict=True)}

    def nearest(self, params: Mapping[str, float]) -> int:
        """The number of the point that is closest in every dimension."""
        number = 0
        for field, one in self.dimensions.items():
            number = number * len(one.values) + one.nearest(params[field])
        return number

    def mean(self, split: str) -> NDArray[np.float64]:
        """ACC of each point, mean over repetitions; 0 for a repetition that diverged."""
        return np.nan_to_num(self.acc_RPT[split][:, :, -1]).mean(0)

    def objective(self, split: str = "validation", repetition: int | None = None) -> Callable[[Any], float]:
        """An objective for Optuna, to be maximized; it reports ACC after each task, and so can be pruned.

        ``repetition``: the one whose values are seen (default: the mean over all). The sampler may suggest any value of
        a range; the nearest point answers.
        """

        def ask(trial: Any) -> float:
            import optuna  # noqa: PLC0415  (the table itself is read without)

            ranges = self.dimensions.items()
            point = self.nearest({f: trial.suggest_float(f, one.low, one.high, log=one.log) for f, one in ranges})
            seen_RPT = self.acc_RPT[split] if repetition is None else self.acc_RPT[split][[repetition]]
            acc_T = seen_RPT[:, point].mean(0)
            for task, value in enumerate(acc_T.tolist(), start=1):
                if np.isnan(value):
                    return float("nan")  # which Optuna counts as a failure
                trial.report(value, task)
                if task < len(acc_T) and trial.should_prune():
                    raise optuna.TrialPruned
            return float(acc_T[-1])

        return ask

    def syne_tune(self, split: str = "validation") -> dict[str, Any]:
        """The arguments of Syne Tune's ``BlackboxTabular``; the fidelity is the number of tasks trained.

        Objectives: ``acc_task_mean_pct``, and ``elapsed_time``, the device seconds so far.
        """
        import pandas as pd  # noqa: PLC0415  (the table itself is read without)
        from syne_tune.config_space import loguniform as log_uniform  # noqa: PLC0415
        from syne_tune.config_space import randint, uniform  # noqa: PLC0415

        acc_PRT = self.acc_RPT[split].transpose(1, 0, 2)
        elapsed_PRT = np.broadcast_to(self.device_s_PT.cumsum(1)[:, None], acc_PRT.shape)
        ranges = self.dimensions.items()
        return {
            "hyperparameters": pd.DataFrame([self.params(point) for point in range(self.points)]),
            "configuration_space": {f: (log_uniform if one.log else uniform)(one.low, one.high) for f, one in ranges},
            "fidelity_space": {"task": randint(1, acc_PRT.shape[2])},
            "fidelity_values": np.arange(1, acc_PRT.shape[2] + 1),
            "objectives_evaluations": np.stack([acc_PRT, elapsed_PRT], 3),
            "objectives_names": ["acc_task_mean_pct", "elapsed_time"],
        }


def _acc(row: Mapping[str, Any], tasks: int) -> list[float]:
    """ACC by task; NaN for the task in which the run diverged, and for those behind it."""
    found = [np.nan if value is None else value for value in row["acc_task_mean_pct_by_task"]]
    return _padded(found if row["status"] == "finished" else found[:-1], tasks)


def _padded(values: Sequence[float], tasks: int) -> list[float]:
    return [*values, *[np.nan] * (tasks - len(values))]
