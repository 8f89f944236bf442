"""Check and measure this trainer on a GPU in a given time: ``python -m benchmarks.gpu --minutes 9 --out DIR``.

It needs torch, numpy, pillow, pydantic, PyYAML, PyArrow and a checkout: no Ray, no Optuna, no DuckDB. Every part writes
DIR/PART.json after each of its results, and DIR/summary.md shows what there is so far: what has been measured is kept
when the time is up, whatever happens. A part, or a measurement, that would take longer than what is left is left out.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks import timing
from benchmarks.gpu import images
from benchmarks.gpu.correctness import correctness, methods
from benchmarks.gpu.findings import Findings, described
from benchmarks.gpu.graphs import graphs
from benchmarks.gpu.kit import Kit
from benchmarks.gpu.members import members
from benchmarks.gpu.precisions import precisions
from benchmarks.gpu.runs import pack, pack_in_float32, run
from benchmarks.gpu.step_time import step_time
from benchmarks.peers.options import add_options
from trainer.command import Parser, at_least
from trainer.config.files import load_run
from trainer.errors import ConfigError, exit_code, os_reason
from trainer.files import atomic_write
from trainer.methods.base import METHODS
from trainer.results.provenance import device_name, git_commit, versions
from trainer.training.options import DeviceOptions
from trainer.words import format_count


class Part(NamedTuple):
    """One table."""

    title: str
    share: float
    """of the time, next to the shares of the parts after it; what it leaves is theirs"""
    measure: Callable[[Kit, Findings], None]
    apart: bool = False
    """on a GPU in a process of its own, which may hang or leave the device unusable"""


PARTS = {
    "correctness": Part("Members equal single runs, and no step waits for the device", 20, correctness),
    "precisions": Part("Losses by precision", 4, precisions),
    "step": Part("A step of one run", 12, step_time),
    "members": Part("Steps of several members", 24, members),
    "graphs": Part("CUDA graphs and torch.compile", 16, graphs, apart=True),
    "run": Part("A run of the protocol", 10, run),
    "pack": Part("A pack of such runs", 10, pack),
    "pack_float32": Part("The pack in float32", 10, pack_in_float32),
    "methods": Part("Members equal single runs with all other methods", 16, methods),
}
"""by the name of the file, the most valuable first"""


def main(argv: Sequence[str] | None = None) -> int:
    given = list(sys.argv[1:] if argv is None else argv)
    began, arguments = time.monotonic(), _parser().parse_args(given)
    config = load_run(arguments.run, arguments.set).config
    if arguments.write_data:
        count = images.write(config, arguments.write_data)
        print(f"{arguments.write_data}: {count} images, {arguments.write_data.stat().st_size / 2**20:.1f} MiB")
        return 0
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    options = DeviceOptions(device=arguments.device, precision=arguments.precision)
    options.resolve_device()
    names = _known(arguments.parts)
    chosen = images.chosen(config, arguments.data)
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{arguments.out}: {os_reason(error)}", field="--out") from None
    kit = Kit(
        config=chosen.config,
        task_stream=chosen.task_stream,
        options=options,
        rounds=arguments.rounds,
        members=arguments.members,
        methods=_methods(arguments.methods),
        peer=arguments.peer,
        peer_workers=arguments.peer_workers,
    )
    about = _about(kit, chosen.about, arguments)
    print("\n".join(_lines(about)), flush=True)
    ends_at, bad = began + 60 * arguments.minutes, False
    for position, name in enumerate(names):
        part, left_s = PARTS[name], ends_at - time.monotonic()
        share = part.share / sum(PARTS[other].share for other in names[position:])
        limit_s = max(0.0, left_s * share)
        print(f"{part.title} (at most {limit_s:.0f} s)", flush=True)
        file = arguments.out / f"{name}.json"
        found = Findings(file, {"part": name, "title": part.title, **about}, time.monotonic() + limit_s)
        if part.apart and kit.on_gpu and len(names) > 1:
            content = _apart(given, name, limit_s, file, found)
        else:
            with found.guarded(part.title):
                part.measure(kit, found)
            found.write()
            content = found.content
        bad = bad or bool(content["failed"] or content["errors"])
        _summarise(arguments.out, about)
    print(f"{arguments.out / 'summary.md'}")
    return int(bad)


def _apart(given: Sequence[str], name: str, limit_s: float, file: Path, found: Findings) -> Mapping[str, Any]:
    """What the part has written in a process of its own, which is ended when its time is up."""
    file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.gpu", *given, "--parts", name, "--minutes", f"{limit_s / 60:.3f}"]
    try:
        code: int | str = subprocess.run(command, check=False, timeout=limit_s + 10).returncode
    except subprocess.TimeoutExpired:
        code = "its time was up"
    if not file.exists():
        found.errors.append(f"{name}: the process of this part wrote nothing ({code})")
        found.write()
    content: dict[str, Any] = json.loads(file.read_text())
    if code not in (0, 1):
        content["errors"].append(f"the process of this part has ended: {code}")
        atomic_write(file, (json.dumps(content, indent=1) + "\n").encode())
    return content


def _about(kit: Kit, pictures: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """What every part records."""
    config = kit.config
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": device_name(kit.device),
        "precision": kit.options.resolve_precision(),
        "versions": versions(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if kit.on_gpu else None,
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "commit": git_commit(),
        "run": arguments.run,
        "set": arguments.set,
        "images": pictures,
        "work": (
            f"{config.protocol.kind} {len(kit.task_stream.tasks)}, {len(kit.task_stream.counts_C)} classes, "
            f"{len(kit.task_stream.train_labels_N)} training images of {config.data.crop} pixels, {config.net.name}, "
            f"{config.method.name}, batch {config.optim.batch_size}"
        ),
        "rounds": kit.rounds,
    }


def _lines(about: Mapping[str, Any]) -> list[str]:
    cuda = f", CUDA {about['cuda']}, cuDNN {about['cudnn']}" if about["cudnn"] else ""
    return [
        f"{about['device']}, {about['precision']}, torch {about['versions']['torch']}{cuda}, "
        f"{format_count(about['cores'], 'CPU core')}; commit {about['commit']}; {about['at']}.",
        f"{' '.join([about['run'], *about['set']])}: {about['work']}; {about['images']}.",
    ]


def _summarise(folder: Path, about: Mapping[str, Any]) -> None:
    """summary.md, of all parts that the folder has."""
    files = [folder / f"{name}.json" for name in PARTS]
    parts = [described(file) for file in files if file.exists()]
    rounds = f"Times are medians (least to most) of {format_count(about['rounds'], 'round')}, sides in turn."
    text = "\n\n".join([f"# {about['device']}", *_lines(about), rounds, *parts])
    atomic_write(folder / "summary.md", f"{text}\n".encode())


def _known(asked: str | None) -> list[str]:
    """The parts, in their order. Raises ConfigError for a name that is none's."""
    names = list(PARTS) if asked is None else asked.split(",")
    for name in names:
        if name not in PARTS:
            raise ConfigError.unknown(f"no such part: {name!r}", name, list(PARTS), field="--parts")
    return [name for name in PARTS if name in names]


