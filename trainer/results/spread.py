"""Numbers over seeds as people read them: mean and standard deviation."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def spread(mean: float, std: float | None) -> str:
    """``93.10 ± 0.40``, without the spread where there is none."""
    return f"{mean:.2f}" if std is None else f"{mean:.2f} ± {std:.2f}"


def over_seeds(values: Sequence[float]) -> str:
    """The same of a value a seed; there is no spread of one."""
    return spread(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)
