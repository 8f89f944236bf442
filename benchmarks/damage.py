"""Damage the files of a real results folder at random, read it with every command, and relaunch its sweep.

``python -m benchmarks.damage --damages 10000``: the folder has a sweep on digits that was promoted, then given more
trials and killed in the middle of one, so that it holds files of every kind. Each damage is done to a copy. What the
commands print must be what they print of the undamaged folder, unless a line names a damaged file; they end with
0 or 2 and never with a traceback. After one damage in fifty the sweep is launched again: it must end with every
configuration finished and with the results of the undamaged one. Exit code 1 if anything of this does not hold.
"""

import contextlib
import io
import math
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import yaml

from benchmarks import same_sweep, timing
from sweeper import query, replay, report, status, sweeps
from trainer.command import at_least
from trainer.errors import exit_code

SWEEP = "s"
SPACE: dict[str, Any] = {
    "base": str(Path(__file__).parents[1] / "runs" / "digits_lfs5.yaml"),
    "set": {"optim.epochs": 2, "optim.milestones": [1], "data.imbalance.max_per_class": 20},
    "vary": {"method.lambda": {"type": "float", "low": 0.05, "high": 5.0, "log": True}},
    "search": {"sampler": "RandomSampler", "seed": 1},
    "seeds": [0, 1],
    "resources": {"cpu": 1, "pack": 1},
    "concurrency": 1,
    "name": SWEEP,
}
_FIRST, _ALL = 3, 6
"""trials before the promotion, and in the end"""
_PATIENCE_S = 900
_ORPHANS_S = 10
"""how long the processes of a killed driver may go on writing"""
_AGO = re.compile(r"(\d+ (h|min|s) ?)+ago")

Draw = random.Random


# -- the damages ---------------------------------------------------------------------------------------


def flip_bits(file: Path, others: Sequence[Path], draw: Draw) -> Sequence[Path]:
    content = bytearray(file.read_bytes())
    for _ in range(draw.choice((1, 1, 1, 8)) if content else 0):
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    file.write_bytes(content)
    return [file]


def cut(file: Path, others: Sequence[Path], draw: Draw) -> Sequence[Path]:
    content = file.read_bytes()
    file.write_bytes(content[: draw.choice((0, draw.randrange(len(content) + 1)))])
    return [file]


def zero(file: Path, others: Sequence[Path], draw: Draw) -> Sequence[Path]:
    content = file.read_bytes()
    at, length = draw.randrange(len(content) + 1), draw.choice((1, 16, 512, len(content)))
    file.write_bytes(content[:at] + bytes(len(content[at : at + length])) + content[at + length :])
    return [file]


def append(file: Path, others: Sequence[Path], draw: Draw) -> Sequence[Path]:
    content = file.read_bytes()
    file.write_bytes(content + draw.choice((draw.randbytes(draw.randrange(1, 600)), b"\n", content)))
    return [file]


def duplicate(file: Path, others: Sequence[Path], draw: Draw) -> Sequence[Path]:
    """As a file manager, a sync tool or a slip of the hand names it."""
    names = [f"{file.stem} (1){file.suffix}", f"{file.name}.bak", f"{file.stem}.sync-conflict{file.suffix}"]
    number = re.match(r"\d+", file.name)
    if number:
        names.append(f"{int(number[0]) + draw.randrange(1, 9):06d}{file.name[number.end() :]}")
    copy = file.with_name(draw.choice(names))
    if copy.exists():
        return flip_bits(file, others, draw)
    shutil.copy(file, copy)
    return [copy]


def swap(file: Path, others: Sequence[Path], draw: Draw) -> Sequence[Path]:
    alike = [other for other in others if other != file and other.suffix == file.suffix]
    other = draw.choice(alike or [other for other in others if other != file])
    first, second = file.read_bytes(), other.read_bytes()
    file.write_bytes(second)
    other.write_bytes(first)
    return [file, other]


def delete(file: Path, others: Sequence[Path], draw: Draw) -> Sequence[Path]:
    file.unlink()
    return [file]


def forbid(file: Path, others: Sequence[Path], draw: Draw) -> Sequence[Path]:
    file.chmod(0)
    return [file]


