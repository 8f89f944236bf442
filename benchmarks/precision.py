"""What bfloat16 costs in accuracy and saves in time: the same seeds in bfloat16 and in float32, paired.

``python -m benchmarks.precision --seeds 10`` trains a run file on the CPU, seed after seed, in both precisions. A run
that has ended is kept in ``--out`` and not trained again; one that was interrupted continues from its checkpoint.
"""

import argparse
import json
import shlex
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import timing
from benchmarks.record import record
from sweeper.promotion.statistics import Interval
from trainer.command import Parser, at_least
from trainer.config.files import load_run
from trainer.config.run_config import RunConfig
from trainer.errors import ConfigError, exit_code
from trainer.files import atomic_write
from trainer.results.provenance import git_commit
from trainer.results.spread import mean_std_over_seeds
from trainer.training.checkpoint import FileSlot
from trainer.training.options import DeviceOptions, cpu_bfloat16
from trainer.training.session import train

METRICS = ("acc_task_mean_pct", "last_acc_task_mean_pct", "forgetting_pct")
PRECISIONS = ("bfloat16", "float32")
_ALLOWED_PCT = 0.5
"""points of ACC by which the precisions may differ"""

Runs = Mapping[str, Sequence[Mapping[str, Any]]]
"""by precision, in the order of seeds; both have the same ones"""


def measure(config: RunConfig, precision: str, folder: Path) -> dict[str, Any]:
    """One run, from the folder if it has ended before."""
    name = f"{config.run_id}-{precision}"
    file = folder / f"{name}.json"
    if file.exists():
        found: dict[str, Any] = json.loads(file.read_text())
        return found
    slot = FileSlot(folder / f"{name}.checkpoint")
    (result,) = train([config], DeviceOptions(device="cpu", precision=precision), checkpoint=slot)
    if result.status != "finished":
        raise ConfigError(f"seed {config.seed} in {precision}: {result.status}: {result.error}")
    found = {
        "seed": config.seed,
        "precision": precision,
        "wall_s": sum(row.wall_s for row in result.tasks),
        "data_fingerprint": result.data_fingerprint,
        "commit": git_commit(),
        "torch_threads": torch.get_num_threads(),
        **{metric: getattr(result, metric) for metric in METRICS},
    }
    atomic_write(file, (json.dumps(found, indent=1) + "\n").encode())
    slot.path.unlink(missing_ok=True)
    return found


def report(runs: Runs) -> list[str]:
    """The table, and what it shows."""
    acc, minutes = METRICS[0], {name: [run["wall_s"] / 60 for run in runs[name]] for name in PRECISIONS}
    rows = [
        [
            name,
            *(mean_std_over_seeds([run[metric] for run in runs[name]]) for metric in METRICS),
            timing.median_and_range(minutes[name]),
            str(len(runs[name])),
        ]
        for name in PRECISIONS
    ]
    headers = ("precision", "ACC %", "after the last task %", "forgetting %", "minutes", "n")
    fast, plain = ([run[acc] for run in runs[name]] for name in PRECISIONS)
    difference = Interval.paired(fast, plain)
    ratio = statistics.median(b / a for a, b in zip(*(minutes[name] for name in PRECISIONS), strict=True))
    equal = "is" if difference.low > -_ALLOWED_PCT and difference.high < _ALLOWED_PCT else "is not"
    return [
        timing.markdown(headers, rows),
        f"ACC in bfloat16 minus float32, paired, with its 95 % interval: {difference}. "
        f"A difference of more than {_ALLOWED_PCT:g} points {equal} excluded. "
        f"float32 takes {ratio:.2f} times as long.",
    ]


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    config, folder = load_run(arguments.run, arguments.set).config, Path(arguments.out)
    folder.mkdir(parents=True, exist_ok=True)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in PRECISIONS}
    for seed in range(arguments.seeds):
        for precision in PRECISIONS:
            started = time.perf_counter()
            run = measure(config.model_copy(update={"seed": seed}), precision, folder)
            runs[precision].append(run)
            taken = time.perf_counter() - started
            print(f"seed {seed}, {precision}: ACC {run[METRICS[0]]:.2f} % ({taken / 60:.1f} minutes now)", flush=True)
        print("\n".join(report(runs)), flush=True)
    if arguments.name:
        given = sys.argv[1:] if argv is None else argv
        command = shlex.join(["python", "-m", "benchmarks.precision", *given])
        threads = ", ".join(sorted({str(run["torch_threads"]) for own in runs.values() for run in own}))
        about = (
            f"{', '.join([arguments.run, *arguments.set])}: {arguments.seeds} seeds; "
            f"CPU with {cpu_bfloat16() or 'no bfloat16'}, {threads} threads."
        )
        content = {"command": command, "config_id": config.config_id, "commit": git_commit(), "runs": runs}
        record(arguments.name, content, [about, f"`{command}`", *report(runs)])
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m benchmarks.precision", description="Compare bfloat16 with float32 on the CPU, seed by seed."
    )
    parser.add_argument("--run", default="runs/imagenet32_20_lfs5.yaml", help="run file (default: %(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="override a field of it")
    parser.add_argument(
        "--seeds", type=at_least(1), default=10, metavar="N", help="seeds 0 to N - 1 (default: %(default)s)"
    )
    parser.add_argument("--threads", type=at_least(1), help="CPU threads of torch (default: its own choice)")
    parser.add_argument("--out", default="out/precision", metavar="DIR", help="folder of runs (default: %(default)s)")
    parser.add_argument("--name", help="record under benchmarks/results/")
    return parser


if __name__ == "__main__":
    sys.exit(exit_code(main))
