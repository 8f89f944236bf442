"""Counts in words, as messages and tables show them, and how messages begin that stop nothing."""

WARNING = "warning: "
"""what changes numbers, or loses images, results or time, or lets somebody in: to be looked at"""
NOTE = "note: "
"""what may be ignored"""


def format_count(number: int | None, noun: str) -> str:
    """``1 seed``, ``2 seeds``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
