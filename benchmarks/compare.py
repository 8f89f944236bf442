"""Compare run files on the same seeds: ``python -m benchmarks.compare A.yaml B.yaml --seeds 100,101,102``.

Prints mean, sample standard deviation over seeds, n, and the paired difference between the first run and each of the
others with its 95 % interval. ``--name`` records all of it under benchmarks/results/ as JSON and Markdown. The first
lines state which fields differ from the protocol.
"""

import argparse
import shlex
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch

from benchmarks.record import record
from sweeper.promotion.statistics import Interval, check_comparable, decide
from sweeper.search.words import format_value
from trainer.command import Parser
from trainer.config.files import load_run
from trainer.config.run_config import RunConfig
from trainer.errors import ConfigError, exit_code
from trainer.results.provenance import device_name, git_commit
from trainer.results.spread import mean_std_over_seeds
from trainer.training.options import DeviceOptions
from trainer.training.session import train

METRICS = ("acc_task_mean_pct", "last_acc_task_mean_pct", "forgetting_pct")
ACC = METRICS[0]


@dataclass(frozen=True)
class Entry:
    """A run file with what is overridden in it."""

    label: str
    file: str
    sets: tuple[str, ...]
    config: RunConfig = field(repr=False)

    @classmethod
    def parse(cls, text: str, sets: Sequence[str]) -> Self:
        """Of ``LABEL=FILE,FIELD=VALUE,...``; ``sets`` go before its own."""
        head, *own = text.split(",")
        label, _, file = head.rpartition("=")
        every = (*sets, *own)
        return cls(label or Path(file).stem, file, every, load_run(file, every).config)


def changes(config: RunConfig, protocol: RunConfig) -> dict[str, tuple[Any, Any]]:
    """Fields outside the method in which ``config`` is not the ``protocol``: its value, and the protocol's."""
    ours, theirs = dict(_flat(config.as_dict())), dict(_flat(protocol.as_dict()))
    apart = {name for name in ours if ours[name] != theirs.get(name)}
    return {n: (ours[n], theirs.get(n)) for n in ours if n in apart and not n.startswith(("method.", "data.path"))}


def _flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in content.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif prefix:  # the seed is no part of a protocol
            yield f"{prefix}{name}", value


def measure(entry: Entry, seeds: Sequence[int], options: DeviceOptions) -> dict[str, Any]:
    """All seeds of one run file, trained together."""
    started = time.perf_counter()
    results = train([entry.config.model_copy(update={"seed": seed}) for seed in seeds], options)
    if any(r.status != "finished" for r in results):
        raise ConfigError("a run diverged: nothing to compare", file=entry.file)
    return {
        "label": entry.label,
        "file": Path(entry.file).name,
        "sets": list(entry.sets),
        "config_id": entry.config.config_id,
        "wall_s": time.perf_counter() - started,
        "data_fingerprint": results[0].data_fingerprint,
        **{metric: [getattr(r, metric) for r in results] for metric in METRICS},
    }


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown, a row a run file."""
    lines = [
        f"| run | ACC % | after the last task % | forgetting % | n | {rows[0]['label']} minus this, 95 % interval |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [mean_std_over_seeds(row[metric]) for metric in METRICS]
        gap = "-" if row is rows[0] else str(Interval.paired(rows[0][ACC], row[ACC]))
        lines.append(f"| {row['label']} | {' | '.join(cells)} | {len(row[ACC])} | {gap} |")
    return "\n".join(lines)


def verdicts(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the table shows about the first run: one line for each of the others."""
    return [f"- {rows[0]['label']}: {_verdict(rows[0][ACC], row[ACC], row['label'])}." for row in rows[1:]]


def _verdict(mine: Sequence[float], theirs: Sequence[float], baseline: str) -> str:
    difference = Interval.paired(mine, theirs)
    reason = decide(difference, maximize=True, incumbent=baseline).reason
    if len(mine) < 2:
        return reason
    larger = max(statistics.stdev(mine), statistics.stdev(theirs))
    word = "more" if abs(difference.mean) > larger else "not more"
    return f"{reason}; {word} than the larger spread of the two, {larger:.2f}"


