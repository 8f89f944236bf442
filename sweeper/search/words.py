"""Parameters in words, as messages and tables show them."""

from collections.abc import Iterable, Mapping
from typing import Any

METHOD = "method.name"
"""the dimension of a search that compares methods"""


def format_params(params: Mapping[str, Any]) -> str:
    """``alpha 0.5, lambda 0.1``: short enough for a line; a method comes first."""
    names = short_names(params)
    shown = sorted(params, key=lambda field: field != METHOD)
    return ", ".join(f"{names[field]} {format_value(params[field])}" for field in shown)


def short_names(fields: Iterable[str]) -> dict[str, str]:
    """The last part of each dotted field, of a name the one before; the whole where two have the same (``optim.lr``,
    ``stage2.lr``).
    """
    last = {field: field.removesuffix(".name").rpartition(".")[2] for field in fields}
    return {field: field if list(last.values()).count(name) > 1 else name for field, name in last.items()}


def format_value(value: Any) -> str:
    """A number to four digits; ``-`` for None."""
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
