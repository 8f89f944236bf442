"""What a part has found so far: written after every result, so that nothing is lost when the time is up."""

import contextlib
import gc
import json
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import timing
from trainer.files import atomic_write


class Findings:
    """A table that grows, with what was left out, what failed and what went wrong."""

    def __init__(self, file: Path, about: Mapping[str, Any], ends_at: float) -> None:
        """``file``: where it is written; ``about``: what every part records; ``ends_at``: by the monotonic clock."""
        self._file, self._about, self._ends_at = file, about, ends_at
        self._began = time.monotonic()
        self.headers: Sequence[str] = ()
        self.rows: list[dict[str, Any]] = []
        """each with ``shown``, its cells as people read them, and its values for programs"""
        self.notes: list[str] = []
        self.left_out: list[str] = []
        self.failed: list[str] = []
        """checks that do not hold"""
        self.errors: list[str] = []

    @property
    def left_s(self) -> float:
        """Seconds that the part may still take."""
        return self._ends_at - time.monotonic()

    def fits(self, what: str, seconds: float) -> bool:
        """Whether there is time left for something; what does not fit is written down as left out."""
        if seconds <= self.left_s:
            return True
        self.left_out.append(f"{what}: needs about {seconds:.0f} s, {max(0, self.left_s):.0f} s were left")
        self.write()
        return False

    def add(self, shown: Sequence[str], **values: Any) -> None:
        """Another row, written at once."""
        self.rows.append({"shown": list(shown), **values})
        print("  " + " | ".join(shown), flush=True)
        self.write()

    def check(self, holds: bool, what: str) -> str:
        """``yes``, or ``NO`` for a check that does not hold, which ``what`` names."""
        if not holds:
            self.failed.append(what)
        return "yes" if holds else "NO"

    @contextlib.contextmanager
    def guarded(self, what: str) -> Iterator[None]:
        """Within: an error is written down, and the next measurement begins."""
        try:
            yield
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            line = " ".join(str(error).split())[:500]
            self.errors.append(f"{what}: {type(error).__name__} at {Path(where.filename).name}:{where.lineno}: {line}")
            print(f"  {self.errors[-1]}", flush=True)
            self.write()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    @property
    def content(self) -> dict[str, Any]:
        """All of it, as the file has it."""
        lists = {name: getattr(self, name) for name in ("rows", "notes", "left_out", "failed", "errors")}
        return {**self._about, "took_s": time.monotonic() - self._began, "headers": list(self.headers), **lists}

    def write(self) -> None:
        """Write the file anew."""
        atomic_write(self._file, (json.dumps(self.content, indent=1) + "\n").encode())


def described(file: Path) -> str:
    """A part's file as Markdown. One that is damaged, by an earlier measurement's end or by hand, is named."""
    try:
        content = json.loads(file.read_text())
        return _described(content)
    except (ValueError, KeyError, TypeError):
        return f"## {file.stem}\n\nError: {file.name} is damaged."


def _described(content: Mapping[str, Any]) -> str:
    parts = [f"## {content['title']}"]
    if content["rows"]:
        parts.append(timing.markdown(content["headers"], [row["shown"] for row in content["rows"]]))
    elif not content["errors"]:
        parts.append("Not begun.")
    for name, words in (("failed", "Does not hold"), ("errors", "Error"), ("left_out", "Left out")):
        parts += [f"{words}: {line}." for line in content[name]]
    return "\n\n".join([*parts, *content["notes"]])
