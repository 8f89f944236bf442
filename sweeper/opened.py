"""A stored sweep in Python: ``open_sweep("digits").best()``. It does what the commands do, by the same code."""

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sweeper.promotion.answer import Promotion
from sweeper.reporting.state import SweepStatus
from sweeper.store.folder import Folder
from sweeper.store.results import Answer, open_results
from sweeper.store.schema import BestRow
from sweeper.store.sweeps import find_sweep
from trainer.signals import STOPPING


class OpenedSweep:
    """A sweep in a results folder, running or not. Each method reads the files as they are when it is called.

    Methods raise UserError, whose text is one line, where a command would print it.
    """

    def __init__(self, folder: Folder) -> None:
        """``folder`` of the sweep."""
        self._folder = folder

    @property
    def name(self) -> str:
        """Name of the sweep."""
        return self._folder.name

    def status(self) -> SweepStatus:
        """How it stands, as ``sweeper.status SWEEP --json`` prints it."""
        return SweepStatus.of(self.name, self._folder)

    def sql(self, query: str, **parameters: Any) -> Answer:
        """The answer to one SELECT over the tables of this sweep, as ``sweeper.query --sweep`` gives it.

        ``parameters``: values of ``$name`` in the query.
        """
        return open_results(self._folder.parent, self.name).sql(query, **parameters)

    def best(self) -> BestRow | None:
        """The best configuration by the objective, of those whose seeds all finished; None if there is none."""
        return next((BestRow(**row) for row in self.sql("FROM best").rows()), None)

    def runs(self) -> Answer:
        """All runs that are stored, a row each, ordered by trial and seed."""
        return self.sql("FROM runs ORDER BY trial, seed")

    def report(self, out: str | Path = "out", formats: Sequence[str] = ("png", "svg")) -> list[str]:
        """Draw the sweep into the folder ``out``, as ``sweeper.report`` does. Returns the files.

        ``formats``: some of png, svg, pdf, tex and html.
        """
        from sweeper.report import draw_report  # noqa: PLC0415  (matplotlib is slow to import)

        return list(draw_report([self._folder], str(out), formats))

    def promote(
        self,
        *,
        name: str | None = None,
        runs: str | Path = "runs",
        top: int = 3,
        seeds: int | None = None,
        worlds: int | None = None,
        force: bool = False,
        address: str | None = None,
        on: str | Path | None = None,
        point: str | int | None = None,
    ) -> Promotion:
        """Train the best few on fresh seeds and write the run file if the evidence is there, as ``sweeper.promote``
        does, and print what is done. Returns the decision.

        ``name`` of the run file (default: the sweep's), in the folder ``runs``; ``top`` candidates with ``seeds`` fresh
        seeds each, in ``worlds`` fresh worlds (defaults: as ``sweeper.promote``); ``force`` writes the file without
        evidence; ``address`` of a Ray cluster (default: $RAY_ADDRESS, otherwise one is started); ``on``: a run file of
        another data set to test on; ``point``: ``best``, ``balanced`` or ``cheapest`` of the front, or a trial, instead
        of the ``top``. Only in the main thread, as it handles Ctrl-C: then it raises KeyboardInterrupt,
        and another call resumes.
        """
        from sweeper.promoter import Choices, PromotionStopped, decide  # noqa: PLC0415  (imports torch and Ray)

        before = {number: signal.getsignal(number) for number in STOPPING}
        try:
            return decide(
                self._folder,
                Choices(
                    name=name,
                    runs=str(runs),
                    top=top,
                    seeds=seeds,
                    worlds=worlds,
                    force=force,
                    address=address,
                    point=None if point is None else str(point),
                    on=None if on is None else str(on),
                ),
            )
        except PromotionStopped as stopped:
            raise KeyboardInterrupt(str(stopped)) from None
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def __repr__(self) -> str:
        return f"open_sweep({self.name!r}, results={str(self._folder.parent)!r})"


def open_sweep(name: str, results: str | Path | None = None) -> OpenedSweep:
    """Open a stored sweep. ``results``: its folder or URI (default: $CIL_RESULTS, otherwise ./results).

    Raises StoreError, with the nearest name, if there is no such sweep.
    """
    return OpenedSweep(find_sweep(os.environ.get("CIL_RESULTS", "results") if results is None else results, name))
