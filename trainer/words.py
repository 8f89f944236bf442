"""Counts in words, as messages and tables show them."""


def format_count(number: int | None, noun: str) -> str:
    """``1 seed``, ``2 seeds``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