def _methods(asked: str | None) -> tuple[str, ...]:
    """All methods, or those of these names. Raises ConfigError for a name that is none's."""
    names = METHODS.names() if asked is None else asked.split(",")
    for name in names:
        if name not in METHODS.names():
            raise ConfigError.unknown(f"no such method: {name!r}", name, METHODS.names(), field="--methods")
    return tuple(names)


def _counts(text: str) -> tuple[int, ...]:
    return tuple(sorted(set(map(at_least(1), text.split(",")))))


def _parser() -> argparse.ArgumentParser:
    made = Parser(
        prog="python -m benchmarks.gpu", description="Check and measure this trainer on a device in a given time."
    )
    made.add_argument(
        "--minutes", type=timing.minutes, default=9.0, help="time that all parts may take (default: %(default)s)"
    )
    made.add_argument(
        "--out", type=Path, default=Path("out/gpu"), metavar="DIR", help="folder of results (default: %(default)s)"
    )
    made.add_argument("--data", type=Path, metavar="FILE", help="Parquet file of images that --write-data has written")
    made.add_argument(
        "--write-data", type=Path, metavar="FILE", help="write the images of the run file as one Parquet file, and end"
    )
    made.add_argument("--run", default="runs/imagenet32_20_lfs5.yaml", help="run file (default: %(default)s)")
    made.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="override a field of it")
    made.add_argument("--device", default="auto")
    made.add_argument("--precision", default="auto")
    made.add_argument(
        "--rounds", type=at_least(1), default=5, help="bursts of steps of each side (default: %(default)s)"
    )
    made.add_argument(
        "--members", type=_counts, default="1,2,4,8,16,32,64", help="numbers of members (default: %(default)s)"
    )
    made.add_argument("--parts", metavar="NAME,...", help=f"only these parts: {', '.join(PARTS)}")
    made.add_argument(
        "--methods", metavar="NAME,...", help="methods whose members are compared with single runs (default: all)"
    )
    made.add_argument("--threads", type=at_least(1), help="CPU threads of torch (default: its own choice)")
    add_options(made)
    return made


if __name__ == "__main__":
    sys.exit(exit_code(main))
