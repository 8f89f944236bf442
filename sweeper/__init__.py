"""The sweep service: Ray Tune trials under Optuna, results as Parquet, promotion of the best configuration."""

import trainer  # noqa: F401  (a signal while a command of either package is imported ends it in one line)
