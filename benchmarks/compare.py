"""Run files side by side on the same seeds: ``python -m benchmarks.compare A.yaml B.yaml --seeds 100,101,102``.

Prints a table with mean, spread and n, and the paired difference of every run to the first with its 95 %
interval; with ``--name`` records all of it under benchmarks/results/ as JSON and Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from scipy import stats

from trainer.checkpoint import atomic_write
from trainer.errors import ConfigError, exit_code
from trainer.precision import Options
from trainer.provenance import device_name, git_commit, versions
from trainer.run import run
from trainer.runfile import load_run

RESULTS = Path(__file__).parent / "results"
METRICS = ("acc_task_mean_pct", "last_acc_task_mean_pct", "forgetting_pct")


def measure(label: str, file: str, sets: Sequence[str], seeds: Sequence[int], options: Options) -> dict[str, Any]:
    """All seeds of one run file, trained together."""
    config = load_run(file, sets).config
    started = time.perf_counter()
    results = run([config.model_copy(update={"seed": seed}) for seed in seeds], options)
    if any(r.status != "finished" for r in results):
        raise ConfigError("a run diverged: nothing to compare", file=file)
    return {
        "label": label,
        "file": Path(file).name,
        "sets": list(sets),
        "config_id": config.config_id,
        "wall_s": time.perf_counter() - started,
        "data_fingerprint": results[0].row["data_fingerprint"],
        **{metric: [r.row[metric] for r in results] for metric in METRICS},
    }


def paired(first: Sequence[float], second: Sequence[float]) -> tuple[float, float, float]:
    """Mean of ``first - second`` over seeds and its 95 % t interval."""
    gaps = [a - b for a, b in zip(first, second, strict=True)]
    mean = statistics.fmean(gaps)
    if len(gaps) < 2:
        return mean, float("-inf"), float("inf")
    half = float(stats.t.ppf(0.975, len(gaps) - 1)) * statistics.stdev(gaps) / len(gaps) ** 0.5
    return mean, mean - half, mean + half


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown, a row a run file."""
    lines = [
        "| run | ACC % | after the last task % | forgetting % | n | first minus this, 95 % interval |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [_spread(row[metric]) for metric in METRICS]
        gap = "-"
        if row is not rows[0]:
            mean, low, high = paired(rows[0][METRICS[0]], row[METRICS[0]])
            gap = f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]"
        lines.append(f"| {row['label']} | {' | '.join(cells)} | {len(row[METRICS[0]])} | {gap} |")
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> str:
    mean = statistics.fmean(values)
    return f"{mean:.2f}" if len(values) < 2 else f"{mean:.2f} ± {statistics.stdev(values):.2f}"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description="Run files on the same seeds.")
    parser.add_argument("runs", nargs="+", help="LABEL=FILE or FILE, with ',FIELD=VALUE' behind it to override a field")
    parser.add_argument("--seeds", default="100,101,102,103,104", help="default: 100,101,102,103,104")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="for every run")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--name", help="record under benchmarks/results/NAME.json and .md")
    arguments = parser.parse_args(argv)
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    options = Options(device=arguments.device)
    rows = []
    for item in arguments.runs:
        head, *sets = item.split(",")
        label, _, file = head.rpartition("=")
        row = measure(label or Path(file).stem, file, [*arguments.set, *sets], seeds, options)
        rows.append(row)
        print(f"{row['label']}: ACC {_spread(row[METRICS[0]])} % (n = {len(seeds)}, {row['wall_s']:.0f} s)", flush=True)
    print("\n" + table(rows))
    if arguments.name:
        record = {
            "seeds": seeds,
            "commit": git_commit(),
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "device": device_name(options.resolve_device()),
            "cores": os.cpu_count(),
            "torch_threads": torch.get_num_threads(),
            "versions": versions(),
            "runs": rows,
        }
        RESULTS.mkdir(exist_ok=True)
        atomic_write(RESULTS / f"{arguments.name}.json", json.dumps(record, indent=1).encode())
        about = (
            f"Seeds {arguments.seeds}; commit {record['commit']}; {record['at']}; {record['device']}, "
            f"{record['cores']} cores, torch {record['versions']['torch']}.\n"
            f"\n{' '.join(['python -m benchmarks.compare', *map(repr, arguments.runs)])}"
            f" --seeds {arguments.seeds}{''.join(f' --set {s}' for s in arguments.set)}\n"
        )
        atomic_write(RESULTS / f"{arguments.name}.md", f"{about}\n{table(rows)}\n".encode())
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
