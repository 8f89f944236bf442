"""A command prints whatever it has to say, also where the terminal or the file takes ASCII alone."""

import codecs
import io
import sys

_IN_ASCII = {"±": "+-", "×": "x", "…": "...", "–": "-", "—": "-", "≤": "<=", "≥": ">=", "→": "->", "█": "#", "░": "."}  # noqa: RUF001


def replace_what_they_lack() -> None:
    """From now on stdout and stderr print a look-alike, or a code such as ``\\u4e2d``, for what they cannot encode."""
    codecs.register_error("look-alike", _look_alike)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="look-alike")


def _look_alike(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    given = error.object[error.start : error.end]
    return "".join(_IN_ASCII.get(c, c.encode("ascii", "backslashreplace").decode()) for c in given), error.end
