"""What corrects a classifier after it was trained: factors and offsets on its logits, or the lengths of its rows."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trainer.nets.heads import Growing, Head


class TaskAffine(Growing):
    """A factor and an offset on the logits of each task's classes, 1 and 0 at first; the last task's alone learn.

    ``[M, B, K] -> [M, B, K]``. (BiC, Wu et al., CVPR 2019, Eq. 5.)
    """

    task_MK: Tensor
    """of each class"""

    def __init__(self, members: int) -> None:
        super().__init__()
        self.factor_MT = nn.Parameter(torch.ones(members, 0))
        self.offset_MT = nn.Parameter(torch.zeros(members, 0))
        self.register_buffer("task_MK", torch.empty(members, 0, dtype=torch.int64))

    def forward(self, logits_MBK: Tensor) -> Tensor:
        factor_MK, offset_MK = self._of_classes(self.factor_MT), self._of_classes(self.offset_MT)
        return factor_MK.unsqueeze(1) * logits_MBK + offset_MK.unsqueeze(1)

    def rows(self, weight_MKD: Tensor) -> Tensor:
        """The rows of a linear head whose logits, but for biases, are the corrected ones."""
        return self._of_classes(self.factor_MT).unsqueeze(2) * weight_MKD

    def _of_classes(self, x_MT: Tensor) -> Tensor:
        """``[M, K]``; earlier tasks' do not learn."""
        return torch.cat([x_MT[:, :-1].detach(), x_MT[:, -1:]], dim=1).gather(1, self.task_MK)

    def grow(self, classes: int, seeds: Sequence[int], task: int) -> None:
        own_Mc = torch.full((len(seeds), classes), self.factor_MT.shape[1]).to(self.task_MK)
        self.task_MK = torch.cat([self.task_MK, own_Mc], dim=1)
        one_M1 = torch.ones(len(seeds), 1).to(self.factor_MT)
        self.factor_MT = nn.Parameter(torch.cat([self.factor_MT.data, one_M1], dim=1))
        self.offset_MT = nn.Parameter(torch.cat([self.offset_MT.data, 0 * one_M1], dim=1))


@torch.no_grad()
def align_new_rows(head: Head, old: int, factor: float = 1.0) -> None:
    """Scale the rows behind the first ``old`` to ``factor`` times the mean norm of those; biases stay as they are.

    Weight alignment (Zhao et al., WA, CVPR 2020, Eq. 9).
    """
    norm_MK = head.weight_MKD.norm(dim=2)
    ratio_M = norm_MK[:, :old].mean(1) / norm_MK[:, old:].mean(1).clamp_min(1e-12)
    head.weight_MKD[:, old:] *= factor * ratio_M[:, None, None]
