"""What a run reports: its rows, their columns, metrics and provenance."""
