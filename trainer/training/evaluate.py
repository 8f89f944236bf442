"""Forward passes without learning: what a network makes of images, and accuracies."""

from collections.abc import Iterator

import torch
from torch import Tensor

from trainer.data.augment import centre
from trainer.data.host_pixels import Pixels
from trainer.data.tasks import TaskStream
from trainer.nets.member import repeat_images
from trainer.nets.network import Outputs
from trainer.stages import second_stage as stage2
from trainer.stages.stage import Embedding
from trainer.training.state import State

_ON_GPU, _ON_CPU = 4096, 256
"""images times members in one pass of a GPU: enough to fill it, few enough for its memory; images in one pass of a
CPU: the activations of more do not stay in its caches, which halves the speed"""


@torch.no_grad()
def forward(state: State, pixels_NCHW: Pixels, index: Tensor) -> Iterator[tuple[slice, Outputs]]:
    """What every member makes of the same images ``[N]``, or each of its own ``[M, N]``, a batch at a time."""
    state.learner.network.eval()
    learner = state.folded(network=True)
    method = state.configs[0].method
    size = max(32, _ON_GPU // state.members) if learner.device.type == "cuda" else _ON_CPU
    for start in range(0, index.shape[-1], size):
        part = slice(start, start + size)
        images = centre(pixels_NCHW, index[..., part], state.configs[0].data, learner.dtype)
        if index.dim() == 1:
            images = repeat_images(images, state.members)
        with state.autocast():
            out = method.evaluate(learner, images)
        yield part, stage2.scaled(learner.network, out)


def embed(state: State, pixels_NCHW: Pixels, index: Tensor) -> Embedding:
    """Features and logits of all of the images together, with evaluation transforms."""
    parts = [out for _, out in forward(state, pixels_NCHW, index)]
    return Embedding(torch.cat([out.features_MBD for out in parts], 1), torch.cat([out.logits_MBK for out in parts], 1))


def correct_by_class(state: State, task_stream: TaskStream, classes: int) -> dict[str, Tensor]:
    """How many evaluation images of each of the first ``classes`` classes are classified right, ``[M, K]``.

    By the method's own classifier under the empty name, and by its others under theirs.
    """
    method, kept = state.configs[0].method, state.learner.method_state
    labels_N = task_stream.eval_labels_N
    index_N = torch.nonzero(labels_N < classes).squeeze(1)
    empty_MK = torch.zeros(state.members, classes, dtype=torch.int64, device=labels_N.device)
    correct = {"": empty_MK.clone()}
    for part, out in forward(state, task_stream.eval_pixels_NCHW, index_N):
        labels_B = labels_N[index_N[part]]
        scores = {"": method.classify(out, kept), **method.auxiliary_scores(out, kept)}
        for name, scores_MBK in scores.items():
            hits_MB = (scores_MBK.argmax(2) == labels_B).to(torch.int64)
            correct.setdefault(name, empty_MK.clone()).index_add_(1, labels_B, hits_MB)
    return correct
