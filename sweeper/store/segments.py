"""Which files of a sweep count, and their rows: every run once, whatever is damaged or being merged.

``000017.parquet`` holds trial 17, ``000000-000031.parquet`` the trials of that range. A file counts unless a readable
one with a wider range contains it.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pyarrow.fs import LocalFileSystem

from sweeper.store.damage import Damage
from sweeper.store.folder import Folder
from trainer.errors import StoreError
from trainer.results.parquet import DamagedFile, ResultsFile

LARGEST = 256
"""trials of the largest merged file"""
_LISTINGS = 50
_SWEEP = pa.schema([("sweep", pa.string())])
_TRIAL = pa.schema([("trial", pa.int64())])
_NAME = re.compile(r"(\d{6,})(?:-(\d{6,}))?\.parquet")


class Range(NamedTuple):
    """The trials that a file may hold."""

    first: int
    last: int

    @classmethod
    def of(cls, file: str) -> Self | None:
        """The range that a file's name states; None for a name that is not one of ours."""
        found = _NAME.fullmatch(file)
        if found is None:
            return None
        parsed = cls(int(found[1]), int(found[2] or found[1]))
        return parsed if parsed.first <= parsed.last and parsed.file == file else None

    @property
    def file(self) -> str:
        """The file's name."""
        return f"{self.first:06d}.parquet" if self.first == self.last else f"{self.first:06d}-{self.last:06d}.parquet"

    def __contains__(self, inner: object) -> bool:
        """Whether another range lies within this one."""
        return isinstance(inner, Range) and self.first <= inner.first and inner.last <= self.last

    def overlaps(self, other: "Range") -> bool:
        """Whether a trial may be in both ranges."""
        return self.first <= other.last and other.first <= self.last


def consecutive(trials: Iterable[int]) -> list[Range]:
    """Trials that follow one another, as the widest files that may hold them: within blocks of ``LARGEST``."""
    found: list[Range] = []
    for trial in sorted(trials):
        if found and found[-1].last + 1 == trial and trial % LARGEST:
            found[-1] = found[-1]._replace(last=trial)
        else:
            found.append(Range(trial, trial))
    return found


class Segments:
    """The files of one sweep's runs at one moment; each is opened when it is first needed."""

    def __init__(self, sweep: Folder, damage: Damage) -> None:
        self.folder, self.sweep = sweep.child("runs"), sweep.name
        self._damage = damage
        self._open: dict[Range, ResultsFile] = {}
        self._names: dict[Range, str | None] = {}
        self._own: dict[Range, bool] = {}
        self.ranges = self._listed()
        """of all files, those that do not count too, in the order of trials, a wider one first"""

    def live(self, columns: Iterable[str] = (), only: Sequence[Range] | None = None) -> dict[Range, ResultsFile]:
        """The files that count for these columns, each opened and undamaged in them, ordered by trial.

        ``only``: those that may hold a trial of these ranges. Raises StoreError for another schema version.
        """
        wanted = set(columns)
        for _ in range(_LISTINGS):
            try:
                return self._opened(wanted, only)
            except FileNotFoundError:  # merged and deleted since it was listed: its rows are in a new file
                self.ranges = self._listed()
        raise StoreError(f"{self.folder}: its files changed {_LISTINGS} times while they were read")

    def tables(
        self,
        columns: pa.Schema,
        detail: str | None = None,
        only: Sequence[Range] | None = None,
        *,
        as_stored: bool = False,
    ) -> Iterator[pa.Table]:
        """The rows that count, a table a file. ``only``: of files that may hold a trial of these ranges.

        They name the sweep by its folder; ``as_stored``: as they name it themselves.
        """
        # The content says which sweep and trial a row is of: a file under another's name is noticed.
        read = columns if "trial" in columns.names else columns.append(pa.field("trial", pa.int64()))
        files = self.live([*read.names, *([detail] if detail else [])], only)
        born = self.born_as(files)
        for where, file in files.items():
            if self._names[where] != born:
                self._skip(where, f"its rows are of sweep {self._names[where]}, those of the other files of {born}")
                continue
            table = file.read(read, detail)
            trial = table["trial"]
            within = pc.and_(pc.greater_equal(trial, where.first), pc.less_equal(trial, where.last))
            own = pc.fill_null(within, True)
            if not pc.all(own, min_count=0).as_py():
                self._skip(where, "it holds rows of other trials than its name says")
                table = table.filter(own)
            if "sweep" in table.column_names and not as_stored:  # a copied or renamed folder is known by its own name
                place = table.column_names.index("sweep")
                table = table.set_column(place, columns.field("sweep"), pa.repeat(self.sweep, len(table)))
            yield table.select(columns.names)

    def born_as(self, files: Iterable[Range]) -> str | None:
        """The sweep that the rows of most of these live files name: the folder's name when it was new."""
        for where in files:
            if where not in self._names:
                self._names[where] = self._open[where].read(_SWEEP)["sweep"][0].as_py()
        counted = Counter(self._names[where] for where in files)
        return max(counted, key=lambda name: (counted[name], name == self.sweep), default=None)

    def _listed(self) -> list[Range]:
        # A listing is no snapshot: it can miss a merged file that appears meanwhile, and the files which that one
        # replaced. The next listing then shows a range that this one did not: of two that agree, the first is whole.
        names = self.folder.names()
        for _ in range(_LISTINGS):
            again = self.folder.names()
            if [n for n in again if "-" in n] == [n for n in names if "-" in n]:
                break
            names = again
        ranges = {name: Range.of(name) for name in names}
        for name, found in ranges.items():
            if found is None:
                self._damage.skipped(f"{self.folder}/{name}", "not the name of a file of runs")
        return sorted((r for r in ranges.values() if r is not None), key=lambda r: (r.first, -r.last))

    def _opened(self, columns: set[str], only: Sequence[Range] | None) -> dict[Range, ResultsFile]:
        found: dict[Range, ResultsFile] = {}
        last: Range | None = None
        for wanted in self.ranges:
            asked = only is None or any(map(wanted.overlaps, only))
            # In their order, a range that contains this one is the last that counts.
            if not asked or (last is not None and wanted in last):
                continue
            if last is not None and wanted.overlaps(last):
                self._skip(wanted, f"its range overlaps {last.file}")
                continue
            try:
                if wanted not in self._open:
                    self._open[wanted] = ResultsFile(self.folder.read_buffer(wanted.file))
                if "run_id" not in self._open[wanted].schema.names:
                    raise DamagedFile("not a file of runs")
                self._open[wanted].check(columns)
                if wanted.first < wanted.last:  # it hides others, which must not be those of other trials
                    self._check_trials(wanted)
            except DamagedFile as error:
                self._skip(wanted, error)
            except StoreError as error:
                raise StoreError(f"{self.folder}/{wanted.file}: {error}") from error
            else:
                found[wanted], last = self._open[wanted], wanted
        return found

    def _check_trials(self, where: Range) -> None:
        """Raises DamagedFile for a file that holds rows of other trials than its name says."""
        if where not in self._own:
            self._open[where].check({"trial"})
            trials = pc.min_max(self._open[where].read(_TRIAL)["trial"]).as_py()
            stated = None not in trials.values()
            self._own[where] = stated and where.first <= trials["min"] <= trials["max"] <= where.last
        if not self._own[where]:
            raise DamagedFile("it holds rows of other trials than its name says")

    def _skip(self, where: Range, reason: object) -> None:
        self._damage.skipped(f"{self.folder}/{where.file}", reason)


