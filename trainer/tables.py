"""Tables as text for people, and as CSV, JSON and Parquet for programs."""

import csv
import io
import json
import math
import shutil
import sys
import textwrap
from collections.abc import Sequence
from datetime import date
from typing import Any

import pyarrow as pa

_SHOWN_ROWS = 1000
_LATEX = {letter: rf"\{letter}" for letter in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}
NULL = "-"
"""how a table for people shows a value that is not there"""


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print what fits a terminal: a drawn table, aligned columns, or records. Elsewhere always aligned columns."""
    shown, hidden = rows[:_SHOWN_ROWS], len(rows) - _SHOWN_ROWS
    width = shutil.get_terminal_size().columns
    if not sys.stdout.isatty():
        print(plain_text(headers, shown), end="")
    elif sum(_widths(headers, shown)) + 3 * len(headers) + 1 <= width:
        from rich.console import Console  # noqa: PLC0415  (slow to import)
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        drawn = Table()
        for header in headers:
            drawn.add_column(Text(header))
        for row in shown:
            drawn.add_row(*map(Text, row))
        Console().print(drawn)
    elif sum(_widths(headers, shown)) + 2 * (len(headers) - 1) <= width:
        print(plain_text(headers, shown), end="")
    else:
        print(records_text(headers, shown, width), end="")
    if hidden > 0:
        print(f"... and {hidden} more rows; --format csv shows all")


def print_line(text: str) -> None:
    """Print a line, which is wrapped between words where a terminal is narrower."""
    width = shutil.get_terminal_size().columns
    if sys.stdout.isatty() and len(text) > width:
        text = textwrap.fill(text, width, subsequent_indent="  ", break_on_hyphens=False)
    print(text)


def plain_text(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns: a header and one line per row."""
    lines, widths = [tuple(headers), *map(tuple, rows)], _widths(headers, rows)
    return "".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() + "\n" for line in lines)


def records_text(headers: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> str:
    """A line per field, for rows that are wider than ``width`` characters; fields without a value are left out.

    Values are wrapped between words where that is possible.
    """
    lines, empty = list[str](), 0
    for number, row in enumerate(rows, start=1):
        fields = [(name, cell) for name, cell in zip(headers, row, strict=True) if cell not in ("", NULL)]
        empty += len(row) - len(fields)
        margin = 4 + max((len(name) for name, _ in fields), default=0)
        lines.append(f"row {number} of {len(rows)}")
        for name, cell in fields:
            start = f"  {name.ljust(margin - 4)}  "
            wrapped = textwrap.wrap(cell, max(width - margin, 16), break_on_hyphens=False) or [cell]
            lines += [f"{start}{wrapped[0]}", *(" " * margin + more for more in wrapped[1:])]
    if empty:
        lines.append("(fields without a value are left out)")
    return "".join(f"{line}\n" for line in lines)


def _widths(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(len(line[i]) for line in (headers, *rows)) for i in range(len(headers))]


def latex(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A ``tabular`` with the rules of the package booktabs."""
    lines = [" & ".join(map(_in_latex, line)) + r" \\" for line in (headers, *rows)]
    begin, end = rf"\begin{{tabular}}{{{'l' * len(headers)}}}", r"\end{tabular}"
    return "\n".join([begin, r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule", end]) + "\n"


def _in_latex(text: str) -> str:
    found = "".join(_LATEX.get(letter, letter) for letter in text)
    return found.replace("±", r"$\pm$")


def cells(table: pa.Table) -> list[list[str]]:
    """The rows for people: floats to six digits, null as a dash."""
    return [[_cell(value) for value in row.values()] for row in _records(table)]


def as_bytes(table: pa.Table, form: str) -> bytes:
    """The table as ``table`` (plain text), ``csv``, ``json`` (a list of objects) or ``parquet``."""
    if form == "parquet":
        import pyarrow.parquet as pq  # noqa: PLC0415  (slow to import)

        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        return sink.getvalue().to_pybytes()
    if form == "json":
        return (json.dumps(_records(table), indent=1) + "\n").encode()
    if form == "csv":
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(table.column_names)
        writer.writerows([_exact(value) for value in row.values()] for row in _records(table))
        return text.getvalue().encode()
    return plain_text(table.column_names, cells(table)).encode()


def _records(table: pa.Table) -> list[dict[str, Any]]:
    # Names may repeat in SQL, keys may not.
    names = [
        name if table.column_names.count(name) == 1 else f"{name}_{i}" for i, name in enumerate(table.column_names)
    ]
    rows = table.rename_columns(names).to_pylist(maps_as_pydicts="lossy")
    return [{name: _plain_value(value) for name, value in row.items()} for row in rows]


def _plain_value(value: Any) -> Any:
    """The value as JSON can hold it; NaN and infinities become null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _plain_value(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain_value(inner) for inner in value]
    if isinstance(value, date):  # datetime is a date
        return value.isoformat()
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def _cell(value: Any) -> str:
    return NULL if value is None else f"{value:.6g}" if isinstance(value, float) else _exact(value)


def _exact(value: Any) -> str:
    if value is None:
        return ""
    return json.dumps(value) if isinstance(value, (dict, list, bool)) else str(value)
