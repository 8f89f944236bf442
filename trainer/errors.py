"""The tree of errors. A UserError is the caller's to mend and reads as one line."""

import contextlib
import difflib
import errno
import itertools
import reprlib
import signal
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Self

from trainer.signals import interruptible
from trainer.streams import replace_what_they_lack
from trainer.words import format_count


class Error(Exception):
    """Base of everything this project raises on purpose."""


class UserError(Error):
    """Something the user gave is wrong: a command prints it, a line for each mistake, and exits with 2."""

    def lines(self) -> list[str]:
        """What is wrong, a line for each mistake."""
        return [" ".join(str(self).split())]


class ConfigError(UserError):
    """A field of a run file, search-space file or command line is wrong, or several are: see ``mistakes``.

    Reads ``FILE: FIELD: PROBLEM; allowed: ...; did you mean '...'?``, a line for each mistake.
    """

    def __init__(
        self,
        problem: str,
        *,
        file: str | None = None,
        field: str | None = None,
        allowed: str | None = None,
        nearest: str | None = None,
    ) -> None:
        super().__init__(problem)  # the rest is pickled (between Ray processes) as attributes
        self.problem, self.file, self.field, self.allowed, self.nearest = problem, file, field, allowed, nearest
        self._others: tuple[ConfigError, ...] = ()

    @classmethod
    def unknown(cls, problem: str, name: object, known: Collection[str], **where: str | None) -> Self:
        """For a name that is none of the ``known``: it lists them, and the nearest."""
        return cls(problem, allowed=", ".join(known) or None, nearest=nearest(name, known), **where)

    @classmethod
    def together(cls, mistakes: Sequence["ConfigError"]) -> "ConfigError":
        """One error of all these mistakes, at least one; its own attributes are those of the first."""
        first, *others = [mistake for error in mistakes for mistake in error.mistakes]
        error = cls(first.problem, file=first.file, field=first.field, allowed=first.allowed, nearest=first.nearest)
        error._others = tuple(others)
        return error

    @property
    def mistakes(self) -> tuple["ConfigError", ...]:
        """Each of the mistakes as an error of its own."""
        if not self._others:
            return (self,)
        first = type(self)(self.problem, file=self.file, field=self.field, allowed=self.allowed, nearest=self.nearest)
        return (first, *self._others)

    def in_file(self, file: str | None) -> Self:
        """The same error, whose mistakes are all in this file."""
        self.file = file
        for other in self._others:
            other.file = file
        return self

    def lines(self) -> list[str]:
        shown, rest = self.mistakes[:_MISTAKES], len(self.mistakes) - _MISTAKES
        more = [f"... and {format_count(rest, 'more mistake')}"] if rest > 0 else []
        return [*(mistake.line() for mistake in shown), *more]

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def line(self) -> str:
        """The first mistake."""
        line = ": ".join(part for part in (self.file, self.field, self.problem) if part)
        if self.allowed:
            line += f"; allowed: {self.allowed}"
        if self.nearest:
            line += f"; did you mean {self.nearest!r}?"
        return " ".join(line.split())


class Mistakes:
    """Gathers what is wrong with one file, so that all of it is reported at once."""

    def __init__(self) -> None:
        self._found: list[ConfigError] = []

    def __bool__(self) -> bool:
        return bool(self._found)

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """A ConfigError raised within is noted, and what follows is checked too."""
        try:
            yield
        except ConfigError as error:
            self._found += error.mistakes

    def together(self) -> ConfigError:
        """All that was noted, at least one mistake, as one error."""
        return ConfigError.together(self._found)

    def report(self) -> None:
        """Raises ConfigError, with every mistake noted, if there is one."""
        if self._found:
            raise self.together()


class DataError(UserError):
    """A data set is missing, empty, corrupt, or does not contain what the run needs."""


class CheckpointError(UserError):
    """A checkpoint cannot be read, or belongs to another run."""


class TrainingStopped(Error):
    """Training ended early because its observer said so; what was trained is in its checkpoint, if it has one."""


class StoreError(UserError):
    """A results folder cannot be used: unwritable, newer schema, or leased by another driver."""


