"""What people write in SQL where a column is meant: fields as run files name them, and names of sweeps."""

import re
from collections.abc import Collection

import duckdb

from sweeper.store import schema
from trainer.errors import did_you_mean

_NOT_FOUND = re.compile(r'column "([^"]+)" not found')
_NO_SECTION = re.compile(r'Referenced table "([^"]+)" not found')
_NO_TABLE = re.compile(r"Table with name (\S+) does not exist")
_TEXT = (duckdb.token_type.string_const, duckdb.token_type.comment)


def with_columns(query: str, columns: Collection[str]) -> str:
    """The query with columns for fields: ``method_lambda`` for ``method.lambda``, in quotes or without.

    ``columns``: those of configurations.
    """
    sections = "|".join(sorted({name.partition("_")[0] for name in columns}))
    field = re.compile(rf'"([^"]+)"|(?<![\w.])((?:{sections})(?:\.\w+)+)(?![\w.(])')

    def column(match: re.Match[str]) -> str:
        name = (match[1] or match[2]).replace(".", "_")
        return name if "." in match[0] and name in columns else match[0]

    found, end = "", 0
    for match in field.finditer(_without_text(query)):
        found += query[end : match.start()] + column(match)
        end = match.end()
    return found + query[end:]


def explained(message: str, query: str, columns: Collection[str], sweeps: Collection[str]) -> str:
    """DuckDB's message about a query, with what may have been meant: ``columns`` of configurations, ``sweeps``."""
    said = message.partition("\n\nLINE ")[0]
    missing = _NO_TABLE.search(said)
    if missing is not None:
        return _no_table(missing[1], sweeps)
    section = _NO_SECTION.search(said)
    if section is not None:
        fields = [name.replace("_", ".", 1) for name in columns if name.startswith(f"{section[1]}_")]
        for field in re.findall(rf"{section[1]}\.\w+", _without_text(query)) if fields else ():
            return f"no such field: {field}{did_you_mean(field, fields)}"
    absent = _NOT_FOUND.search(said)
    if absent is not None:
        meant = _columns_called(absent[1], columns)
        return f"{said}; {absent[1]} is the column {meant}" if meant else said
    if "Parser Error" in said and re.search(r"\blambda\b", _without_text(query), re.IGNORECASE):
        return f"{said}; lambda is a keyword of DuckDB: write {_columns_called('lambda', columns)}"
    return said


def _no_table(name: str, sweeps: Collection[str]) -> str:
    known = list(schema.ABOUT)
    if name in sweeps:
        return f"{name} is a sweep, not a table: FROM seeds WHERE sweep = '{name}'"
    return f"no such table: {name}; allowed: {', '.join(known)}{did_you_mean(name, known)}"


def _columns_called(field: str, columns: Collection[str]) -> str:
    """The columns of the fields of this name, for people; of one that many end with, none is meant."""
    found = sorted((name for name in columns if name.endswith(f"_{field}")), key=len)
    return " or ".join(found) if len(found) < 3 else ""


def _without_text(query: str) -> str:
    """The query with blanks for its strings and comments, as long as it is."""
    encoded, end, found = query.encode(), len(query.encode()), ""
    for start, kind in reversed(duckdb.tokenize(query)):
        text = encoded[start:end].decode()
        found, end = (" " * len(text) if kind in _TEXT else text) + found, start
    return encoded[:end].decode() + found
