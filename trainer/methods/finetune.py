"""Finetuning on new images and exemplars: cross-entropy over all classes seen, and nothing else against forgetting."""

from trainer.methods.base import ChoosesLoss


class Finetune(ChoosesLoss):
    paper = "the reference point of every table; 'Baseline' in the paper's Fig. 6"
