"""Finetuning with replay: cross-entropy over all classes seen, and nothing against forgetting but the exemplars."""

from __future__ import annotations

from typing import ClassVar

from trainer.losses.cross_entropy import cross_entropy
from trainer.methods.base import Method
from trainer.stages.stage import Step, Terms


class Finetune(Method):
    paper: ClassVar[str] = "the reference point of every table; 'Baseline' in the paper's Fig. 6"

    def loss(self, step: Step) -> Terms:
        return {"ce": cross_entropy(step.logits_MBK, step.labels_MB)}