def shown(given: object) -> str:
    """A value as a few words, however large it is: aliases let a small file hold a huge one."""
    short = reprlib.Repr()
    short.maxlevel, short.maxstring, short.maxother = 3, 60, 60
    try:
        text = short.repr(given)
    except ValueError:  # an integer of more digits than Python prints
        text = f"a huge {type(given).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """The end of a message about a name that is none of the ``known``: the nearest one; empty if none is close."""
    near = nearest(name, known)
    return f"; did you mean {near!r}?" if near else ""


def nearest_path(path: Path) -> str:
    """``did_you_mean`` of a path that is missing: among what lies beside it."""
    return did_you_mean(path.name, [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else [])


def nearest(name: object, known: Iterable[str]) -> str | None:
    """The known name closest to ``name``, or what is called so elsewhere; None if none is close."""
    if not isinstance(name, str) or len(name) > 200:
        return None
    by_lower = {one.lower(): one for one in known}
    lower = name.lower()
    same = next((one for one in _ELSEWHERE.get(lower, ()) if one.partition(",")[0].lower() in by_lower), None)
    if same:
        return same
    close = difflib.get_close_matches(lower, list(by_lower), n=1)
    longer = (one for one in by_lower if len(lower) > 1 and one.startswith(lower))
    return next((by_lower[one] for one in itertools.chain(close, longer)), None)


_MISTAKES = 20
"""that are printed at most"""

_ELSEWHERE: dict[str, tuple[str, ...]] = {
    "asha": ("SuccessiveHalvingPruner",),
    "bayes": ("TPESampler",),
    "bayesian": ("TPESampler",),
    "choice": ("categorical",),
    "folder": ("image_folder",),
    "gpu": ("cuda",),
    "huggingface": ("parquet",),
    "learning_rate": ("lr",),
    "linear": ("float",),
    "log": ("float, log: true",),
    "loguniform": ("float, log: true",),
    "log_uniform": ("float, log: true",),
    "max": ("maximize", "high"),
    "min": ("minimize", "low"),
    "options": ("choices",),
    "qloguniform": ("int, log: true",),
    "quniform": ("float, step: ...",),
    "randint": ("int",),
    "range": ("float",),
    "uniform": ("float",),
    "values": ("choices",),
}
"""what other tools call something that is among our names"""

_TO_DO = {
    errno.ENOSPC: "free some space there",
    errno.EDQUOT: "free some space there",
    errno.EFBIG: "raise the limit on the size of a file",
    errno.EROFS: "use a folder on another disk",
    errno.EACCES: "change its permissions",
    errno.EPERM: "change its permissions",
    errno.EIO: "check the disk",
    errno.ESTALE: "mount the disk again",
    errno.EMFILE: "raise the limit on open files",
}


def os_reason(error: OSError) -> str:
    """What went wrong, on one line, and what to do about it where that is known."""
    lines = str(error.strerror or error).split("\n")
    to_do = _TO_DO.get(error.errno or 0)
    return lines[0].strip() + (f"; {to_do}" if to_do else "")


def exit_code(main: Callable[[], int | None]) -> int:
    """Run a command's main: a UserError, or a fault of the machine such as a full disk, becomes one line, exit code 2.

    Ctrl-C and SIGTERM become one line and exit codes 130 and 143.
    """
    replace_what_they_lack()
    with interruptible() as signals:
        try:
            return main() or 0
        except UserError as error:
            if not signals:
                print("".join(f"error: {line}\n" for line in error.lines()), end="", file=sys.stderr)
                return 2
        except BrokenPipeError:  # the reader of our output (head, less) went away
            return 0
        except OSError as error:
            if not signals:
                if error.errno not in _TO_DO:
                    raise
                print(f"error: {': '.join(filter(None, [error.filename, os_reason(error)]))}", file=sys.stderr)
                return 2
        except KeyboardInterrupt:
            pass
        except BaseException:
            if not signals:  # otherwise it is what a library has made of the interrupt
                raise
        print("stopped", file=sys.stderr)
        exec("")  # Python remembers an interrupt that has passed through exec, and would end itself by SIGINT
        return 128 + (signals or [signal.SIGINT])[0]
