"""Long-Tailed CIL (Liu et al., ECCV 2022): xialeiliu/Long-Tailed-CIL, with or without its second stage."""

import contextlib
from collections.abc import Mapping
from typing import Any, ClassVar
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.peers.facil import FacilPeer
from trainer.errors import ConfigError
from trainer.methods.eeil import Eeil
from trainer.methods.lucir import Lucir

FEWEST = 10
"""images a class, on average over a task, from which on its LUCIR trains the first stage before the second"""


class LongTailedCil(FacilPeer):
    """LUCIR or EEIL, as the run file says, with the second stage where the run file has one."""

    title: ClassVar[str] = "Long-Tailed CIL"
    repository: ClassVar[str] = "xialeiliu/Long-Tailed-CIL"
    mark: ClassVar[str] = "src/approach/lucir_2stage.py"
    systems: ClassVar[Mapping[str, str]] = {"eeil": "eeil", "lucir": "lucir"}

    @property
    def system(self) -> str:
        return super().system + ("_2stage" if self.config.stage2 else "")

    def check(self) -> None:
        super().check()
        config, method = self.config, self.config.method
        if isinstance(method, Eeil):
            self.check_fields({"method.balanced_new": "random", "method.skip_last_task": True})
        if config.stage2:
            stage: dict[str, object] = {"lr": config.optim.lr, "scale_lr_factor": config.optim.gamma}
            stage |= {"full_rate_epochs": 1, "images_per_visit": 4}
            stage |= {"epochs": 1} if isinstance(method, Eeil) else {}
            self.check_fields({f"stage2.{name}": value for name, value in stage.items()})
        for task in self.task_stream.tasks:
            if config.stage2 and isinstance(method, Lucir) and len(task.train_N) <= FEWEST * task.classes:
                raise ConfigError(
                    f"{self.title} leaves out LUCIR's first stage in task {task.index}, which has "
                    f"{len(task.train_N)} images of {task.classes} classes",
                    field="data.imbalance",
                    allowed=f"more than {FEWEST} images a class in every task",
                )

    def options(self) -> dict[str, Any]:
        method, second = self.config.method, self.config.stage2
        found: dict[str, Any] = {"stage2epoch": second.epochs} if second else {}
        if isinstance(method, Lucir):
            found |= {"lamb": method.lambda_, "lamb_mr": method.ranking, "dist": method.margin, "K": method.nearest}
        if isinstance(method, Eeil):
            epochs = max(1, round(method.balanced_epochs * self.config.optim.epochs))
            found |= {"lamb": method.lambda_, "T": method.temperature}
            found |= {"nepochs_finetuning": epochs, "lr_finetuning_factor": method.balanced_lr}
        return found

    def train(self) -> list[float]:
        with _margin_of_any_shape():
            return super().train()


def _margin_of_any_shape() -> contextlib.AbstractContextManager[Any]:
    """Its margin ranking gives scores ``[n, 1]`` and targets ``[n]``, which torch refuses since it was written."""

    def forward(self: torch.nn.MarginRankingLoss, first: Tensor, second: Tensor, target: Tensor) -> Tensor:
        return F.margin_ranking_loss(first, second, target.view_as(first), margin=self.margin)

    return mock.patch.object(torch.nn.MarginRankingLoss, "forward", forward)
