"""Steps of 1 to 64 members, by every way to compute them: images a second, and memory."""

import statistics
import time

import torch

from benchmarks import timing
from benchmarks.gpu.findings import Findings
from benchmarks.gpu.kit import Kit
from benchmarks.gpu.steps import Burst, PeakMemory, mib, real_step, together
from benchmarks.gpu.ways import GROUPED, OF_ONE, WAYS
from trainer.words import format_count

_STEPS = 40
"""to prepare one and to time it"""
_FALLEN_BEHIND = 3.0
"""a way that takes so many times as long as the fastest is not tried with more members"""


def members(kit: Kit, found: Findings) -> None:
    """All ways with one member, then with more and more, as far as time and memory go."""
    found.headers = ("M", "members", "ms a step", "ms of the host", "images/s", "times a single run", "MiB")
    left, single = dict(WAYS), 0.0
    took_s = dict.fromkeys(WAYS, kit.expected_s(_STEPS))
    for count in kit.members:
        step_s: dict[str, float] = {}
        for name in [name for name in left if count > 1 or name in OF_ONE]:
            if not found.fits(f"{format_count(count, 'member')}, {name}", took_s[name]):
                continue
            began = time.monotonic()
            with found.guarded(f"{format_count(count, 'member')}, {name}"):
                try:
                    timed, peak = _timed(kit, count, name)
                except torch.OutOfMemoryError:
                    left.pop(name)
                    raise
                step_s[name] = statistics.median(timed)
                rate = count * kit.config.optim.batch_size / step_s[name]
                single = single or rate
                host = statistics.median(timed.host_s)
                ms = timing.median_and_range([s * 1e3 for s in timed])
                found.add(
                    [str(count), name, ms, f"{host * 1e3:.3g}", f"{rate:,.0f}", f"{rate / single:.2f}", mib(peak)],
                    members=count,
                    way=name,
                    step_s=list(timed),
                    host_s=timed.host_s,
                    images_per_s=rate,
                    peak_bytes=peak,
                )
            took_s[name] = 2 * (time.monotonic() - began)
        for name, seconds in step_s.items():
            if seconds > _FALLEN_BEHIND * min(step_s.values()) and name in left and name != GROUPED:
                left.pop(name)
                found.notes.append(f"Not tried with more than {count} members, being too slow: {name}.")
        if step_s:
            kit.step_s[count] = step_s.get(GROUPED, min(step_s.values()))


class _Timed(list[float]):
    """Seconds of a step, a burst each, and those of the host."""

    host_s: list[float]


def _timed(kit: Kit, count: int, name: str) -> tuple[_Timed, int | None]:
    """Bursts of steps of so many members, and the most bytes that they take."""
    with WAYS[name]():
        step = real_step(together(kit.config, count), kit.options, kit.task_stream)
        memory = PeakMemory(kit.device)
        burst = Burst(step, kit.device, burst_s=0.2 if kit.on_gpu else 0.05)
        found = _Timed(burst() for _ in range(kit.rounds))
        found.host_s = burst.host_s
        return found, memory.bytes()
