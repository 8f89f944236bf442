"""DER: every task adds a backbone, and the classifier stands on the features of all.

Earlier backbones stand still, in evaluation mode; the new one starts as a copy of the last. An auxiliary classifier on
the new features alone tells new classes from each other and from all old ones together. When a task is trained, the
new rows are scaled to the old ones' mean norm, or the classifier is trained again on balanced images.

Without the paper's pruning masks, which neither released code has. Network and time grow with the tasks: a fair
comparison gives other systems more exemplars. Published runs have balanced data, 200 epochs in the first task and 170
in others (PyCIL), or 170 with a warm-up after which both classifiers start anew (the authors' code). `loss: tal`, `aux:
0` and `finish: none` is the host that the temporal-adjusted loss was released on.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from trainer.losses.cross_entropy import cross_entropy
from trainer.methods.base import PYCIL_HEADS, Expanding, hyperparameter
from trainer.nets.correction import align_new_rows
from trainer.nets.member import assign
from trainer.nets.network import Outputs
from trainer.stages.exemplars import Candidates, herding
from trainer.stages.expansion import expand, fresh_head, on_all_features
from trainer.stages.learner import Learner
from trainer.stages.optim import rescheduled
from trainer.stages.stage import Stage, Step, TaskContext, TaskImages, Terms


class Der(Expanding):
    paper = "Yan et al., DER: Dynamically Expandable Representation for Class Incremental Learning, CVPR 2021"
    differences = (
        PYCIL_HEADS,
        "The authors' code starts the whole classifier anew in every task, which has no biases, and trains it again "
        "afterwards (`finish`); here, as in PyCIL, old rows stay as they are on old features.",
        "The authors' code starts both classifiers anew after a warm-up of 10 epochs; here they learn throughout.",
    )

    finish: Literal["align", "retrain", "none"] = hyperparameter("align", first_task=1)
    """after training: scale new rows to the old ones' mean norm, as PyCIL does, train the classifier again from the
    start on as many images of each class, as the authors' code does, or nothing"""
    retrain_epochs: float = hyperparameter(0.1765, first_task=1, gt=0, le=10)
    """epochs of that training, as a part of those of a task (30 of 170), in the middle of which its rate falls to a
    tenth; with a small memory, and so few steps, more are needed"""
    retrain_temperature: float = hyperparameter(5.0, per_member=True, first_task=1, gt=0, le=100)
    """what logits are divided by in that training; the authors' code has 1 for ImageNet"""

    def later_stages(self, task: TaskContext, loss: Callable[[Step], Terms]) -> tuple[Stage, ...]:
        train = Stage(
            "train", task.optim, loss, forward=on_all_features, prepare=lambda learner, images: expand(task, learner)
        )
        if self.finish != "retrain":
            return (train,)
        optim = rescheduled(task.optim, self.retrain_epochs)
        retrain = Stage(
            "retrain",
            optim.model_copy(update={"milestones": (optim.epochs // 2,) if optim.epochs > 1 else ()}),
            _tempered_loss,
            forward=self.evaluate,
            pool=lambda images: torch.cat([images.exemplars_ME, task.method_state["balanced_Mn"]], dim=1),
            trains=("head.",),
            evaluates=("net",),
            prepare=partial(_start_classifier, task),
        )
        return (train, retrain)

    def after_stage(self, stage: Stage, learner: Learner, images: TaskImages) -> None:
        if stage.name != "train" or images.old == 0:
            return
        if self.finish == "align":
            align_new_rows(learner.network.classifier, images.old)
        elif self.finish == "retrain":
            candidates = Candidates.of(images.labels_A[images.new_N], images.old, learner.network.classifier.classes)
            chosen_Mn = herding(images.embed(images.new_N).features_MND, candidates, images.per_class)
            learner.method_state["balanced_Mn"] = images.new_N[chosen_Mn]

    def evaluate(self, learner: Learner, images: Tensor) -> Outputs:
        return on_all_features(learner, images)._replace(extra={})


def _start_classifier(task: TaskContext, learner: Learner, images: TaskImages) -> None:
    """Without exemplars nothing would be learnt from."""
    if images.per_class:
        width = learner.network.classifier.weight_MKD.shape[2]
        head = fresh_head(learner, width, task.seen, task.index, "retrain")
        assign(learner.network.classifier, head.state_dict())


def _tempered_loss(step: Step) -> Terms:
    T_M = step.task.hyperparameters["retrain_temperature"]
    return {"ce": cross_entropy(step.logits_MBK / T_M[:, None, None], step.labels_MB)}
