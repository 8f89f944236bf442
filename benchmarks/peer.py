"""The released code of the paper, trained on the same images: its modules are imported from a checkout as they are.

JiangpengHe/imbalanced_cil, checked out in a folder of your own. Of ours are only the images, the tasks and the call of
its approach; the network, the loaders' data sets, the loop, the exemplars and the evaluation are its own.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch.utils.data import DataLoader

from trainer.config import RunConfig
from trainer.data.augment import STATISTICS
from trainer.data.tasks import Benchmark, Task
from trainer.data.torchvision_datasets import datasets
from trainer.errors import ConfigError

WORKERS = 4
"""that decode images: the released code's default"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """``--peer`` and ``--peer-workers``."""
    parser.add_argument("--peer", type=Path, metavar="DIR", help="a checkout of the paper's released code")
    parser.add_argument("--peer-workers", type=int, default=WORKERS, help="its loader's (default: %(default)s)")


class ReleasedCode:
    """One run of the released code."""

    def __init__(self, root: Path, config: RunConfig, benchmark: Benchmark, device: torch.device, workers: int) -> None:
        """Raises ConfigError if ``root`` is no checkout of it."""
        source = root / "src"
        if not (source / "approach" / "DGR.py").is_file():
            raise ConfigError(
                f"{root} is no checkout of JiangpengHe/imbalanced_cil: it lacks src/approach/DGR.py", field="--peer"
            )
        datasets()  # lets torchvision be imported beside a torch that it was not built for
        sys.path.insert(0, str(source))
        self._module = importlib.import_module
        self._config, self._benchmark, self._device, self._workers = config, benchmark, device, workers
        self.step_s: list[float] = []
        """seconds of a step, by epoch, of the last task of the last run"""
        self.acc_pct = 0.0
        """average incremental accuracy of the last run"""

    def run(self) -> None:
        """Train and measure all tasks."""
        with _quiet(), _in_temporary_folder(), self._on_cpu_if_it_must():
            self._run()

    def _run(self) -> None:
        config, benchmark = self._config, self._benchmark
        self._seed(config.seed)
        net = self._module("networks.network").LLL_Net(
            self._module("networks.resnet32").resnet32(), remove_existing_head=True
        )
        net.schedule_step = list(config.optim.milestones)
        train, test = self._transforms()
        exemplars = self._module("datasets.exemplars_dataset").ExemplarsDataset(
            test,
            list(range(len(benchmark.class_ids_C))),
            num_exemplars_per_class=config.memory.per_class,
            exemplar_selection="herding",
        )
        exemplars.transform = train
        approach = self._module("approach.DGR").Appr(
            net,
            self._device,
            nepochs=config.optim.epochs,
            lr=config.optim.lr,
            momentum=config.optim.momentum,
            wd=config.optim.weight_decay,
            logger=mock.Mock(),
            exemplars_dataset=exemplars,
        )
        self._time_epochs(approach)
        counts = [self._counts(task) for task in benchmark.tasks]
        tests = [
            self._loader(benchmark.eval_pixels_NCHW[t.eval_N], benchmark.eval_labels_N[t.eval_N], test, False)
            for t in benchmark.tasks
        ]
        phases = []
        for task in benchmark.tasks:
            net.add_head(task.classes)
            net.to(self._device)
            self.step_s.clear()
            loader = self._loader(
                benchmark.train_pixels_NCHW[task.train_N], benchmark.train_labels_N[task.train_N], train, True
            )
            approach.train(task.index, loader, tests[task.index], counts)
            phases.append(np.mean([approach.eval(u, tests[u])[2] for u in range(task.index + 1)]))
        self.acc_pct = 100 * float(np.mean(phases))

    def _time_epochs(self, approach: Any) -> None:
        inner = approach.train_epoch

        def timed(t: int, loader: Any) -> None:
            started = time.perf_counter()
            inner(t, loader)
            self.step_s.append((time.perf_counter() - started) / len(loader))

        approach.train_epoch = timed

    def _counts(self, task: Task) -> list[int]:
        """Images of each class seen, old ones capped at their exemplars."""
        counts = self._benchmark.counts_C[: task.first + task.classes].tolist()
        return [min(n, self._config.memory.per_class) if k < task.first else n for k, n in enumerate(counts)]

    def _transforms(self) -> tuple[Any, Any]:
        transforms = self._module("torchvision.transforms")
        mean, deviation = STATISTICS[self._config.data.normalise]
        last = [transforms.ToTensor(), transforms.Normalize(mean, deviation)]
        pad, side = transforms.Pad(self._config.data.pad), self._config.data.crop
        train = [pad, transforms.RandomResizedCrop(side), transforms.RandomHorizontalFlip(), *last]
        return transforms.Compose(train), transforms.Compose([pad, transforms.CenterCrop(side), *last])

    def _loader(self, pixels_NCHW: torch.Tensor, labels_N: torch.Tensor, transform: Any, shuffle: bool) -> Any:
        images = {"x": pixels_NCHW.permute(0, 2, 3, 1).numpy(), "y": labels_N.tolist()}
        dataset = self._module("datasets.memory_dataset").MemoryDataset(images, transform)
        return DataLoader(dataset, self._config.optim.batch_size, shuffle=shuffle, num_workers=self._workers)

    def _on_cpu_if_it_must(self) -> contextlib.AbstractContextManager[Any]:
        """Two of its lines ask for CUDA by name."""
        if self._device.type == "cuda":
            return contextlib.nullcontext()
        return mock.patch.object(torch.Tensor, "cuda", lambda tensor: tensor)

    def _seed(self, seed: int) -> None:
        """It draws from global generators."""
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


@contextlib.contextmanager
def _in_temporary_folder() -> Iterator[None]:
    """It writes a file of a fixed name into the working directory."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)
