"""A peer: another project's code, trained on our images; its modules are imported unchanged from a checkout.

Images, tasks and the call of its training are ours. Network, loaders, training loop, exemplars and evaluation are its
own, with its defaults.
"""

import contextlib
import os
import random
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, ClassVar
from unittest import mock

import numpy as np
import torch

from trainer.config.run_config import RunConfig
from trainer.data.tasks import TaskStream
from trainer.data.torchvision_datasets import datasets
from trainer.errors import ConfigError

SAME: Mapping[str, object] = MappingProxyType(
    {
        "net.name": "resnet32",
        "net.init": "fan_out",
        "data.crop": 32,
        "memory.selection": "herding",
        "memory.total": None,
        "optim.schedule": "milestones",
        "optim.warmup_epochs": 0,
        "optim.clip_norm": None,
    }
)
"""fields of a run file that no peer knows another value of"""


class Peer(ABC):
    """One run of another project's code. A subclass says which project it is and how its training is called."""

    title: ClassVar[str]
    repository: ClassVar[str]
    """on GitHub"""
    mark: ClassVar[str]
    """a file that a checkout of it has, and no other peer's"""
    folder: ClassVar[str]
    """where in it modules are imported from"""
    systems: ClassVar[Mapping[str, str]]
    """its own name of each method of ours that it has"""
    fixed: ClassVar[Mapping[str, object]]
    """fields of a run file that its code decides, and what it decides"""

    def __init__(
        self, root: Path, config: RunConfig, task_stream: TaskStream, device: torch.device, workers: int | None = None
    ) -> None:
        """``workers``: loader processes; its own default if None.

        Raises ConfigError naming the field if it cannot do what ``config`` asks for, or if a module is missing.
        """
        self.root, self.config, self.task_stream, self.device = root, config, task_stream, device
        self.step_s: list[float] = []
        """seconds of a step of the last task's first stage, by epoch, of the last run"""
        self.epochs_s = 0.0
        """seconds of all epochs of the last run: what is left is evaluation, exemplars and preparation"""
        self.acc_pct = 0.0
        """average incremental accuracy of the last run"""
        self._modules = _Modules(root / self.folder)
        self.check()
        datasets()  # lets torchvision be imported beside a torch that it was not built for
        try:
            with self._surroundings():
                self.workers = self.load(workers)
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"{root}: {self.title} imports {error.name}, which is neither in it nor installed", field="--peer"
            ) from error

    @property
    def system(self) -> str:
        """What it calls the run's method."""
        return self.systems[self.config.method.name]

    def run(self) -> None:
        """Train and measure all tasks."""
        with self._surroundings():
            self.epochs_s = 0.0
            _seed(self.config.seed)
            self.acc_pct = 100 * float(np.mean(self.train()))

    def described(self) -> str:
        """One line on whose code was run, and how."""
        done = subprocess.run(
            ["git", "-C", self.root, "rev-parse", "HEAD"], capture_output=True, text=True, check=False
        )
        commit = done.stdout.strip() or "a copy without its history"
        return f"{self.title}: {self.repository} at {commit}, {self.system}, {self.workers} loader processes."

    # -- what a peer defines ------------------------------------------------------------------------

    def check(self) -> None:
        """Raise ConfigError if its code cannot do what the run asks for."""
        name = self.config.method.name
        if name not in self.systems:
            allowed = ", ".join(self.systems)
            raise ConfigError(f"{self.title} does not train {name!r} here", field="method.name", allowed=allowed)
        self.check_fields({**SAME, **self.fixed})

    def check_fields(self, fixed: Mapping[str, object]) -> None:
        """Raise ConfigError if a field has another value than its code decides."""
        for field, value in fixed.items():
            given: Any = self.config.as_dict()
            for part in field.split("."):
                given = given[part]
            if given != value:
                raise ConfigError(f"{self.title} has no {given!r}", field=field, allowed=repr(value))

    @abstractmethod
    def load(self, workers: int | None) -> int:
        """Import its modules. Returns the loader processes that it will use."""

    @abstractmethod
    def train(self) -> list[float]:
        """Train and measure all tasks. Returns the accuracy after each, the mean over tasks seen."""

    def trained_epoch(self, wall_s: float, steps: int) -> None:
        """To be called after every epoch, of whatever stage; ``step_s`` is emptied when a task begins."""
        self.epochs_s += wall_s
        if len(self.step_s) < self.config.optim.epochs:
            self.step_s.append(wall_s / steps)

    # -- what surrounds it --------------------------------------------------------------------------

    @contextlib.contextmanager
    def _surroundings(self) -> Iterator[None]:
        """Silence, its modules, a folder for what it writes, and no CUDA where there is none."""
        with contextlib.ExitStack() as stack:
            nowhere = stack.enter_context(open(os.devnull, "w"))
            stack.enter_context(contextlib.redirect_stdout(nowhere))
            stack.enter_context(contextlib.redirect_stderr(nowhere))
            stack.enter_context(self._modules.importable())
            stack.enter_context(contextlib.chdir(stack.enter_context(tempfile.TemporaryDirectory())))
            if self.device.type != "cuda":
                stack.enter_context(mock.patch.object(torch.Tensor, "cuda", lambda tensor: tensor))
            yield


class _Modules:
    """Those of a folder, by their own names for as long as they are asked for: peers have modules of the same names."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder.resolve())
        self._loaded: dict[str, ModuleType] = {}

    @contextlib.contextmanager
    def importable(self) -> Iterator[None]:
        sys.path.insert(0, self._folder)
        sys.modules.update(self._loaded)
        try:
            yield
        finally:
            sys.path.remove(self._folder)
            own = [name for name, module in sys.modules.items() if self._holds(module)]
            self._loaded = {name: sys.modules.pop(name) for name in own}

    def _holds(self, module: ModuleType) -> bool:
        spec = getattr(module, "__spec__", None)
        try:
            places = [spec.origin, *(spec.submodule_search_locations or ())] if spec else []
        except KeyError:  # part of a package without a file of its own, which is no longer imported: none of ours
            return False
        return any(place and place.startswith(self._folder + os.sep) for place in places)


def _seed(seed: int) -> None:
    """Peers draw from global generators."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
