"""Decide what is tried next: search spaces, samplers and the Optuna study; no Ray, no results."""
