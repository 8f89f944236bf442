"""How long a step takes: the whole method, plain cross-entropy, and another project's code."""

import statistics
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks import step as epochs_of_steps
from benchmarks import timing
from benchmarks.gpu.findings import Findings
from benchmarks.gpu.kit import Kit
from benchmarks.gpu.runs import epoch_steps
from benchmarks.gpu.steps import Burst, PeakMemory, mib, real_step, wait
from benchmarks.operations import Watch
from benchmarks.peers.options import find
from trainer.methods.base import METHODS

PLAIN, WHOLE = "cross-entropy", "whole method"
_STEPS = 30
"""to prepare one and to time it"""
_PROFILED = 5
_LISTED = 8
"""kernels that are named"""


def step_time(kit: Kit, found: Findings) -> None:
    """Steps of one run, in turn; on a GPU also in float32, and where its time goes."""
    found.headers = ("step", "ms", "times cross-entropy", "ms of the host", "operations", "waits", "MiB")
    plain = kit.config.model_copy(update={"method": METHODS.find("finetune")()})
    sides = {PLAIN: (plain, kit.options), WHOLE: (kit.config, kit.options)}
    if kit.on_gpu and kit.options.resolve_precision() != "float32":
        sides[f"{WHOLE}, float32"] = (kit.config, replace(kit.options, precision="float32"))
    bursts, peaks, watched, steps = {}, {}, {}, {}
    for name, (config, options) in sides.items():
        if not found.fits(name, kit.expected_s(_STEPS)):
            continue
        with found.guarded(name):
            memory = PeakMemory(kit.device)
            steps[name] = real_step([config], options, kit.task_stream)
            bursts[name] = Burst(steps[name], kit.device, burst_s=0.3 if kit.on_gpu else 0.05)
            peaks[name] = memory.bytes()
            with Watch() as watch:
                steps[name]()
            watched[name] = watch
    seconds = timing.alternate(dict(bursts.items()), kit.rounds)
    for name, own in seconds.items():
        relative = timing.median_and_range(timing.ratios(seconds, name, PLAIN)) if PLAIN in seconds else "-"
        host_s = statistics.median(bursts[name].host_s)
        cells = [name, timing.median_and_range([s * 1e3 for s in own]), relative, f"{host_s * 1e3:.3g}"]
        watch = watched[name]
        found.add(
            [*cells, str(watch.operations), str(watch.waits.total()), mib(peaks[name])],
            step_s=own,
            host_s=bursts[name].host_s,
            operations=watch.operations,
            waits=watch.waits,
            peak_bytes=peaks[name],
        )
    if WHOLE in seconds:
        kit.step_s[1] = statistics.median(seconds[WHOLE])
    if kit.on_gpu and WHOLE in steps and found.fits("where the time goes", 3 * kit.expected_s(_PROFILED)):
        with found.guarded("where the time goes"):
            _profile(steps[WHOLE], kit, found)
    if kit.peer is not None and found.fits("the other project's step", kit.expected_s(16 * epoch_steps(kit))):
        with found.guarded(f"the project in {kit.peer}"):
            _peer(kit, found)


def _profile(step: Callable[[], Any], kit: Kit, found: Findings) -> None:
    """The kernels of a step, their time, and the part of a step in which the GPU computes."""
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        for _ in range(_PROFILED):
            step()
        wait(kit.device)
    kernel_us: Counter[str] = Counter()
    launched = 0
    for event in profiler.key_averages():
        if event.device_type == DeviceType.CUDA:
            kernel_us[event.key] += event.self_device_time_total / _PROFILED
            launched += event.count
    busy_s, step_s = sum(kernel_us.values()) / 1e6, kit.step_s.get(1, 0.0)
    share = f" of {step_s * 1e3:.2f} ms" if step_s else ""
    listed = [f"{us / 1e3:.3f} ms {name[:90]}" for name, us in kernel_us.most_common(_LISTED)]
    if not kernel_us:
        found.notes.append("PyTorch's profiler has seen no kernel.")
        return
    found.notes.append(
        f"The GPU computes for {busy_s * 1e3:.2f} ms{share} in {launched // _PROFILED} kernels of a step of the whole "
        "method; what is left it waits to be told. The longest are:"
    )
    found.notes.append("\n".join(f"- {line}" for line in listed))
    found.write()


def _peer(kit: Kit, found: Findings) -> None:
    """Its epochs, in turn with this trainer's, over all tasks of a short run."""
    assert kit.peer is not None
    optim = kit.config.optim.model_copy(update={"epochs": 2, "milestones": (1,)})
    config = kit.config.model_copy(update={"optim": optim})
    peer = find(kit.peer)(kit.peer.resolve(), config, kit.task_stream, kit.device, kit.peer_workers)
    ours, tasks = f"{WHOLE}, by epochs", len(kit.task_stream.tasks)

    def theirs() -> float:
        peer.run()
        return statistics.median(peer.step_s)

    sides: dict[str, Callable[[], float | None]] = {
        ours: lambda: epochs_of_steps.step_s(config, kit.options, tasks, kit.task_stream),
        peer.title: theirs,
    }
    seconds = timing.alternate(sides, 3)
    for name, own in seconds.items():
        ms = timing.median_and_range([s * 1e3 for s in own])
        times = timing.median_and_range(timing.ratios(seconds, name, ours))
        found.add([name, ms, f"{times} the row by epochs", "-", "-", "-", "-"], step_s=own)
    found.notes.append(f"{peer.described()} Rows by epochs include the drawing of an epoch's images.")
