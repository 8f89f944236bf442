"""``python -m benchmarks.landscape digits``: grow the table of a data set, or replay searches on it.

Growing can be stopped at any time and goes on from the file. ``--replays 200`` trains nothing.
"""

import contextlib
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks import timing
from benchmarks.landscape.grid import Grid
from benchmarks.landscape.grow import grow, path_of, recorded, wanted
from benchmarks.landscape.replay import PRUNERS, SAMPLERS, mean_and_interval, replay
from benchmarks.landscape.table import Landscape
from trainer.command import at_least
from trainer.errors import UserError, exit_code
from trainer.training.options import DeviceOptions

COSTS = (8, 16, 32)
"""budgets of a search, in whole trainings"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = timing.parser("landscape", "Grow a table of hyperparameters, or replay searches on it.", run_file=False)
    parser.add_argument("grid", help="name of a grid: digits, imagenet32_20")
    parser.add_argument(
        "--minutes", type=timing.minutes, default=math.inf, help="train for so long (default: to the end)"
    )
    parser.add_argument(
        "--members", type=at_least(1), default=32, help="most runs trained together (default: %(default)s)"
    )
    parser.add_argument("--precision", default="float32", help="arithmetic of the networks (default: %(default)s)")
    parser.add_argument("--file", type=Path, help="table (default: benchmarks/results/landscape_GRID.parquet)")
    parser.add_argument("--replays", type=at_least(1), help="replay so many searches of each kind instead")
    arguments = parser.parse_args(argv)
    grid = Grid.load(arguments.grid)
    file = arguments.file or path_of(grid.name)
    if arguments.replays:
        return _compare(grid, file, arguments.replays, arguments.name)
    torch.set_num_threads(arguments.threads or 1)  # the networks are small, and members many
    left = grow(
        grid,
        file,
        minutes=arguments.minutes,
        members=arguments.members,
        options=DeviceOptions(precision=arguments.precision),
    )
    print(f"table: {file}, {'complete' if not left else f'{left} runs are missing'}")
    return 0


def _compare(grid: Grid, file: Path, replays: int, name: str | None) -> int:
    """Print, and record, the regret of every sampler without a pruner, and of the default one with every pruner."""
    lands = _complete(grid, file)
    ways = [(sampler, "none") for sampler in SAMPLERS]
    ways += [("TPE, multivariate", pruner) for pruner in PRUNERS if PRUNERS[pruner]]
    rows, content = [], []
    for sampler, pruner in ways:
        settings = {"search": SAMPLERS[sampler], "pruning": PRUNERS[pruner]}
        found = [
            replay(grid, land, settings, seed=seed, budget=max(COSTS)) for land in lands for seed in range(replays)
        ]
        at = {cost: mean_and_interval(np.array([one.at(cost) for one in found])) for cost in COSTS}
        rows.append([sampler, pruner, *(f"{mean:.2f} [{low:.2f}, {high:.2f}]" for mean, low, high in at.values())])
        content.append({"sampler": sampler, "pruner": pruner, "regret_pct": at})
        print(" ".join(rows[-1]), flush=True)
    systems = ", ".join(f"{land.system} ({land.points} points, {len(land.repetitions)} repetitions)" for land in lands)
    about = (
        f"{replays} replayed searches on each of {systems}. Regret: points of ACC on test images that the incumbent,"
        " the configuration with the best ACC on validation images so far, lacks to the best point of the grid, both "
        "means over all repetitions; a search is told a single repetition. Mean over systems and searches with its 95 "
        f"% interval, once the cost of {', '.join(map(str, COSTS))} whole trainings was spent. "
        f"Repeat: python -m benchmarks.landscape {grid.name} --replays {replays}."
    )
    headers = ("sampler", "pruner", *(f"after {cost}" for cost in COSTS))
    timing.publish(name, [about], headers, rows, {"replays": replays, "found": content})
    return 0


def _complete(grid: Grid, file: Path) -> list[Landscape]:
    """The systems of which at least one repetition is whole. Raises UserError if there is none."""
    found, recorded_systems = [], {row["system"] for row in recorded(grid, file, wanted(grid))}
    for system in grid.content.systems:
        if system not in recorded_systems:
            continue
        with contextlib.suppress(KeyError):
            found.append(Landscape.load(file, system))
    if not found:
        raise UserError(f"{file}: no repetition of any system is complete; python -m benchmarks.landscape {grid.name}")
    return found


if __name__ == "__main__":
    sys.exit(exit_code(main))
