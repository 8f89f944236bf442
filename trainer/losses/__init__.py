"""Losses as functions of tensors, one a file."""

from trainer.registry import plugins

__path__ = [*__path__, *plugins("losses")]
