"""The pages of the documentation, taken apart: their text, code blocks, links and commands."""

import re
import runpy
import shlex
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).parents[2]
_FOLDERS = (("docs", "*.md"), ("docs", "*.ipynb"), ("benchmarks", "README.md"))
PAGES = ["README.md", *(path.relative_to(ROOT).as_posix() for f, p in _FOLDERS for path in sorted((ROOT / f).glob(p)))]
"""all pages that people read, by their paths in the repository"""

_FENCE = re.compile(r"^ *```(\w*)$")
_NOTEBOOK = runpy.run_path(str(ROOT / "docs" / "site_files.py"))["markdown"]
_BETWEEN_COMMANDS = {";", "&&", "||", "&", "|"}
_ASSIGNMENT = re.compile(r"\w+=")


class Block(NamedTuple):
    """A fenced block of code."""

    page: str
    line: int
    """of its opening fence, from 1"""
    language: str
    text: str

    @property
    def place(self) -> str:
        """Where an editor finds it."""
        return f"{self.page}:{self.line}"


def markdown(page: str) -> str:
    """The text of a page; of a notebook with its code as blocks."""
    path = ROOT / page
    return str(_NOTEBOOK(path)) if path.suffix == ".ipynb" else path.read_text()


def blocks(page: str, *languages: str) -> Iterator[Block]:
    """The fenced blocks of a page, in these languages if any are given."""
    opened: Block | None = None
    for number, line in enumerate(markdown(page).splitlines(), start=1):
        fence = _FENCE.match(line)
        if fence and opened is None:
            opened = Block(page, number, fence[1], "")
        elif opened is not None and not fence:
            opened = opened._replace(text=f"{opened.text}{line}\n")
        elif opened is not None:
            if not languages or opened.language in languages:
                yield opened
            opened = None
    assert opened is None, f"{opened.place}: never closed"


def prose(page: str) -> str:
    """The text of a page without its fenced blocks."""
    return re.sub(r"^ *```.*?^ *```$", "", markdown(page), flags=re.DOTALL | re.MULTILINE)


def commands(text: str) -> Iterator[list[str]]:
    """The commands of a block of shell, as words: without comments, redirections and variables that are set for them.

    What ``ray job submit`` runs is a command of its own.
    """
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line.strip(), posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        for between, words in groupby(lexer, lambda word: word in _BETWEEN_COMMANDS):
            command = list(words)
            while command and _ASSIGNMENT.match(command[0]):
                del command[0]
            if between or not command:
                continue
            command = command[: command.index(">")] if ">" in command else command
            while "--" in command:
                yield command[: command.index("--")]
                command = command[command.index("--") + 1 :]
            yield command


def anchors(page: str) -> set[str]:
    """What a link may name after ``#``: the headings, as their addresses."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    plain = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    return {re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", text.lower()).strip()) for text in plain}


def links(page: str) -> list[str]:
    """The targets of all links and pictures of a page that lead to no other host."""
    return [target for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)) if "://" not in target]


def navigation() -> list[str]:
    """The pages of the site, in the order in which it lists them."""

    def within(entry: Any) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        return [page for part in (entry.values() if isinstance(entry, dict) else entry) for page in within(part)]

    return within(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])


def named(block: Block) -> str | None:
    """The file that a block of YAML shows, as its first line says."""
    first = re.match(r"# (\w+/\w+\.yaml)\n", block.text)
    return first[1] if first else None


MADE_BY_THE_READER = {
    *(name for page in PAGES for block in blocks(page, "yaml") if (name := named(block))),
    *("runs/digits.yaml", "runs/photos.yaml", "runs/tutorial.yaml"),  # by promotions
    *("trainer/methods/weighted_replay.py", "tests/golden/weighted_replay.json", "search_spaces/weighted_replay.yaml"),
}
"""files that the pages name and that are not in the repository"""
