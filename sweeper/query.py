"""SQL over results, read-only: ``python -m sweeper.query "SELECT ..." [--results DIR] [--sweep NAME]``."""

import sys
from pathlib import Path

from sweeper.reporting import tables
from sweeper.reporting.arguments import command_parser
from sweeper.store import schema
from sweeper.store.folder import Folder
from sweeper.store.results import QueryError, open_results
from trainer.errors import exit_code


def main(argv: list[str] | None = None) -> int:
    parser = command_parser("query", "Query results with SQL, read-only.")
    parser.add_argument("query", nargs="?", help="one SELECT statement; without it, list the tables and their columns")
    parser.add_argument("--sweep", metavar="NAME", help="restrict the query to one sweep")
    parser.add_argument(
        "--format", choices=("table", "csv", "json", "parquet"), default="table", help="output format (default: table)"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write to a file instead of standard output")
    arguments = parser.parse_args(argv)
    if arguments.query is None:
        for name, columns in {**schema.tables(), **schema.views()}.items():
            print(f"{name}: {', '.join(column.name for column in columns)}")
        return 0
    if arguments.format == "parquet" and arguments.out is None and sys.stdout.isatty():
        raise QueryError("Parquet cannot be shown on a terminal; pass --out FILE")
    found = open_results(arguments.results, arguments.sweep).sql(arguments.query).arrow()
    if arguments.out is not None:
        Folder.at(arguments.out.parent).write(arguments.out.name, tables.as_bytes(found, arguments.format))
    elif arguments.format == "table":
        tables.print_table(found.column_names, tables.cells(found))
    else:
        sys.stdout.buffer.write(tables.as_bytes(found, arguments.format))
        sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
