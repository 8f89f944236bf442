"""Compare two sweeps, such as one that was killed and resumed with one that was never disturbed.

``python -m benchmarks.same_sweep RESULTS/KILLED RESULTS/UNDISTURBED`` reads the stored results of both: the parameters
of each trial, whether each run is stored once, and its outcome. ``--name`` records the table under benchmarks/results/.
Exit code 1 if they differ.
"""

import json
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

from benchmarks.record import record
from sweeper.search.space import Space
from sweeper.search.words import format_params
from sweeper.store.folder import Folder
from sweeper.store.store import Store
from sweeper.store.sweep_file import read_space
from trainer.command import Parser
from trainer.errors import exit_code

Row = dict[str, Any]
Key = tuple[int, str, int]
"""trial, world ("" without) and seed of a run"""


def read(folder: str) -> tuple[Space, list[Row]]:
    """The search space of a sweep, and a row for each of its runs."""
    path = Folder.at(folder)
    space = read_space(path)
    columns = ["trial", "world", "seed", "status", "params_json", space.spec.objective.metric, "device_s", "git_commit"]
    return space, Store(path.parent, space.name).read(columns).to_pylist()


def differences(space: Space, first: Sequence[Row], second: Sequence[Row]) -> list[str]:
    """What the two sweeps differ in, a line each; empty if they are the same."""
    metric = space.spec.objective.metric
    repeated = [("" if run.world is None else str(run.world), run.seed) for run in space.spec.repeated.runs]
    wanted = {(trial, *run) for trial in range(space.spec.trials) for run in repeated}
    found = []
    for name, rows in (("first", first), ("second", second)):
        times = Counter(map(_key, rows))
        found += [f"{name}: {_named(key)} is missing" for key in sorted(wanted - set(times))]
        found += [f"{name}: {_named(key)} is stored {n} times" for key, n in sorted(times.items()) if n > 1]
        found += [f"{name}: {_named(key)} is not part of the sweep" for key in sorted(set(times) - wanted)]
    params, other = ({row["trial"]: row["params_json"] for row in rows} for rows in (first, second))
    found += [f"trial {n}: different parameters" for n in sorted(params) if n in other and params[n] != other[n]]
    outcome, theirs = ({_key(row): (row["status"], row[metric]) for row in rows} for rows in (first, second))
    found += [
        f"{_named(key)}: {outcome[key]} and {theirs[key]}"
        for key in sorted(outcome)
        if key in theirs and outcome[key] != theirs[key]
    ]
    return found


def table(space: Space, first: Sequence[Row], second: Sequence[Row]) -> str:
    """Markdown, a row a run."""
    metric = space.spec.objective.metric
    theirs = {_key(row): row[metric] for row in second}
    worlds = bool(space.spec.repeated.worlds)
    first_columns = "trial | world | seed" if worlds else "trial | seed"
    lines = [f"| {first_columns} | parameters | status | {metric}, first | second |"]
    lines.append(f"|{'---|' * (6 + worlds)}")
    for row in sorted(first, key=_key):
        key = _key(row)
        params = format_params(json.loads(row["params_json"]))
        cells = [str(part) for part in key if part != ""]
        cells += [params, row["status"], _number(row[metric]), _number(theirs.get(key))]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _key(row: Row) -> Key:
    return row["trial"], row["world"] or "", row["seed"]


def _named(key: Key) -> str:
    trial, world, seed = key
    return f"trial {trial}, seed {seed}" if not world else f"trial {trial}, world {world}, seed {seed}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="python -m benchmarks.same_sweep", description="Compare two sweeps by run.")
    parser.add_argument("first", help="folder of a sweep, such as one that was killed and resumed")
    parser.add_argument("second", help="folder of the same sweep, undisturbed, below a different results folder")
    parser.add_argument("--name", help="record under benchmarks/results/NAME.json and .md")
    parser.add_argument("--note", default="", help="what was done to the first, for the record")
    arguments = parser.parse_args(argv)
    space, first = read(arguments.first)
    _, second = read(arguments.second)
    found = differences(space, first, second)
    say = found or [f"the same: {len(first)} runs of {space.spec.trials} trials, each once, equal to the last digit"]
    shown = table(space, first, second)
    print(shown, "", *say, sep="\n")
    if arguments.name:
        code = ", ".join(sorted({row["git_commit"] for row in first}))
        content = {"note": arguments.note, "differences": found, "first": first, "second": second}
        record(arguments.name, content, [arguments.note, f"Code {code}.", shown, "\n".join(say)])
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