def folder_instead(file: Path, others: Sequence[Path], draw: Draw) -> Sequence[Path]:
    file.unlink()
    file.mkdir()
    return [file]


DAMAGES: tuple[Callable[[Path, Sequence[Path], Draw], Sequence[Path]], ...] = (
    flip_bits, cut, zero, append, duplicate, swap, delete, forbid, folder_instead
)  # fmt: skip


# -- what is asked of the commands ---------------------------------------------------------------------


class Answer(NamedTuple):
    """What a command printed, ages left out, and its exit code."""

    code: int | None
    """None after a traceback, which is then in ``errors``"""
    output: str
    errors: str


TABLES = ("runs", "tasks", "epochs", "classes", "promotions", "seeds", "best", "sweeps")
# One query for all: most of what a query takes is its start. The order of sums is DuckDB's, so those are rounded.
EVERYTHING = " UNION ALL ".join(
    f"SELECT '{name}' AS name, to_json(row)::VARCHAR AS row FROM {table} AS row"
    for name, table in {
        **dict(zip(TABLES, TABLES, strict=True)),
        "ledger": "(SELECT sweep, round(COLUMNS(* EXCLUDE sweep), 6) FROM ledger)",
    }.items()
)
READERS: dict[str, tuple[Callable[[list[str]], int], tuple[str, ...]]] = {
    "query": (query.main, (f"{EVERYTHING} ORDER BY ALL", "--format", "csv")),
    "status": (status.main, ()),
    f"status {SWEEP}": (status.main, (SWEEP,)),
    "sweeps list": (sweeps.main, ("list",)),
    "replay": (replay.main, (SWEEP, "--pruning", "SuccessiveHalvingPruner:{min_resource: 1}")),
    "report": (report.main, (SWEEP, "--format", "svg")),
}
"""every command that only reads, and its arguments"""


def answers(results: Path, leave_out: Collection[str] = ()) -> dict[str, Answer]:
    """What every command says of a results folder, but for those to leave out."""
    where = ("--results", str(results))
    with contextlib.chdir(results.parent):  # where the figure goes
        return {n: _answer(main, [*words, *where]) for n, (main, words) in READERS.items() if n not in leave_out}


def _answer(main: Callable[[list[str]], int], words: list[str]) -> Answer:
    output, errors = io.TextIOWrapper(io.BytesIO(), write_through=True), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            code: int | None = exit_code(lambda: main(words))
        except Exception:
            code = None
            traceback.print_exc()
    text = output.buffer.getvalue().decode()  # type: ignore[attr-defined]
    return Answer(code, _ageless(text), _ageless(errors.getvalue()))


def _ageless(text: str) -> str:
    """Without ages, and without the blanks by which a table makes room for them."""
    return re.sub(" +", " ", _AGO.sub("", text))


def faults(before: Mapping[str, Answer], after: Mapping[str, Answer], damaged: Sequence[str]) -> list[str]:
    """What no command may do, a line each; ``damaged``: paths of the damaged files, within the results folder."""
    found = []
    for name, answer in after.items():
        named = any(path in line for path in damaged for line in (answer.output + answer.errors).splitlines())
        if answer.code not in (0, 2):
            last = (answer.errors.strip().splitlines() or [""])[-1]
            found.append(f"{name}: ended with {'a traceback' if answer.code is None else answer.code}: {last}")
        elif answer.code == 2 and (answer.errors.count("error: ") != 1 or not named):
            found.append(f"{name}: refused without naming the file: {answer.errors.strip()}")
        elif answer.output != before[name].output and not named:
            found.append(f"{name}: prints something else, and no line names the file")
    return found


# -- folders -------------------------------------------------------------------------------------------


Run = Callable[..., tuple[int, str]]
"""runs a command, given its name and its words; returns its exit code and what it prints"""


