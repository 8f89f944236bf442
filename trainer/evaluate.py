"""Forward passes without learning: features of training images, accuracies on evaluation images."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from trainer.data.augment import centre
from trainer.data.tasks import Benchmark
from trainer.nets.member import repeat_images
from trainer.state import State

_IMAGES = 4096
"""images times members in one pass: large enough to fill a GPU, small enough for its memory"""


@torch.no_grad()
def forward(state: State, pixels_NCHW: Tensor, index_N: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Features ``[M, B, D]`` and logits ``[M, B, K]`` of the same images for every member, a batch at a time."""
    state.network.eval()
    size = max(32, _IMAGES // state.members)
    for start in range(0, len(index_N), size):
        part = slice(start, min(start + size, len(index_N)))
        images = centre(pixels_NCHW, index_N[part], state.configs[0].data, state.dtype)
        with state.autocast():
            features_MBD, logits_MBK = state.network(repeat_images(images, state.members))
        yield part, features_MBD, logits_MBK


def features(state: State, pixels_NCHW: Tensor, index_N: Tensor) -> Tensor:
    """``[M, N, D]``, with evaluation transforms."""
    return torch.cat([f for _, f, _ in forward(state, pixels_NCHW, index_N)], dim=1)


def correct_by_class(state: State, benchmark: Benchmark, classes: int) -> Tensor:
    """How many evaluation images of each of the first ``classes`` classes are classified right, ``[M, K]``."""
    method = state.configs[0].method
    labels_N = benchmark.eval_labels_N
    index_N = torch.nonzero(labels_N < classes).squeeze(1)
    correct_MK = torch.zeros(state.members, classes, dtype=torch.int64, device=state.device)
    for part, features_MBD, logits_MBK in forward(state, benchmark.eval_pixels_NCHW, index_N):
        labels_B = labels_N[index_N[part]]
        hits_MB = method.classify(logits_MBK, features_MBD, state).argmax(2) == labels_B
        correct_MK.index_add_(1, labels_B, hits_MB.to(torch.int64))
    return correct_MK
