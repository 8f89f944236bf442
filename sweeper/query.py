"""SQL over results, read-only: ``python -m sweeper.query "SELECT ..." [--results DIR] [--sweep NAME]``."""

import argparse
import sys
from pathlib import Path

from sweeper.reporting.arguments import command_parser
from sweeper.reporting.imports import without_pandas
from sweeper.store import schema
from sweeper.store.folder import Folder
from trainer import tables
from trainer.command import program
from trainer.errors import exit_code

_HELP = """Query results with SQL (DuckDB's), read-only. The tables:

{tables}

What a run file calls method.lambda may be asked for by that name, or as method_lambda.

  {query} "FROM best"
  {query} "SELECT trial, method.lambda, acc_task_mean_pct FROM seeds ORDER BY 3 DESC LIMIT 5"
  {query} --columns seeds      its columns; docs/results_schema.md explains those of all tables
"""


def main(argv: list[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    if arguments.columns is not None:
        columns = {**schema.tables(), **schema.views()}[arguments.columns]
        rows = [(column.name, str(column.type), column.doc) for column in columns]
        tables.print_table(("column", "type", "meaning"), rows)
        return 0
    if not arguments.query:
        print(
            _HELP.format(
                query=program("sweeper.query"),
                tables="\n".join(f"  {name:<11} {about}" for name, about in schema.ABOUT.items()),
            ),
            end="",
        )
        return 0
    with without_pandas():
        from sweeper.store.results import QueryError, open_results  # noqa: PLC0415  (SQL is slow to import)

    if arguments.format == "parquet" and arguments.out is None and sys.stdout.isatty():
        raise QueryError("Parquet cannot be shown on a terminal; pass --out FILE")
    found = open_results(arguments.results, arguments.sweep).sql(" ".join(arguments.query)).arrow()
    if arguments.out is not None:
        Folder.at(arguments.out.parent).write(arguments.out.name, tables.as_bytes(found, arguments.format))
    elif arguments.format == "table":
        tables.print_table(found.column_names, tables.cells(found))
    else:
        sys.stdout.buffer.write(tables.as_bytes(found, arguments.format))
        sys.stdout.buffer.flush()
    return 0


def parser() -> argparse.ArgumentParser:
    """The arguments of this command."""
    made = command_parser("query", "Query results with SQL, read-only.")
    made.add_argument("query", nargs="*", help="one SELECT statement; without it, show what can be asked")
    made.add_argument("--columns", choices=schema.ABOUT, metavar="TABLE", help="list the columns of a table")
    made.add_argument("--sweep", metavar="NAME", help="restrict the query to one sweep")
    made.add_argument(
        "--format", choices=("table", "csv", "json", "parquet"), default="table", help="output format (default: table)"
    )
    made.add_argument("--json", action="store_const", const="json", dest="format", help="short for --format json")
    made.add_argument("--out", type=Path, metavar="FILE", help="write to a file instead of standard output")
    return made


if __name__ == "__main__":
    sys.exit(exit_code(main))
