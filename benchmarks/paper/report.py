"""Report of a table: printed, and written as Markdown, Parquet, PNG and SVG."""

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.paper import figures
from benchmarks.paper.layout import LEGEND, Entry, markdown, parquet_rows
from benchmarks.paper.measure import Measured
from benchmarks.paper.tables import Table
from trainer import tables
from trainer.errors import UserError
from trainer.files import atomic_write
from trainer.results.provenance import git_commit


@dataclass(frozen=True)
class Section:
    """The table of one data set, or of one search."""

    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Report:
    """Everything that is said of a table."""

    name: str
    """of the files"""
    table: Table
    departures: Sequence[str]
    """in which ways it is less than the paper's; said in the header"""
    command: str
    sections: Sequence[Section]
    notes: Sequence[str]
    entries: Sequence[Entry]
    stepwise: Sequence[Entry]

    @property
    def reduced(self) -> str:
        return f"REDUCED, not the paper's table: {'; '.join(self.departures)}" if self.departures else ""

    def show(self) -> None:
        """Print it."""
        print("\n".join(line for line in (f"\n{self.table.title}: {self.table.numbers}", self.reduced) if line))
        for section in self.sections:
            print(f"\n{section.title}")
            tables.print_table(section.headers, section.rows)
        print("\n" + "\n".join([*self.notes, LEGEND]), flush=True)

    def write(self, out: Path, measured: Sequence[Measured]) -> list[Path]:
        """Write all of its files to a folder; returns their paths. Raises UserError."""
        everything = [*self.entries, *self.stepwise]
        contents = {
            "md": self._markdown(measured).encode(),
            "parquet": tables.as_bytes(
                parquet_rows(self.name, everything, self.table.unit, self.departures), "parquet"
            ),
            **_images(figures.draw(self.table, self.entries, self.stepwise, self.reduced)),
        }
        files = []
        for kind, content in contents.items():
            file = out / f"{self.name}.{kind}"
            try:
                out.mkdir(parents=True, exist_ok=True)
                atomic_write(file, content)
            except OSError as error:
                raise UserError(f"{file}: cannot be written: {error.strerror}") from None
            files.append(file)
        return files

    def _markdown(self, measured: Sequence[Measured]) -> str:
        head = [f"# {self.table.title}", *([f"**{self.reduced}**"] if self.reduced else [])]
        numbers = self.table.numbers
        about = f"{numbers[0].upper()}{numbers[1:]}. On test images. {LEGEND}"
        blocks = [*head, about, f"`{self.command}`", _where(measured)]
        for section in self.sections:
            blocks += [f"## {section.title}", markdown(section.headers, section.rows).rstrip()]
        blocks += ["\n".join(f"- {note}" for note in self.notes)] if self.notes else []
        return "\n\n".join([*blocks, f"![{self.table.title}]({self.name}.png)"]) + "\n"


def _where(measured: Sequence[Measured]) -> str:
    """Machine, code and time, as the runs themselves say."""
    rows = [run for one in measured for run in one.runs]
    devices = ", ".join(sorted({f"{row.device} in {row.precision}" for row in rows})) or "nothing has run"
    commits = ", ".join(sorted({str(row.git_commit) for row in rows}))
    hours = sum((row.device_s or 0.0) + (row.saved_s or 0.0) for row in rows) / 3600
    torch = ", ".join(sorted({(row.versions or {})["torch"] for row in rows}))
    seeds = ", ".join(map(str, sorted({row.seed for row in rows})))
    at = datetime.now(UTC).isoformat(timespec="minutes")
    return (
        f"{len(rows)} runs, seeds {seeds}; {hours:.2f} device hours on {devices}; torch {torch}; "
        f"{os.cpu_count()} cores where this was written; commit {commits} of the runs, {git_commit()} of this; {at}."
    )


def _images(drawn: Figure) -> dict[str, bytes]:
    found = {}
    for kind in ("png", "svg"):
        buffer = io.BytesIO()
        drawn.savefig(buffer, format=kind, dpi=130)
        found[kind] = buffer.getvalue()
    return found