def in_a_process(command: str, *words: str) -> tuple[int, str]:
    """As users run it. What does not end is killed."""
    process = _start(command, *words)
    try:
        output, _ = process.communicate(timeout=_PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
        output += f"killed after {_PATIENCE_S} s"
    return process.returncode, output


def store_real_results(root: Path, run: Run = in_a_process) -> Path:
    """A results folder whose sweep was promoted and merged, then given more trials, and killed in the middle of one."""
    results, file = root / "results", root / "s.yaml"
    file.write_text(yaml.safe_dump(SPACE))
    where = ("--results", str(results))
    for command, *words in (
        ("launch", str(file), "--trials", str(_FIRST)),
        ("promote", SWEEP, "--runs", str(root / "runs"), "--top", "1", "--seeds", "2"),
        ("compact", SWEEP),
    ):
        code, output = run(command, *words, *where)
        if code and not (code == 1 and command == "promote" and "refused: " in output):
            raise RuntimeError(output)
    process = _start("launch", str(file), "--trials", str(_ALL), *where)
    sweep = results / SWEEP
    while not ((sweep / "runs" / f"{_FIRST:06d}.parquet").exists() and any(sweep.glob("checkpoints/*/*.pt"))):
        if process.poll() is not None:
            raise RuntimeError(process.communicate()[0])
        time.sleep(0.01)
    process.kill()
    process.communicate()
    time.sleep(_ORPHANS_S)
    return results


def damage(results: Path, draw: Draw) -> tuple[str, list[str]]:
    """Damage one of the files, small ones as often as large ones. Returns the kind and the paths of what is damaged."""
    files = sorted(path for path in results.rglob("*") if path.is_file())
    kind = draw.choice([kind for kind in DAMAGES if kind is not forbid or _obeys_permissions(results.parent)])
    # A record of a promotion that is gone leaves no trace: docs/guarantees.md does not promise one.
    victims = [file for file in files if kind not in (delete, folder_instead) or file.parent.name != "promotions"]
    suffix = draw.choice(sorted({file.suffix for file in victims}))
    touched = kind(draw.choice([file for file in victims if file.suffix == suffix]), files, draw)
    return kind.__name__, [str(path.relative_to(results)) for path in touched]


def _obeys_permissions(folder: Path) -> bool:
    """Whether a file can be forbidden to this process. Root reads it all the same, as long as it may."""
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        os.chmod(file.name, 0)
        return not os.access(file.name, os.R_OK)


def resume(results: Path, whole: Path, file: Path, damaged: Sequence[str], run: Run) -> list[str]:
    """Launch the sweep again; what keeps it from ending as the undamaged one, ``whole``, has ended.

    A launch may be refused in a line that names the damaged file: then that is replaced from a backup, ``whole``.
    """
    words = (str(file), "--trials", str(_ALL), "--results", str(results))
    code, output = run("launch", *words)
    if code == 2 and any(path in output for path in damaged):
        for path in damaged:
            _remove(results / path)
            if (whole / path).exists():
                shutil.copy(whole / path, results / path)
        code, output = run("launch", *words)
    if code or "Traceback" in output:
        return [f"launch: ended with {code}: {output[-500:]}"]
    (space, first), (_, second) = (same_sweep.read(str(folder / SWEEP)) for folder in (results, whole))
    return [f"launch: {line}" for line in same_sweep.differences(space, first, second)]


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _start(command: str, *words: str) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", f"sweeper.{command}", *words]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


# -- the trial -----------------------------------------------------------------------------------------


class Tried(NamedTuple):
    """One damage."""

    kind: str
    files: list[str]
    named: bool
    """whether a command has named a damaged file"""
    resumed: bool
    """whether the sweep was launched again"""
    faults: list[str]


def trials(
    results: Path, count: int, seed: int, *, resume_every: int, draw_every: int = 1, run: Run = in_a_process
) -> Iterator[Tried]:
    """Damage copies of a results folder ``count`` times, and read each with every command.

    One in ``resume_every`` is resumed, and compared with the undamaged folder, resumed. One in ``draw_every`` is drawn.
    """
    draw, before = random.Random(seed), answers(results)
    copy, whole = results.parent / "copy" / "results", results.parent / "whole" / "results"
    file = results.parent / "s.yaml"
    for number in range(1, count + 1):
        _remove(copy)
        shutil.copytree(results, copy)
        kind, files = damage(copy, draw)
        after = answers(copy, () if number % draw_every == 0 else ("report",))
        found = faults(before, after, files)
        named = any(path in answer.errors for path in files for answer in after.values())
        resumed = number % resume_every == 0
        if resumed:
            if not whole.exists():
                shutil.copytree(results, whole)
                run("launch", str(file), "--trials", str(_ALL), "--results", str(whole))
            found += resume(copy, whole, file, files, run)
        yield Tried(kind, files, named, resumed, found)


def main(argv: Sequence[str] | None = None) -> int:
    parser = timing.parser("damage", "Damage stored results at random, read and resume them.", run_file=False)
    parser.add_argument("--damages", type=at_least(1), default=10_000, help="default: %(default)s")
    parser.add_argument("--minutes", type=timing.minutes, default=math.inf, help="end sooner (default: no limit)")
    parser.add_argument("--seed", type=at_least(0), default=0, help="seed of the damages (default: %(default)s)")
    parser.add_argument("--resume-every", type=at_least(1), default=50, help="default: one damage in %(default)s")
    parser.add_argument(
        "--draw-every",
        type=at_least(1),
        default=10,
        help="draw the figure after one damage in %(default)s (default): it takes longer than all other commands",
    )
    arguments = parser.parse_args(argv)
    tried = []
    with tempfile.TemporaryDirectory() as folder:
        results = store_real_results(Path(folder))
        files = [path for path in results.rglob("*") if path.is_file()]
        deadline = time.monotonic() + 60 * arguments.minutes
        every = {"resume_every": arguments.resume_every, "draw_every": arguments.draw_every}
        for one in trials(results, arguments.damages, arguments.seed, **every):
            tried.append(one)
            for line in one.faults:
                print(f"{one.kind} {', '.join(one.files)}: {line}", flush=True)
            if time.monotonic() > deadline:
                break
    broken = [t for t in tried if t.faults]
    about = (
        f"{len(tried)} random damages to {len(files)} files of a killed sweep and its promotion, each read by every "
        f"command ({', '.join(READERS)}, the last after one in {arguments.draw_every}); after "
        f"{sum(t.resumed for t in tried)} of them the sweep was launched again. "
        f"Held: {len(tried) - len(broken)} of {len(tried)}. The first columns count the damages of a kind, the last "
        "ones those after which a command named a damaged file, the relaunches, and what did not hold. "
        f"Repeat: python -m benchmarks.damage --damages {len(tried)} --seed {arguments.seed} "
        f"--resume-every {arguments.resume_every} --draw-every {arguments.draw_every}."
    )
    content = {
        "damages": len(tried),
        "seed": arguments.seed,
        **every,
        "tried": Counter(f"{t.kind} {file_kind(t.files[0])}" for t in tried),
        "broken": [t._asdict() for t in broken],
    }
    names = sorted({t.kind for t in tried})
    headers = ("file", *(name.replace("_", " ") for name in names), *_COUNTS)
    timing.publish(arguments.name, [about], headers, _rows(tried, names), content)
    return 1 if broken else 0


_COUNTS: dict[str, Callable[[Tried], bool]] = {
    "a file named": lambda tried: tried.named,
    "launched again": lambda tried: tried.resumed,
    "a fault": lambda tried: bool(tried.faults),
}


def file_kind(path: str) -> str:
    """What a damaged file of a results folder is: ``checkpoints/*.pt`` for ``s/checkpoints/3f/000002-7a.pt``.

    A copy that ``duplicate`` has made is what it is a copy of.
    """
    original = PurePath(re.sub(r" \(1\)|\.sync-conflict|\.bak$", "", path))
    _, *below = original.parts
    return below[0] if len(below) == 1 else f"{below[0]}/*{original.suffix}"


def _rows(tried: Sequence[Tried], names: Sequence[str]) -> list[list[str]]:
    """How many of each damage there were to each kind of file, and what came of them; all in the last row."""
    by_file: dict[str, list[Tried]] = {}
    for one in tried:
        by_file.setdefault(file_kind(one.files[0]), []).append(one)
    return [
        [
            file,
            *(str(sum(one.kind == name for one in own)) for name in names),
            *(str(sum(map(count, own))) for count in _COUNTS.values()),
        ]
        for file, own in [*sorted(by_file.items()), ("all", list(tried))]
    ]


if __name__ == "__main__":
    sys.exit(exit_code(main))
