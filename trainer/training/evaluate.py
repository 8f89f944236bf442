"""Forward passes without learning: what a network makes of images, and accuracies."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.data.augment import augment, centre, crops, uniforms_per_image
from trainer.data.host_pixels import Pixels
from trainer.data.tasks import TaskStream
from trainer.nets.member import repeat_images
from trainer.nets.network import Outputs
from trainer.results.metrics import BINS, TOP, calibration_error
from trainer.rng import MemberStreams
from trainer.stages import second_stage as stage2
from trainer.stages.stage import Embedding
from trainer.training.state import State

_ON_GPU, _ON_CPU = 4096, 256
"""images times members in one pass of a GPU: enough to fill it, few enough for its memory; images in one pass of a
CPU: the activations of more do not stay in its caches, which halves the speed"""


@torch.no_grad()
def forward(
    state: State, pixels_NCHW: Pixels, index: Tensor, crops_MN5: Tensor | None = None
) -> Iterator[tuple[slice, Outputs]]:
    """What every member makes of the same images ``[N]``, or each of its own ``[M, N]``, a batch at a time.

    ``crops_MN5``: what is cut from each member's own, as in training; None: evaluation transforms.
    """
    state.learner.network.eval()
    learner = state.folded(network=True)
    method = state.configs[0].method
    size = max(32, _ON_GPU // state.members) if learner.device.type == "cuda" else _ON_CPU
    for start in range(0, index.shape[-1], size):
        part = slice(start, start + size)
        if crops_MN5 is None:
            images = centre(pixels_NCHW, index[..., part], state.configs[0].data, learner.dtype)
        else:
            images = augment(pixels_NCHW, index[:, part], crops_MN5[:, part], state.configs[0].data, learner.dtype)
        if index.dim() == 1:
            images = repeat_images(images, state.members)
        with state.autocast():
            out = method.evaluate(learner, images)
        yield part, stage2.scaled(learner.network, out)


def embed(state: State, pixels_NCHW: Pixels, index: Tensor) -> Embedding:
    """Features and logits of all of the images together, with evaluation transforms."""
    return _joined(forward(state, pixels_NCHW, index))


def embed_augmented(state: State, pixels_NCHW: Pixels, index: Tensor, streams: MemberStreams, use: str) -> Embedding:
    """The same with training transforms, drawn from ``streams`` for ``use``."""
    data, index_MN = state.configs[0].data, index.expand(state.members, -1)
    uniforms_MNU = streams.uniform(use, index_MN.shape[1], uniforms_per_image(data)).to(state.learner.device)
    height, width = pixels_NCHW.shape[2:]
    return _joined(forward(state, pixels_NCHW, index_MN, crops(uniforms_MNU, height, width, data)))


def _joined(batches: Iterator[tuple[slice, Outputs]]) -> Embedding:
    parts = [out for _, out in batches]
    return Embedding(torch.cat([out.features_MBD for out in parts], 1), torch.cat([out.logits_MBK for out in parts], 1))


class Calibration(NamedTuple):
    """Images by the confidence of their prediction, in BINS bins: sums over those of each bin, ``[M, J]``."""

    images_MJ: Tensor
    confidence_MJ: Tensor
    correct_MJ: Tensor

    @classmethod
    def of(cls, probabilities_MBK: Tensor, hits_MB: Tensor, predicted_MB: Tensor) -> Self:
        """``hits_MB``: which predictions are right. A bin holds its upper edge; float64."""
        confidence_MB = probabilities_MBK.gather(2, predicted_MB.unsqueeze(2)).squeeze(2).double()
        bin_MB = ((confidence_MB * BINS).ceil().long() - 1).clamp(0, BINS - 1)
        # A product, not an indexed addition: its order of sums is the same every time on a GPU too.
        in_bin_MBJ = F.one_hot(bin_MB, BINS).double()
        values = torch.ones_like(confidence_MB), confidence_MB, hits_MB.double()
        return cls(*((value_MB.unsqueeze(2) * in_bin_MBJ).sum(1) for value_MB in values))

    def plus(self, other: Self) -> Self:
        """Both together."""
        return type(self)(*map(torch.add, self, other))

    def error_pct(self, member: int) -> float | None:
        """The member's expected calibration error."""
        gaps_J = (self.correct_MJ - self.confidence_MJ)[member].tolist()
        return calibration_error(gaps_J, int(self.images_MJ[member].sum()))


@dataclass(frozen=True)
class Measured:
    """What M members make of the evaluation images of the first K classes."""

    correct: dict[str, Tensor]
    """images of each class that are classified right, ``[M, K]``: by the method's own classifier under the empty name,
    and by its others under theirs"""
    top5_MK: Tensor | None
    """images of each class that is among the five with the highest scores; None with fewer than six classes"""
    bins: Calibration | None
    """None where the method gives no probabilities"""


def measure(state: State, task_stream: TaskStream, classes: int) -> Measured:
    """Classify the evaluation images of the first ``classes`` classes."""
    method, kept = state.configs[0].method, state.learner.method_state
    labels_N = task_stream.eval_labels_N
    index_N = torch.nonzero(labels_N < classes).squeeze(1)
    empty_MK = torch.zeros(state.members, classes, dtype=torch.int64, device=labels_N.device)
    correct = {"": empty_MK.clone()}
    top5_MK = empty_MK.clone() if classes > TOP else None
    bins: Calibration | None = None
    for part, out in forward(state, task_stream.eval_pixels_NCHW, index_N):
        labels_B = labels_N[index_N[part]]
        scores = {"": method.classify(out, kept), **method.auxiliary_scores(out, kept)}
        for name, scores_MBK in scores.items():
            hits_MB = (scores_MBK.argmax(2) == labels_B).to(torch.int64)
            correct.setdefault(name, empty_MK.clone()).index_add_(1, labels_B, hits_MB)
        own_MBK = scores[""]
        if top5_MK is not None:
            among_MB = (own_MBK.topk(TOP).indices == labels_B[:, None]).any(2)
            top5_MK.index_add_(1, labels_B, among_MB.to(torch.int64))
        probabilities_MBK = method.probabilities(own_MBK, kept)
        if probabilities_MBK is not None:
            predicted_MB = own_MBK.argmax(2)
            found = Calibration.of(probabilities_MBK, predicted_MB == labels_B, predicted_MB)
            bins = found if bins is None else bins.plus(found)
    return Measured(correct, top5_MK, bins)
