"""The sweep service: Ray Tune trials under Optuna, results as Parquet, promotion of the best configuration."""
