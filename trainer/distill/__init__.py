"""Distillations, one a file: losses that keep a student near its teacher on the old classes."""

from trainer.registry import plugins

__path__ = [*__path__, *plugins("distill")]
