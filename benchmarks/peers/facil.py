"""What peers built on FACIL share: its networks, data sets, exemplars and approaches."""

import importlib
import time
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar
from unittest import mock

import numpy as np
import torch
from torch.utils.data import DataLoader

from benchmarks.peers.base import Peer
from trainer.data.augment import STATISTICS
from trainer.data.tasks import Task

VALIDATION = 10
"""One in so many images of a task is looked at after every epoch, as in FACIL, which keeps them apart for that. Here
they are trained on too, as ours are. The time is its own; nothing is chosen by them."""


class FacilPeer(Peer):
    """A run of one approach; ``systems`` names its module."""

    folder: ClassVar[str] = "src"
    fixed: ClassVar[Mapping[str, object]] = {"net.shortcut": "conv", "data.augment": "resized_crop"}

    # -- what an approach needs beside the shared options ---------------------------------------------

    def options(self) -> dict[str, Any]:
        """Attributes of its approach that carry the method's hyperparameters, where it has any."""
        return {}

    def fit(self, approach: Any, task: Task, train: Any, validation: Any) -> None:
        """Train one task."""
        approach.train(task.index, train, validation)

    # -- the promise of a peer --------------------------------------------------------------------------

    def load(self, workers: int | None) -> int:
        self._approach = importlib.import_module(f"approach.{self.system}")
        self._network = importlib.import_module("networks.network")
        self._resnet32 = importlib.import_module("networks.resnet32")
        self._exemplars = importlib.import_module("datasets.exemplars_dataset")
        self._images = importlib.import_module("datasets.memory_dataset")
        self._transforms = importlib.import_module("datasets.data_loader").get_transforms(
            resize=None,
            pad=self.config.data.pad,
            crop=self.config.data.crop,
            flip=self.config.data.flip,
            normalize=STATISTICS[self.config.data.normalise],
            extend_channel=None,
        )
        return 4 if workers is None else workers

    def train(self) -> list[float]:
        task_stream = self.task_stream
        net = self._network.LLL_Net(self._resnet32.resnet32(), remove_existing_head=True)
        net.schedule_step = list(self.config.optim.milestones)
        approach = self._make(net)
        train, test = self._transforms
        tests = [
            self._loader(task_stream.eval_pixels_NCHW, task_stream.eval_labels_N, task.eval_N, test)
            for task in task_stream.tasks
        ]
        accuracies = []
        for task in task_stream.tasks:
            net.add_head(task.classes)
            net.to(self.device)
            self.step_s.clear()
            images = task_stream.train_pixels_NCHW, task_stream.train_labels_N
            loader = self._loader(*images, task.train_N, train, shuffle=True)
            self.fit(approach, task, loader, self._loader(*images, task.train_N[::VALIDATION], test))
            accuracies.append(float(np.mean([approach.eval(u, tests[u])[2] for u in range(task.index + 1)])))
        return accuracies

    def _make(self, net: Any) -> Any:
        train, test = self._transforms
        exemplars = self._exemplars.ExemplarsDataset(
            test,
            list(range(len(self.task_stream.class_ids_C))),
            num_exemplars_per_class=self.config.memory.per_class,
            exemplar_selection="herding",
        )
        exemplars.transform = train
        optim = self.config.optim
        approach = self._approach.Appr(
            net,
            self.device,
            nepochs=optim.epochs,
            lr=optim.lr,
            lr_factor=1 / optim.gamma,
            momentum=optim.momentum,
            wd=optim.weight_decay,
            logger=mock.Mock(),
            exemplars_dataset=exemplars,
        )
        for name, value in self.options().items():
            setattr(approach, name, value)
        self._time_epochs(approach)
        return approach

    def _time_epochs(self, approach: Any) -> None:
        for name in ("train_epoch", "train_epoch_stage2"):
            if hasattr(approach, name):
                setattr(approach, name, partial(self._timed, getattr(approach, name)))

    def _timed(self, epoch: Any, t: int, loader: Any) -> None:
        started = time.perf_counter()
        epoch(t, loader)
        self.trained_epoch(time.perf_counter() - started, len(loader))

    def _loader(
        self,
        pixels_NCHW: torch.Tensor,
        labels_N: torch.Tensor,
        index_N: torch.Tensor,
        transform: Any,
        shuffle: bool = False,
    ) -> Any:
        images = {"x": pixels_NCHW[index_N].permute(0, 2, 3, 1).numpy(), "y": labels_N[index_N].tolist()}
        dataset = self._images.MemoryDataset(images, transform)
        return DataLoader(dataset, self.config.optim.batch_size, shuffle=shuffle, num_workers=self.workers)
