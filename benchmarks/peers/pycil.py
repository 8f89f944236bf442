"""PyCIL (Zhou et al., 2023): G-U-N/PyCIL."""

import importlib
import time
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any, ClassVar
from unittest import mock

import numpy as np

from benchmarks.peers.base import Peer
from trainer.data.augment import STATISTICS
from trainer.errors import ConfigError
from trainer.methods.icarl import Icarl
from trainer.methods.wa import Wa


class PyCil(Peer):
    """Replay, iCaRL or WA. A task's schedule is a set of constants of a learner's module, which are set to the run's.

    Its crop and flip are those of the run file; the jitter of brightness that it adds to CIFAR is left out, as ours has
    none. Its iCaRL distils softmax at T = 2 where ours distils sigmoids.
    """

    title: ClassVar[str] = "PyCIL"
    repository: ClassVar[str] = "G-U-N/PyCIL"
    mark: ClassVar[str] = "models/wa.py"
    folder: ClassVar[str] = ""
    systems: ClassVar[Mapping[str, str]] = {"finetune": "replay", "icarl": "icarl", "wa": "wa"}
    fixed: ClassVar[Mapping[str, object]] = {
        "net.shortcut": "pad",
        "net.init": "fan_out_wide_head",
        "data.augment": "random_crop",
        "data.flip": True,
        "optim.momentum": 0.9,
        "stage2": None,
    }

    def check(self) -> None:
        super().check()
        method, smallest = self.config.method, int(self.task_stream.counts_C.min())
        if isinstance(method, Icarl):
            self.check_fields({"method.lambda": 1.0, "method.classification": "softmax", "method.plateau": False})
        if isinstance(method, Wa):
            self.check_fields({"method.lambda": 1.0, "method.kd": "kd", "method.clip_weights": False})
        if not 1 <= self.config.memory.per_class <= smallest:
            raise ConfigError(
                f"{self.title} wants {self.config.memory.per_class} exemplars of every class, and the smallest has "
                f"{smallest} images",
                field="memory.per_class",
                allowed=f"1 to {smallest}, or a shorter tail",
            )

    def load(self, workers: int | None) -> int:
        self._learner = importlib.import_module(f"models.{self.system}")
        self._factory = importlib.import_module("utils.factory")
        self._data = importlib.import_module("utils.data_manager")
        return int(self._learner.num_workers) if workers is None else workers

    def train(self) -> list[float]:
        with mock.patch.multiple(self._learner, **self._constants()):
            learner = self._factory.get_model(self.system, self._arguments())
            measured = self._measured(learner)
            self._time_epochs(learner)
            manager = self._manager()
            accuracies = []
            for _ in self.task_stream.tasks:
                self.step_s.clear()
                measured.clear()
                learner.incremental_train(manager)
                learner.eval_task()
                learner.after_task()
                accuracies.append(measured[-1 if isinstance(self.config.method, Icarl) else 0])
            return accuracies

    def _constants(self) -> dict[str, Any]:
        """Those of the first task and those of later ones."""
        optim = self.config.optim
        each = {
            "lr": optim.lr,
            "milestones": list(optim.milestones),
            "lr_decay": optim.gamma,
            "weight_decay": optim.weight_decay,
        }
        found: dict[str, Any] = {f"init_{name}": value for name, value in each.items()}
        found |= {"lrate": optim.lr, "lrate_decay": optim.gamma, "init_epoch": optim.epochs, "epochs": optim.epochs}
        found |= {name: each[name] for name in ("milestones", "weight_decay")}
        found |= {"batch_size": optim.batch_size, "num_workers": self.workers}
        return found | ({"T": self.config.method.temperature} if isinstance(self.config.method, Wa) else {})

    def _arguments(self) -> dict[str, Any]:
        per_class = self.config.memory.per_class
        return {
            "memory_size": per_class * len(self.task_stream.class_ids_C),
            "memory_per_class": per_class,
            "fixed_memory": True,
            "convnet_type": "resnet32",
            "device": [self.device],
        }

    def _manager(self) -> Any:
        """Its manager of a data set, over our images and tasks."""
        transforms = importlib.import_module("torchvision.transforms")
        data, task_stream = self.config.data, self.task_stream
        images = SimpleNamespace(
            download_data=lambda: None,
            train_data=task_stream.train_pixels_NCHW.permute(0, 2, 3, 1).numpy(),
            train_targets=task_stream.train_labels_N.numpy(),
            test_data=task_stream.eval_pixels_NCHW.permute(0, 2, 3, 1).numpy(),
            test_targets=task_stream.eval_labels_N.numpy(),
            use_path=False,
            train_trsf=[transforms.RandomCrop(data.crop, padding=data.pad), transforms.RandomHorizontalFlip()],
            test_trsf=[],
            common_trsf=[transforms.ToTensor(), transforms.Normalize(*STATISTICS[data.normalise])],
            class_order=list(range(len(task_stream.class_ids_C))),
        )
        sizes = [task.classes for task in task_stream.tasks]
        with mock.patch.object(self._data, "_get_idata", return_value=images):
            manager = self._data.DataManager("ours", False, self.config.seed, sizes[0], sizes[-1])
        manager._increments = sizes
        return manager

    def _measured(self, learner: Any) -> list[float]:
        """Filled with the mean accuracy over tasks of each classifier that it measures: the head, then the means."""
        inner, found = learner._evaluate, list[float]()
        firsts = [task.first for task in self.task_stream.tasks]
        learner.topk = min(learner.topk, self.task_stream.tasks[0].classes)

        def evaluate(y_pred: Any, y_true: Any) -> Any:
            task_N = np.searchsorted(firsts, y_true, side="right")
            hit_N = y_pred[:, 0] == y_true
            found.append(float(np.mean([hit_N[task_N == task].mean() for task in np.unique(task_N)])))
            return inner(y_pred, y_true)

        learner._evaluate = evaluate
        return found

    def _time_epochs(self, learner: Any) -> None:
        inner = learner._train
        learner._train = lambda train, test: inner(_Timed(train, self.trained_epoch), test)


class _Timed:
    """A loader that tells what each epoch took, whatever is done with its batches."""

    def __init__(self, loader: Any, tell: Callable[[float, int], None]) -> None:
        self._loader, self._tell = loader, tell

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        started = time.perf_counter()
        yield from self._loader
        self._tell(time.perf_counter() - started, len(self))
