"""The driver's side of steering: requests of people are looked for in the background, checked, noted and followed."""

import contextlib
import threading
from collections.abc import Iterator

from sweeper.execution.progress import Progress
from sweeper.search.by_hand import added, check_total
from sweeper.search.space import Space
from sweeper.search.study import Study
from sweeper.search.words import format_params
from sweeper.store.damage import Damage
from sweeper.store.steering import Entry, Request, Steered, Taken, answer, read_steering
from sweeper.store.stopped_file import write_stopped
from sweeper.store.store import Store
from trainer.errors import ConfigError, StoreError
from trainer.words import format_count

_LOOK_S, _LOOK_FAR_S = 2.0, 4.0
"""seconds between two looks: at a disk, and elsewhere, where each is a request that may cost money"""


class Steering:
    """The requests of one sweep, and what those that were taken add up to.

    A request is noted as taken before it is followed, so that a killed driver follows it once.
    """

    def __init__(self, space: Space, store: Store, resume_with: str) -> None:
        """``resume_with``: the command that resumes a paused sweep. Raises StoreError."""
        self._space, self._store, self.resume_with = space, store, resume_with
        self._damage = Damage()
        entries = read_steering(store.folder, self._damage)
        self.state = Steered.of(entries, space.spec.trials)
        self._known = {entry.number for entry in entries if entry.taken is not None}
        self._found = [entry for entry in entries if entry.taken is None]
        """those that are still to be taken; the background puts others here"""
        self._unwritten = bool(self.state.stopped)
        """whether workers are not told yet which trials were stopped"""

    def paused(self) -> bool:
        """Whether nothing is to be handed out."""
        return self.state.paused is not None

    def take(self, study: Study, progress: Progress) -> None:
        """Take what was found. Where the store fails, it is tried again the next time."""
        found, self._found = self._found, []
        for entry in found:
            if entry.number in self._known:
                continue
            try:
                self._take(entry, study, progress)
            except StoreError:
                self._found.append(entry)
        with contextlib.suppress(StoreError):
            if self._unwritten:
                write_stopped(self._store.folder, self.state.stopped)
                self._unwritten = False

    def _take(self, entry: Entry, study: Study, progress: Progress) -> None:
        request = entry.request
        refused, stated = self._refusal(request, study), self._space.spec.trials
        trial = study.next_number if request.action == "add" and refused is None else None
        taken = Taken(stated, trial, refused)
        answer(self._store.folder, entry.number, taken)
        self._known.add(entry.number)
        self.state.apply(request, taken)
        said = refused if refused else self._follow(request, study)
        progress.say(f"steering {entry.number} by {request.by}: {said}")
        progress.steer(study.trials, self.state.paused)

    def _refusal(self, request: Request, study: Study) -> str | None:
        """Why a request cannot be followed: the sweep has changed since it was made."""
        try:
            if request.action == "add":
                added(self._space, request.params)
            elif request.action == "trials" and request.number is not None:
                check_total(self._space, request.number, study.handed_out)
        except ConfigError as error:
            return f"refused: {' '.join(error.lines())}"
        if request.action == "stop" and (
            request.number in self._store.trials() or request.number not in self._store.suggested()
        ):
            return f"refused: trial {request.number} is not in training"
        return None

    def _follow(self, request: Request, study: Study) -> str:
        """Do what was asked. Returns what to say of it."""
        match request.action:
            case "add":
                number = study.next_number
                study.add(request.params)
                return f"added {format_params(request.params)}: trial {number}"
            case "stop":
                self._unwritten = True
                return f"trial {request.number} stops after its task"
            case "trials":
                before, study.trials = study.trials, self.state.trials
                return f"{format_count(study.trials, 'configuration')} instead of {before}"
            case "pause":
                return f"paused: no trial is started; to resume: {self.resume_with}"
            case "resume":
                return "resumed"
            case _:
                return " ".join(request.text.split())

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Look for requests in the background, so that a store which does not answer delays nothing."""
        ended = threading.Event()
        folder = self._store.folder
        every_s = _LOOK_S if folder.local else _LOOK_FAR_S

        def watch() -> None:
            while not ended.wait(every_s):
                with contextlib.suppress(StoreError):
                    entries = read_steering(folder, self._damage, self._known.copy())
                    self._found = [entry for entry in entries if entry.taken is None]

        thread = threading.Thread(target=watch, name="steering", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(every_s)  # Python may end a thread badly that waits for a store while the process ends

    def late(self) -> int:
        """How many requests came too late for this launch. Raises StoreError."""
        return len([e for e in read_steering(self._store.folder, self._damage, self._known) if e.taken is None])
