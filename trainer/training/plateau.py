"""Each member's own learning rate, which falls where its loss on images set aside does not."""

import torch
from torch import Tensor, nn

from trainer.stages.stage import Plateau

RATE, BEST, LEFT = "plateau_rate_M", "plateau_best_M", "plateau_left_M"
"""buffers: factor of the learning rate, 0 once the member has ended; lowest loss; epochs of patience that are left"""
BUFFERS = frozenset({RATE, BEST, LEFT})


def start(plateau: Plateau, members: int, device: torch.device) -> dict[str, Tensor]:
    """The buffers of a stage that begins."""
    values = {RATE: 1.0, BEST: torch.inf, LEFT: float(plateau.patience)}
    return {name: torch.full((members,), value, device=device, dtype=torch.float64) for name, value in values.items()}


def after_epoch(plateau: Plateau, buffers: dict[str, Tensor], loss_M: Tensor, lr: float, gamma: float) -> None:
    """Take in the losses of an epoch. ``lr``: the rate that the stage began with; ``gamma``: what it falls by."""
    rate_M, best_M, left_M = (buffers[name] for name in (RATE, BEST, LEFT))
    loss_M = loss_M.to(best_M)
    better_M = loss_M < best_M
    left_M.copy_(torch.where(better_M, float(plateau.patience), left_M - 1))
    best_M.copy_(torch.where(better_M, loss_M, best_M))
    falls_M = left_M <= 0
    fallen_M = torch.where(falls_M, rate_M * gamma, rate_M)
    # a part in a million: a rate that has fallen to the lowest is not below it, however it was rounded
    rate_M.copy_(fallen_M * (fallen_M * lr >= plateau.lowest * (1 - 1e-6)))
    left_M.copy_(torch.where(falls_M, float(plateau.patience), left_M))


class Slowed:
    """A step of which each member takes the part that is its rate, and a member that has ended none."""

    def __init__(self, network: nn.Module, rate_M: Tensor) -> None:
        """Call it before the forward pass, which moves the statistics of batch norms."""
        self._rate_M = rate_M
        self._parameters = [(p, p.detach().clone()) for p in network.parameters() if p.requires_grad]
        self._buffers = [(b, b.clone()) for b in network.buffers()]

    @torch.no_grad()
    def apply(self) -> None:
        """Once the optimiser has moved the parameters."""
        for parameter, before in self._parameters:
            parameter.copy_(torch.lerp(before, parameter, self._like(parameter).to(parameter)))
        for buffer, before in self._buffers:
            buffer.copy_(torch.where(self._like(buffer) > 0, buffer, before))

    def _like(self, tensor: Tensor) -> Tensor:
        return self._rate_M.view(-1, *[1] * (tensor.dim() - 1))
