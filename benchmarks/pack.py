"""Time per member of a training step, for each way to compute M members in one pass.

``python -m benchmarks.pack --device cpu``: forward and backward pass of the backbone on one batch of noise, as grouped
convolutions, compiled grouped convolutions, one member after another, and ``torch.vmap``. On CUDA it also shows the
memory per member.
"""

import argparse
import sys
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state

from benchmarks import timing
from trainer.command import at_least
from trainer.errors import exit_code
from trainer.nets import resnet
from trainer.nets.member import each_alone
from trainer.results.provenance import device_name
from trainer.training.options import DeviceOptions

GROUPED, COMPILED, ALONE, VMAP = "grouped convolution", "the same, compiled", "one after another", "vmap"


def main(argv: Sequence[str] | None = None) -> int:
    parser = timing.parser("pack", "A member's share of a step, by how members are computed.", run_file=False)
    parser.add_argument("--net", default="resnet32", choices=("resnet32", "resnet18", "small"))
    parser.add_argument("--side", type=at_least(1), default=32, help="image size in pixels (default: %(default)s)")
    parser.add_argument("--batch", type=at_least(1), default=128)
    parser.add_argument("--members", default="1,2,4,8", help="numbers of members (default: %(default)s)")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args(argv)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    options = DeviceOptions(device=arguments.device)
    device, precision = options.resolve_device(), options.resolve_precision()
    rows, content = [], {}
    for members in map(int, arguments.members.split(",")):
        steps = {name: _Step(way, arguments, members, device, precision) for name, way in WAYS.items()}
        seconds = timing.alternate(dict(steps.items()), arguments.rounds)
        rows += [
            [
                str(members),
                name,
                timing.median_and_range([s * 1e3 / members for s in found]),
                timing.median_and_range(timing.ratios(seconds, name, GROUPED)),
                steps[name].memory(),
            ]
            for name, found in seconds.items()
        ]
        content[members] = seconds
        print("\n".join(f"M = {r[0]}, {r[1]}: {r[2]} ms a member" for r in rows[-len(WAYS) :]), flush=True)
    about = (
        f"{arguments.net}, {arguments.side} pixels, batch {arguments.batch}, forward and backward; "
        f"{device_name(device)}, {precision}, {torch.get_num_threads()} threads; {arguments.rounds} rounds, "
        "median (least to most)."
    )
    headers = ("M", "members", "ms a member", "times grouped", "MiB a member")
    timing.publish(arguments.name, [about], headers, rows, {"step_s": content})
    return 0


Forward = Callable[[Tensor], Tensor]


def _grouped(net: resnet.ResNet) -> Forward:
    return lambda x: net.together(x).features_MBD


def _compiled(net: resnet.ResNet) -> Forward:
    compiled: Forward = torch.compile(_grouped(net))
    return compiled


def _alone(net: resnet.ResNet) -> Forward:
    return lambda x: torch.cat([maps.features_MBD for maps in each_alone(net, x, net.members)])


def _vmap(net: resnet.ResNet) -> Forward:
    """Over M networks of one member: as grouped convolutions too, but put together by torch."""
    singles = [resnet.ResNet(1, 3, net.widths, net.blocks_a_stage) for _ in range(net.members)]
    parameters, buffers = stack_module_state([single.to(next(net.parameters()).device) for single in singles])

    def one(parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor) -> Tensor:
        features: Tensor = functional_call(singles[0], (parameters, buffers), (x,)).features_MBD
        return features

    return lambda x: torch.vmap(one)(parameters, buffers, x.unflatten(1, (net.members, -1)).transpose(0, 1))


WAYS: dict[str, Callable[[resnet.ResNet], Forward]] = {
    GROUPED: _grouped,
    COMPILED: _compiled,
    ALONE: _alone,
    VMAP: _vmap,
}


class _Step:
    """Forward and backward of M members on one batch."""

    def __init__(
        self,
        way: Callable[[resnet.ResNet], Forward],
        arguments: argparse.Namespace,
        members: int,
        device: torch.device,
        precision: str,
    ) -> None:
        self.net = resnet.build(arguments.net, 3, list(range(members))).to(device)
        self.forward, self.members, self.device = way(self.net), members, device
        side, batch = arguments.side, arguments.batch
        images = torch.zeros(batch, 3 * members, side, side, device=device)
        images.uniform_(generator=torch.Generator(device).manual_seed(0))
        self.images = images.contiguous(memory_format=torch.channels_last)
        self.autocast = torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")

    def __call__(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        with self.autocast:
            features = self.forward(self.images)
        features.square().sum().backward()

    def memory(self) -> str:
        """MiB of a member at the most, on CUDA."""
        if self.device.type != "cuda":
            return "-"
        return f"{torch.cuda.max_memory_allocated() / 2**20 / self.members:.0f}"


if __name__ == "__main__":
    sys.exit(exit_code(main))
