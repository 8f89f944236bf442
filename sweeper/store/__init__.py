"""What is kept: a sweep's results as Parquet, the lease of its driver, what it searches, how it stands."""
