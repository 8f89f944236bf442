"""Mean and standard deviation over seeds, formatted for people."""

import statistics
from collections.abc import Sequence


def format_mean_std(mean: float | None, std: float | None) -> str:
    """``93.10 ± 0.40``, the mean alone if ``std`` is None, or ``-`` if there is no mean."""
    if mean is None:
        return "-"
    return f"{mean:.2f}" if std is None else f"{mean:.2f} ± {std:.2f}"


def mean_std_over_seeds(values: Sequence[float]) -> str:
    """The same from one value per seed; a single seed has no standard deviation."""
    return format_mean_std(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)