class Rows(ds.InMemoryDataset):
    """The rows of sweeps as a pyarrow dataset that reads only the columns that are wanted.

    To pyarrow an empty one: all that reads it, DuckDB too, goes through ``scanner``, which is told the columns.
    """

    def __init__(self, sweeps: Sequence[Segments], columns: pa.Schema, detail: str | None = None) -> None:
        """``columns`` of the table; ``detail``: tasks, epochs or classes, or None for a row a run."""
        super().__init__(columns.empty_table())
        self._sweeps, self._columns, self._detail = sweeps, columns, detail

    def scanner(self, columns: Any = None, filter: ds.Expression | None = None, **options: Any) -> ds.Scanner:
        """As that of any dataset: ``columns`` are names, or expressions by name (default: all columns)."""
        wanted = self._columns
        if columns is not None:
            words = set(re.findall(r"\w+", f"{columns} {filter}"))
            wanted = pa.schema([field for field in wanted if field.name in words] or [wanted.field(0)])
        batches = (
            batch
            for sweep in self._sweeps
            for t in sweep.tables(wanted, self._detail, self._only(sweep, filter))
            for batch in t.to_batches()
        )
        return ds.Scanner.from_batches(batches, schema=wanted, columns=columns, filter=filter, **options)

    def _only(self, sweep: Segments, filter: ds.Expression | None) -> list[Range] | None:
        """The files of a sweep that may hold rows which the filter lets through; None: all.

        Runs are read of all files, so that every query names those that are damaged. Tasks, epochs and classes are a
        hundred times as many, and a query often wants those of a few trials. A run outside a sweep has no trial.
        """
        if self._detail is None or filter is None or "is_null" in str(filter):
            return None
        format, trial, name = ds.ParquetFileFormat(), ds.field("trial"), ds.field("sweep")
        files = []
        for where in sweep.ranges:
            holds = (trial >= where.first) & (trial <= where.last) & (name == sweep.sweep)
            files.append(format.make_fragment(where.file, LocalFileSystem(), partition_expression=holds))
        stated = ds.FileSystemDataset(files, self._columns, format)  # of what the names say: no file is opened
        return [found for file in stated.get_fragments(filter) if (found := Range.of(file.path)) is not None]
