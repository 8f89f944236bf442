"""Check this machine, or every node of a Ray cluster: versions, code, GPUs, folders, clocks, who may enter."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import ray
import torch
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sweeper.execution.cluster import connected
from sweeper.store.checkup import CLOCKS_S, Finding
from trainer.errors import UserError
from trainer.results.provenance import source_digest, versions
from trainer.training.options import cpu_bfloat16
from trainer.words import WARNING

_COMPARED = ("python", "ray", "torch", "numpy", "pyarrow")
_ANSWER_S = 60


@dataclass(frozen=True)
class Machine:
    """What a machine has."""

    host: str
    versions: dict[str, str]
    code: str
    gpus: int
    """that PyTorch sees"""
    now: float
    """seconds since 1970, by its clock"""
    missing: tuple[str, ...]
    """of the paths that were asked for"""


def look_around(paths: Sequence[str], in_task: bool) -> Machine:
    """This machine; ``in_task``: Ray hides the GPUs from this process."""
    missing = tuple(path for path in paths if not Path(path).exists())
    gpus = _hidden_gpus() if in_task else torch.cuda.device_count()
    return Machine(socket.gethostname(), versions(), source_digest(), gpus, time.time(), missing)


def _hidden_gpus() -> int:
    shown = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    count = [sys.executable, "-c", "import torch; print(torch.cuda.device_count())"]
    return int(subprocess.run(count, env=shown, capture_output=True, text=True, check=False).stdout or 0)


def check_machine(data: str | None) -> Iterator[Finding]:
    """This machine, without starting Ray; ``data``: the folder of a sweep's images."""
    found = look_around([data] if data else [], in_task=False)
    yield Finding("versions", ", ".join(f"{name} {found.versions.get(name, 'missing')}" for name in _COMPARED))
    devices = len(list(Path("/dev").glob("nvidia[0-9]*")))
    blind = "install a build of PyTorch for this driver (nvidia-smi names it)" if devices > found.gpus else None
    yield Finding("GPUs", f"{devices} in this machine, PyTorch sees {found.gpus}", blind)
    if not found.gpus:
        unit = cpu_bfloat16()
        faster = f"this CPU has {unit}: faster than float32 (resources.precision, --precision)"
        yield Finding("bfloat16", faster if unit else "this CPU has no instructions for it: no faster than float32")
    if data:
        yield _data(data, [found])


def check_cluster(address: str, results: Path | None, data: str | None) -> Iterator[Finding]:
    """Every node of the cluster; ``results``: their folder, where it is a path, which all must reach."""
    try:
        warnings: list[str] = []
        with connected(address, warnings.append) as gcs:
            yield Finding("Ray", f"reached at {gcs}")
            for exposed in warnings:
                yield Finding("Ray", exposed.removeprefix(WARNING), "start the cluster with a token")
            yield from _nodes(results, data)
    except UserError as error:
        yield Finding("Ray", str(error), "start the cluster, or correct --address, $RAY_ADDRESS or the token")


def _nodes(results: Path | None, data: str | None) -> Iterator[Finding]:
    alive = [node for node in ray.nodes() if node["Alive"]]
    paths = [str(path) for path in (results, data) if path]
    own, machines = look_around(paths, in_task=False), list[Machine]()
    for node in alive:
        pinned = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        asked = ray.remote(look_around).options(num_cpus=0, scheduling_strategy=pinned)
        before = time.time()
        try:
            machine = ray.get(asked.remote(paths, True), timeout=_ANSWER_S)
        except ray.exceptions.RayError as error:
            first = str(error).strip().partition("\n")[0]
            yield Finding(f"node {node['NodeManagerAddress']}", f"does not run tasks: {first}", "restart Ray there")
            continue
        yield from _node(machine, own, int(node["Resources"].get("GPU", 0)), before, time.time())
        machines.append(machine)
    if results:
        away = ", ".join(machine.host for machine in machines if str(results) in machine.missing)
        remedy = "mount it there under this path, or choose a bucket (docs/cluster.md)" if away else None
        yield Finding("results", f"missing on {away}" if away else f"{results} is on every node", remedy)
    if data:
        yield _data(data, machines)


def _node(machine: Machine, own: Machine, gpus: int, before: float, after: float) -> Iterator[Finding]:
    """``gpus``: that Ray has there; the machine looked at its clock between ``before`` and ``after``."""
    about = f"node {machine.host}"
    for name in _COMPARED:
        there, here = machine.versions.get(name), own.versions.get(name)
        if there != here:
            yield Finding(about, f"{name} {there}, here {here}", "install the same version on all")
    if machine.code != own.code:
        yield Finding(about, "other code than here", "update it, or submit with --working-dir")
    remedy = (
        "start it with the right --num-gpus, or install a build of PyTorch for GPUs" if machine.gpus < gpus else None
    )
    yield Finding(about, f"Ray has {gpus} GPUs, PyTorch sees {machine.gpus}", remedy)
    apart_s = max(before - machine.now, machine.now - after, 0.0)
    late = "set the clocks (NTP)" if apart_s > CLOCKS_S else None
    yield Finding(about, f"its clock and this one are {apart_s:.0f} s apart" if late else "clocks agree", late)


def _data(data: str, machines: Sequence[Machine]) -> Finding:
    away = ", ".join(machine.host for machine in machines if data in machine.missing)
    if away:
        return Finding("images", f"{data} is missing on {away}", "copy or mount them there, or correct data.path")
    return Finding("images", f"{data} is there")
