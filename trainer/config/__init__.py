"""A run file: the configuration sections put together, read from YAML, and explained where they are wrong."""
