"""``--peer``: recognises the project of a checkout by its files."""

import argparse
from pathlib import Path

import torch

from benchmarks.peers.base import Peer
from benchmarks.peers.long_tailed_cil import LongTailedCil
from benchmarks.peers.pycil import PyCil
from benchmarks.peers.released import ReleasedCode
from trainer.command import at_least
from trainer.config.run_config import RunConfig
from trainer.data.tasks import TaskStream
from trainer.errors import ConfigError

PEERS: tuple[type[Peer], ...] = (ReleasedCode, LongTailedCil, PyCil)


def add_options(parser: argparse.ArgumentParser) -> None:
    """``--peer`` and ``--peer-workers``."""
    known = ", ".join(peer.repository for peer in PEERS)
    parser.add_argument("--peer", type=Path, metavar="DIR", help=f"a checkout of one of {known}")
    parser.add_argument("--peer-workers", type=at_least(0), metavar="N", help="its loader processes (default: its own)")


def find(root: Path) -> type[Peer]:
    """The peer whose checkout ``root`` is. Raises ConfigError if it is none's."""
    for peer in PEERS:
        if (root / peer.mark).is_file():
            return peer
    marks = ", ".join(f"{peer.repository} ({peer.mark})" for peer in PEERS)
    raise ConfigError(f"{root} is no checkout that is known by its files", field="--peer", allowed=marks)


def chosen(
    arguments: argparse.Namespace, config: RunConfig, task_stream: TaskStream, device: torch.device
) -> Peer | None:
    """The peer of ``--peer``, ready to run, or None. Raises ConfigError if it cannot run ``config``."""
    if arguments.peer is None:
        return None
    return find(arguments.peer)(arguments.peer.resolve(), config, task_stream, device, arguments.peer_workers)
