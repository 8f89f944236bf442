"""Steps as CUDA graphs and compiled by torch.compile: measured, not used; each may fail without harm to the others."""

import contextlib
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from benchmarks import timing
from benchmarks.gpu.findings import Findings
from benchmarks.gpu.kit import Kit
from benchmarks.gpu.steps import Burst, PeakMemory, mib, real_step, together, wait
from benchmarks.gpu.ways import ALONE, GROUPED, WAYS
from trainer.training.options import deterministic
from trainer.words import format_count

_MEMBERS = (1, 8, 32)
_COMPILING_S = 60.0
"""seconds that compiling is expected to take, before it was done once"""
_STEPS = 30
"""to prepare one and to time it"""
_WARM = 3


def graphs(kit: Kit, found: Findings) -> None:
    """Each number of members as it is, as a graph, compiled, and both."""
    found.headers = ("M", "step", "ms a step", "times as it is", "loss differs by", "MiB", "s to prepare")
    if not kit.on_gpu:
        found.notes.append("On a CPU there are no CUDA graphs, and compiling takes the C++ compiler a minute.")
    compiling_s = _COMPILING_S
    for count in [count for count in kit.members if count in _MEMBERS]:
        seen: dict[str, float] = {}
        for way, compiled, graph in _variants(count, kit.on_gpu):
            name = ", ".join([way, *["compiled"] * compiled, *["as a graph"] * graph])
            expected_s = compiling_s if compiled else kit.expected_s(_STEPS * math.sqrt(count))
            if not found.fits(f"{format_count(count, 'member')}, {name}", expected_s):
                continue
            began = time.monotonic()
            with found.guarded(f"{format_count(count, 'member')}, {name}"):
                _measure(kit, found, count, way, name, compiled, graph, seen)
            if compiled and not graph:
                compiling_s = 1.5 * (time.monotonic() - began)


def _variants(count: int, on_gpu: bool) -> list[tuple[str, bool, bool]]:
    """Way, whether it is compiled, whether it is a graph."""
    if not on_gpu:
        return [(GROUPED, False, False)]
    found = [(GROUPED, False, False), (GROUPED, False, True)]
    found += [(ALONE, False, True)] if count > 1 else []
    return [*found, (GROUPED, True, False), (GROUPED, True, True)]


def _measure(
    kit: Kit, found: Findings, count: int, way: str, name: str, compiled: bool, graph: bool, seen: dict[str, float]
) -> None:
    began = time.monotonic()
    with WAYS[way]() if not compiled else contextlib.nullcontext():
        options = replace(kit.options, compile=compiled)
        memory = PeakMemory(kit.device)
        step = real_step(together(kit.config, count), options, kit.task_stream)
        expected = _loss(step())
        repeated, loss = captured(step, kit.device) if graph else (step, lambda: _loss(step()))
        burst = Burst(repeated, kit.device, burst_s=0.2 if kit.on_gpu else 0.05)
        prepared_s = time.monotonic() - began
        own = [burst() for _ in range(kit.rounds)]
    plain_s = seen.setdefault("as it is", statistics.median(own))
    difference = abs(loss() - expected) / abs(expected)
    found.check(difference < 0.05, f"{count} members, {name}: the loss is that of the step as it is")
    found.add(
        [
            str(count),
            name,
            timing.median_and_range([s * 1e3 for s in own]),
            f"{statistics.median(own) / plain_s:.2f}",
            f"{difference:.1e}",
            mib(memory.bytes()),
            f"{prepared_s:.0f}",
        ],
        members=count,
        way=way,
        compiled=compiled,
        graph=graph,
        step_s=own,
        host_s=burst.host_s,
        prepared_s=prepared_s,
        loss_difference=difference,
    )


def captured(step: Callable[[], Any], device: torch.device) -> tuple[Callable[[], None], Callable[[], float]]:
    """A step as a CUDA graph: what replays it, and what reads the loss of the last replay."""
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    graph = torch.cuda.CUDAGraph()
    with deterministic(False):
        with torch.cuda.stream(stream):
            for _ in range(_WARM):
                step()
        torch.cuda.current_stream(device).wait_stream(stream)
        wait(device)
        with torch.cuda.graph(graph):
            out = step()
    return graph.replay, lambda: _loss(out)


def _loss(out: Any) -> float:
    """The sum of a step's terms over its members."""
    terms, _ = out
    return sum(float(value_M.detach().sum()) for value_M in terms.values())