def header(entries: Sequence[Entry], protocol: str | None) -> list[str]:
    """A line for each run that differs from the full protocol, or one line if all differ in the same way."""
    found: dict[str, list[str]] = {}
    for entry in entries:
        apart = changes(entry.config, load_run(protocol or entry.file).config)
        if apart:
            text = ", ".join(f"{n} {_shown(ours)} (full: {_shown(theirs)})" for n, (ours, theirs) in apart.items())
            tuned = all(name.startswith("optim.") and name != "optim.epochs" for name in apart)
            what = (
                "Another optimiser{}, the rest as in the protocol" if tuned else "REDUCED RUN{}, not the full protocol"
            )
            found.setdefault(f"{what}: {text}.", []).append(entry.label)
    return [
        text.replace("{}", "" if len(labels) == len(entries) else f" ({', '.join(labels)})", 1)
        for text, labels in found.items()
    ]


def _shown(value: Any) -> str:
    return "null" if value is None else format_value(value)


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    seeds = _seeds(arguments.seeds)
    entries = [Entry.parse(text, arguments.set) for text in arguments.runs]
    for entry in entries[1:]:
        check_comparable(entries[0].config, entry.config, file=entry.file, other=entries[0].label)
    head = header(entries, arguments.protocol)
    options = DeviceOptions(device=arguments.device)
    print("\n".join(head), flush=True)
    rows: list[dict[str, Any]] = []
    for entry in entries:
        row = measure(entry, seeds, options)
        if rows and row["data_fingerprint"] != rows[0]["data_fingerprint"]:
            raise ConfigError(f"its images are not those of {entries[0].label}", file=entry.file, field="data.path")
        rows.append(row)
        print(
            f"{row['label']}: ACC {mean_std_over_seeds(row[ACC])} % (n = {len(seeds)}, {row['wall_s']:.0f} s)",
            flush=True,
        )
    report = "\n".join([table(rows), "", *verdicts(rows)])
    print(f"\n{report}")
    if arguments.name:
        given = sys.argv[1:] if argv is None else argv
        command = shlex.join(["python", "-m", "benchmarks.compare", *given])
        _record(arguments.name, {"reduced": head, "command": command, "seeds": seeds, "runs": rows}, report, options)
    return 0


def _record(name: str, content: Mapping[str, Any], report: str, options: DeviceOptions) -> None:
    device = device_name(options.resolve_device())
    found = {**content, "commit": git_commit(), "device": device, "torch_threads": torch.get_num_threads()}
    about = (
        f"Seeds {', '.join(map(str, found['seeds']))}; commit {found['commit']}; {device}, "
        f"{found['torch_threads']} threads. ± is the standard deviation over seeds; differences are paired by seed."
    )
    record(name, found, ["\n".join(found["reduced"]), about, f"`{found['command']}`", report])


def _seeds(text: str) -> list[int]:
    try:
        seeds = [int(seed) for seed in text.split(",")]
    except ValueError:
        raise ConfigError(f"{text!r} is no list of seeds like 100,101,102", field="--seeds") from None
    if len(set(seeds)) < len(seeds):
        raise ConfigError("a seed given twice is no further evidence", field="--seeds")
    return seeds


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m benchmarks.compare", description="Compare run files on the same seeds.")
    parser.add_argument("runs", nargs="+", help="LABEL=FILE or FILE, with ',FIELD=VALUE' behind it to override a field")
    parser.add_argument(
        "--seeds", default="100,101,102,103,104", help="comma-separated seeds (default: 100,101,102,103,104)"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help="override a field of every run"
    )
    parser.add_argument(
        "--protocol", metavar="RUN.yaml", help="run file of the full protocol (default: the file of each run)"
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--name", help="record under benchmarks/results/NAME.json and .md")
    return parser


if __name__ == "__main__":
    sys.exit(exit_code(main))
