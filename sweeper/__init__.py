"""The sweep service: Ray Tune trials under Optuna, results as Parquet, promotion of the best configuration.

    from sweeper import open_sweep

    sweep = open_sweep("digits", results="results")
    print(sweep.status().done, sweep.best())

A public name is imported when it is first used: ``import sweeper`` alone imports neither torch, Ray, Optuna nor DuckDB.
"""

import trainer  # noqa: F401  (a signal while a command of either package is imported ends it in one line)
from trainer.lazy import on_first_use

_HOMES = {
    "sweeper.opened": {"OpenedSweep", "open_sweep"},
    "sweeper.promotion.answer": {"Promotion"},
    "sweeper.reporting.state": {"SweepStatus"},
    "sweeper.store.results": {"Answer", "open_results"},
    "sweeper.store.schema": {"BestRow"},
}

__all__ = sorted(name for names in _HOMES.values() for name in names)  # noqa: PLE0605


__getattr__ = on_first_use(__name__, _HOMES)


def __dir__() -> list[str]:
    return __all__
