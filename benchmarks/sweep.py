"""Time a whole search, by the service and in a plain loop: ``python -m benchmarks.sweep search_spaces/digits.yaml``.

The service shares the first task, trains packs of configurations with all their seeds, prunes, and runs as many trials
at a time as fit. The loop trains the same configurations one after another, seed by seed, each from its first task to
its last, with all of torch's threads. Both use a random sampler, so that they search the same points.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from benchmarks import timing
from sweeper.reporting.ledger import Ledger
from sweeper.search.space import Space
from sweeper.search.space_file import load_space
from sweeper.search.study import Study
from sweeper.store.results import open_results
from trainer.errors import exit_code
from trainer.results.provenance import device_name
from trainer.results.spread import format_mean_std, mean_std_over_seeds
from trainer.training.options import DeviceOptions
from trainer.training.session import train

SERVICE, LOOP = "the service", "one by one"


def main(argv: Sequence[str] | None = None) -> int:
    parser = timing.parser("sweep", "A whole search, by the service and by a loop.", run_file=False)
    parser.add_argument("space", help="a search-space file")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="override a field of it")
    parser.add_argument("--device", default="auto", help="device of the loop (default: auto)")
    arguments = parser.parse_args(argv)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "search.yaml"
        file.write_text(yaml.safe_dump(_random(arguments.space, arguments.set)))
        space = load_space(file)
        started = time.perf_counter()
        command = [sys.executable, "-m", "sweeper.launch", str(file), "--results", folder]
        subprocess.run(command, check=True)
        service_s = time.perf_counter() - started
        results = open_results(folder, space.name)
        (best,) = results.sql("SELECT trial, mean, std FROM best").rows()
        ledger = str(Ledger.of(results, space.name))
    started = time.perf_counter()
    looped = _loop(space, DeviceOptions(device=arguments.device))
    loop_s = time.perf_counter() - started
    mean, std, trial = max((statistics.fmean(v), statistics.stdev(v), n) for n, v in looped.items())
    rows = [
        [SERVICE, f"{service_s:.0f}", "1", str(best["trial"]), format_mean_std(best["mean"], best["std"])],
        [LOOP, f"{loop_s:.0f}", f"{loop_s / service_s:.2f}", str(trial), format_mean_std(mean, std)],
    ]
    spec, resources = space.spec, space.spec.resources
    about = (
        f"{arguments.space} {' '.join(arguments.set)}: {spec.trials} configurations x {spec.repeated}, packs "
        f"of {resources.pack}, {resources.cpu:g} CPU a trial; {device_name(DeviceOptions().resolve_device())}, "
        f"the loop with {torch.get_num_threads()} threads. One time each: the service's includes the start of its "
        "Ray cluster. "
        f"Its ledger: {ledger}. The best of the service's search has {mean_std_over_seeds(looped[best['trial']])} "
        "in the loop."
    )
    headers = ("search", "s", "times the service", "best trial", "its ACC %, validation")
    content: dict[str, Any] = {"service_s": service_s, "loop_s": loop_s, "best": best, "looped": looped}
    timing.publish(arguments.name, [about], headers, rows, content)
    return 0


def _random(space: str, sets: Sequence[str]) -> dict[str, Any]:
    """The file with a sampler that asks the same whatever it is told, and its base named in full."""
    spec = load_space(space, tuple(sets)).spec
    content = json.loads(spec.model_dump_json(exclude_none=True))
    base = Path(space).parent / spec.base
    return {
        **content,
        "base": str((base if base.exists() else Path(spec.base)).resolve()),
        "search": {"sampler": "RandomSampler"},
    }


def _loop(space: Space, options: DeviceOptions) -> dict[int, list[float]]:
    """The objective of every configuration, seed by seed."""
    study, found = Study(space), dict[int, list[float]]()
    while (suggestion := study.ask()) is not None:
        runs = [train([config], options)[0] for config in suggestion.configs]
        found[suggestion.number] = [getattr(r, space.spec.objective.metric) for r in runs]
        print(f"one by one: {len(found)} of {space.spec.trials}", flush=True)
    return found


if __name__ == "__main__":
    sys.exit(exit_code(main))
