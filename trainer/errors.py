"""The tree of errors. A UserError is the caller's to mend and reads as one line."""

import difflib
import errno
import reprlib
import signal
import sys
from collections.abc import Callable, Collection, Iterable
from typing import Self

from trainer.signals import interruptible
from trainer.streams import replace_what_they_lack


class Error(Exception):
    """Base of everything this project raises on purpose."""


class UserError(Error):
    """Something the user gave is wrong: a command prints it as one line and exits with 2."""


class ConfigError(UserError):
    """A field of a run file, search-space file or command line is wrong.

    Reads ``FILE: FIELD: PROBLEM; allowed: ...; did you mean '...'?``
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

    @classmethod
    def unknown(cls, problem: str, name: object, known: Collection[str], **where: str | None) -> Self:
        """For a name that is none of the ``known``: it lists them, and the nearest."""
        return cls(problem, allowed=", ".join(known) or None, nearest=nearest(name, known), **where)

    def __str__(self) -> str:
        line = ": ".join(part for part in (self.file, self.field, self.problem) if part)
        if self.allowed:
            line += f"; allowed: {self.allowed}"
        if self.nearest:
            line += f"; did you mean {self.nearest!r}?"
        return " ".join(line.split())


class DataError(UserError):
    """A data set is missing, empty, corrupt, or does not contain what the run needs."""


class CheckpointError(UserError):
    """A checkpoint cannot be read, or belongs to another run."""


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


def nearest(name: object, known: Iterable[str]) -> str | None:
    """The known name closest to ``name``, or None if none is close."""
    if not isinstance(name, str) or len(name) > 200:
        return None
    return next(iter(difflib.get_close_matches(name, list(known), n=1)), None)


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
                print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
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
        return 128 + (signals or [signal.SIGINT])[0]
