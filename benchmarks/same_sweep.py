"""Is a sweep that was killed and launched again the one that an undisturbed launch gives?

``python -m benchmarks.same_sweep RESULTS/KILLED RESULTS/UNDISTURBED`` reads the stored results of both: which
configurations were asked, whether each is there once, and what each came to. With ``--name`` the table is recorded
under benchmarks/results/. Exit code 1 where they differ.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

from benchmarks.record import record
from sweeper.reporting.leaderboard import values
from sweeper.store.folder import Folder
from sweeper.store.store import Store
from sweeper.store.sweep_file import SweepFile
from trainer.errors import exit_code


def read(folder: str) -> tuple[SweepFile, dict[int, str], list[dict[str, Any]]]:
    """The sweep's file, the parameters asked by trial number, and its rows of table trials."""
    path = Folder.at(folder)
    sweep = SweepFile.read(path)
    store = Store(path.parent, sweep.name)
    asked = {row["trial"]: row["params_json"] for row in store.read("asks", ["trial", "params_json"]).to_pylist()}
    columns = ["trial", "seed", "status", sweep.objective["metric"], "device_s", "git_commit"]
    return sweep, asked, store.read("trials", columns).to_pylist()


def differences(sweep: SweepFile, asked: Sequence[dict[int, str]], rows: Sequence[list[dict[str, Any]]]) -> list[str]:
    """What keeps the two sweeps from being the same, a line each; empty where they are."""
    metric = str(sweep.objective["metric"])
    wanted = {(trial, seed) for trial in range(sweep.trials) for seed in sweep.seeds}
    found = []
    for name, own in zip(("first", "second"), rows, strict=True):
        times = Counter((row["trial"], row["seed"]) for row in own)
        found += [f"{name}: trial {t}, seed {s} is lost" for t, s in sorted(wanted - set(times))]
        found += [f"{name}: trial {t}, seed {s} is there {n} times" for (t, s), n in sorted(times.items()) if n > 1]
        found += [f"{name}: trial {t}, seed {s} was never to be" for t, s in sorted(set(times) - wanted)]
    found += [f"trial {n}: other parameters" for n in sorted(asked[0]) if asked[0][n] != asked[1].get(n)]
    ends = [{(row["trial"], row["seed"]): (row["status"], row[metric]) for row in own} for own in rows]
    found += [
        f"trial {k[0]}, seed {k[1]}: {ends[0][k]} and {ends[1][k]}"
        for k in sorted(ends[0])
        if k in ends[1] and ends[0][k] != ends[1][k]
    ]
    return found


def table(sweep: SweepFile, asked: dict[int, str], rows: Sequence[list[dict[str, Any]]]) -> str:
    """Markdown, a row a run."""
    metric = str(sweep.objective["metric"])
    second = {(row["trial"], row["seed"]): row[metric] for row in rows[1]}
    lines = [f"| trial | seed | asked | status | {metric}, first | second |", "|---|---|---|---|---|---|"]
    for row in sorted(rows[0], key=lambda r: (r["trial"], r["seed"])):
        key = row["trial"], row["seed"]
        cells = [*map(str, key), values(json.loads(asked[key[0]])), row["status"], _number(row[metric])]
        lines.append(f"| {' | '.join([*cells, _number(second.get(key))])} |")
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.same_sweep", description="Two sweeps, run by run.")
    parser.add_argument("first", help="folder of a sweep, such as one that was killed and launched again")
    parser.add_argument("second", help="folder of the same sweep undisturbed, in other results")
    parser.add_argument("--name", help="record under benchmarks/results/NAME.json and .md")
    parser.add_argument("--note", default="", help="what was done to the first, for the record")
    arguments = parser.parse_args(argv)
    sweep, asked_first, rows_first = read(arguments.first)
    _, asked_second, rows_second = read(arguments.second)
    asked, rows = (asked_first, asked_second), (rows_first, rows_second)
    found = differences(sweep, asked, rows)
    say = found or [
        f"the same: {len(rows[0])} runs of {sweep.trials} configurations, each once, equal to the last digit"
    ]
    shown = table(sweep, asked[0], rows)
    print(shown, "", *say, sep="\n")
    if arguments.name:
        code = ", ".join(sorted({row["git_commit"] for row in rows[0]}))
        content = {
            "note": arguments.note,
            "differences": found,
            "asked": {number: json.loads(params) for number, params in sorted(asked[0].items())},
            "first": rows[0],
            "second": rows[1],
        }
        record(arguments.name, content, [arguments.note, f"Code {code}.", shown, "\n".join(say)])
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
