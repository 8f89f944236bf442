"""Time the forward pass of a network that only evaluates, its batch norms folded into its convolutions or not.

``python -m benchmarks.folded``: what a teacher takes of each step, and what evaluation takes, in bfloat16 and float32.
"""

import sys
from collections.abc import Callable, Sequence

import torch

from benchmarks import timing
from trainer.command import at_least
from trainer.errors import exit_code
from trainer.nets import resnet
from trainer.results.provenance import device_name
from trainer.training.options import DeviceOptions, cpu_bfloat16
from trainer.words import format_count

DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}
PLAIN, FOLDED = "batch norms", "folded"
_PASSES = 10
"""forward passes that are timed together"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = timing.parser("folded", "A forward pass in evaluation mode, folded or not.", run_file=False)
    parser.add_argument("--net", default="resnet32", choices=("resnet32", "resnet18", "small"))
    parser.add_argument("--side", type=at_least(1), default=32, help="image size in pixels (default: %(default)s)")
    parser.add_argument("--batch", type=at_least(1), default=64, help="images of a pass (default: %(default)s)")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args(argv)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    device = DeviceOptions(device=arguments.device).resolve_device()
    net = resnet.build(arguments.net, 3, [0]).to(device).eval().requires_grad_(False)
    images = torch.rand(arguments.batch, 3, arguments.side, arguments.side, generator=torch.Generator().manual_seed(0))
    images = images.to(device, memory_format=torch.channels_last)

    def passes(one: resnet.ResNet, name: str) -> Callable[[], None]:
        def run() -> None:
            with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=name == "bfloat16"):
                for _ in range(_PASSES):
                    one(images)

        return run

    sides = {
        f"{name}, {how}": passes(net if how == PLAIN else net.folded(dtype), name)
        for name, dtype in DTYPES.items()
        for how in (PLAIN, FOLDED)
    }
    seconds = timing.alternate(sides, arguments.rounds)
    rows = [
        [
            name,
            timing.median_and_range([s * 1e3 / _PASSES for s in found]),
            timing.median_and_range(timing.ratios(seconds, name, f"{name.partition(',')[0]}, {PLAIN}")),
        ]
        for name, found in seconds.items()
    ]
    about = (
        f"{arguments.net}, {arguments.side} pixels, {arguments.batch} images; {device_name(device)} with "
        f"{cpu_bfloat16() or 'nothing'} for bfloat16, {format_count(torch.get_num_threads(), 'thread')}; "
        f"{arguments.rounds} rounds of {_PASSES} passes, sides in turn, median (least to most)."
    )
    headers = ("forward pass", "ms", "times that with batch norms")
    timing.publish(arguments.name, [about], headers, rows, {"pass_s": seconds})
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
