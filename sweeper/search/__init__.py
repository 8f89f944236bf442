"""What is tried next: search spaces, samplers and the Optuna study. No Ray, no files."""
