"""How well a model does on the evaluation images of its run: what is taken for what, and how sure it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainer.data.tasks import TaskStream, build
from trainer.model.file import ModelError
from trainer.model.model import Model
from trainer.results.metrics import BINS, TOP, class_mean
from trainer.tables import NULL
from trainer.training.evaluate import Calibration
from trainer.words import WARNING


@dataclass(frozen=True)
class Evaluation:
    """What a model makes of labelled images."""

    class_names: Sequence[str]
    split: str
    images_C: Sequence[int]
    """images of each class that the run was trained on"""
    confusion_CC: Tensor
    """images of each class (rows) that are taken for each class, int64"""
    top5_C: Sequence[int] | None
    """images of each class that is among the five with the highest scores; None with fewer than six classes"""
    bins: Calibration | None
    """of one member; None where the method gives no probabilities"""
    said: tuple[str, ...] = ()
    """warnings, a line each"""

    @property
    def correct_C(self) -> list[int]:
        """Images of each class that are classified right."""
        return list(map(int, self.confusion_CC.diagonal()))

    @property
    def totals_C(self) -> list[int]:
        """Images of each class."""
        return list(map(int, self.confusion_CC.sum(1)))

    @property
    def accuracy_pct(self) -> float | None:
        """Mean over the classes that are measured."""
        return class_mean(self.correct_C, self.totals_C)

    @property
    def ece_pct(self) -> float | None:
        """Expected calibration error."""
        return None if self.bins is None else self.bins.error_pct(0)

    def records(self) -> list[dict[str, Any]]:
        """A record for each class, in the order of learning."""
        found = []
        for position, (name, total) in enumerate(zip(self.class_names, self.totals_C, strict=True)):
            wrong_C = self.confusion_CC[position].clone()
            wrong_C[position] = 0
            most = int(wrong_C.argmax())
            found.append(
                {
                    "class_name": name,
                    "train_images": self.images_C[position],
                    "eval_images": total,
                    "acc_pct": class_mean([self.correct_C[position]], [total]),
                    "acc_top5_pct": None if self.top5_C is None else class_mean([self.top5_C[position]], [total]),
                    "taken_for": self.class_names[most] if wrong_C[most] else None,
                    "taken_for_images": int(wrong_C[most]),
                }
            )
        return found

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Headers and a row for each class, for people."""
        rows: list[tuple[str, ...]] = [
            (
                record["class_name"],
                str(record["train_images"]),
                str(record["eval_images"]),
                _percent(record["acc_pct"]),
                _percent(record["acc_top5_pct"]),
                f"{record['taken_for']} ({record['taken_for_images']})" if record["taken_for"] else NULL,
            )
            for record in self.records()
        ]
        return ("class", "trained on", "measured on", "acc %", "top-5 %", "most often taken for"), rows

    def summary(self) -> str:
        """The numbers of all classes together, in a line."""
        top5 = None if self.top5_C is None else class_mean(self.top5_C, self.totals_C)
        return (
            f"on {self.split}: accuracy {_percent(self.accuracy_pct)} %, top-5 {_percent(top5)} % (over classes), "
            f"calibration error {_percent(self.ece_pct)} % ({BINS} bins)"
        )


def evaluate(model: Model) -> Evaluation:
    """Load the images of the model's run and classify its evaluation images. Raises DataError, ModelError.

    Images that differ from those of the run are said.
    """
    about, device = model.about, model.state.learner.device
    task_stream = build(model.config.data, model.config.protocol).to(device)
    if list(task_stream.class_names_C) != about.class_names:
        raise ModelError(f"data.path: {model.config.data.path}: has other classes than the model")
    said: tuple[str, ...] = ()
    if task_stream.fingerprint != about.data_fingerprint:
        said = (f"{WARNING}the images are not those of the run: their fingerprint is {task_stream.fingerprint}",)
    return measured(model, task_stream, said)


def measured(model: Model, task_stream: TaskStream, said: tuple[str, ...] = ()) -> Evaluation:
    """Classify the evaluation images of a task stream that has the model's classes."""
    classes, labels_N = len(model.class_names), task_stream.eval_labels_N.cpu()
    scores_NK, probabilities_NK = model.scores(task_stream.eval_pixels_NCHW)
    predicted_N = scores_NK.argmax(1)
    confusion_CC = torch.zeros(classes * classes, dtype=torch.int64)
    confusion_CC.index_add_(0, labels_N * classes + predicted_N, torch.ones_like(labels_N))
    top5_C = None
    if classes > TOP:
        among_N = (scores_NK.topk(TOP).indices == labels_N[:, None]).any(1)
        top5_C = torch.bincount(labels_N[among_N], minlength=classes).tolist()
    bins = None
    if probabilities_NK is not None:
        bins = Calibration.of(probabilities_NK[None], (predicted_N == labels_N)[None], predicted_N[None])
    return Evaluation(
        class_names=model.class_names,
        split=model.about.split,
        images_C=task_stream.counts_C.tolist(),
        confusion_CC=confusion_CC.view(classes, classes),
        top5_C=top5_C,
        bins=bins,
        said=said,
    )


def _percent(value: float | None) -> str:
    return NULL if value is None else f"{value:.1f}"
