"""Notice trials whose files were deleted: a driver notes each before it starts, and counts those that it has stored."""

import itertools

from sweeper.store.damage import Damage
from sweeper.store.folder import Folder
from sweeper.store.segments import Segments, consecutive
from sweeper.store.status_file import Status
from sweeper.store.suggested_file import read_suggested


def report_missing(segments: Segments, damage: Damage) -> None:
    """Name the files of trials that have ended, by what the driver noted, and are not among the segments."""
    sweep = segments.folder.parent
    missing = _missing(segments, sweep, damage)
    if missing:  # unless they ended after the segments were listed
        missing &= _missing(Segments(sweep, damage), sweep, damage)
    for lost in consecutive(missing):
        damage.skipped(f"{segments.folder}/{lost.file}", "it is missing; the next launch trains its trials again")


def _missing(segments: Segments, sweep: Folder, damage: Damage) -> set[int]:
    status, unfinished = Status.read(sweep, damage), read_suggested(sweep, damage)
    if unfinished is None:
        return set()
    stored = {trial for found in segments.ranges for trial in range(found.first, found.last + 1)}
    end = max(stored, default=-1) + 1
    lost = set(range(end)) - stored - unfinished.keys()
    counted = min(status.done, status.total) - status.failed if status else 0  # failed ones may be tried again
    later = (number for number in itertools.count(end) if number not in unfinished)
    return lost | set(itertools.islice(later, max(0, counted - len(stored | lost))))
