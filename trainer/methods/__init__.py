"""One file a method; the file's name is the method's name."""

from trainer.registry import plugins

__path__ = [*__path__, *plugins("methods")]
