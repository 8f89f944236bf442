"""The released code of the paper: JiangpengHe/imbalanced_cil."""

from collections.abc import Mapping
from typing import Any, ClassVar

from benchmarks.peers.facil import FacilPeer
from trainer.data.tasks import Task
from trainer.methods.gradient_reweighting import GradientReweighting


class ReleasedCode(FacilPeer):
    """Its one approach, which has the coefficients written into it."""

    title: ClassVar[str] = "released code"
    repository: ClassVar[str] = "JiangpengHe/imbalanced_cil"
    mark: ClassVar[str] = "src/approach/DGR.py"
    systems: ClassVar[Mapping[str, str]] = {"gradient_reweighting": "DGR"}
    fixed: ClassVar[Mapping[str, object]] = {**FacilPeer.fixed, "stage2": None}

    def check(self) -> None:
        super().check()
        written = GradientReweighting().model_dump(mode="json", by_alias=True)
        self.check_fields({f"method.{name}": value for name, value in written.items()})

    def fit(self, approach: Any, task: Task, train: Any, validation: Any) -> None:
        counts = [self._counts(seen) for seen in self.task_stream.tasks]
        approach.train(task.index, train, validation, counts)

    def _counts(self, task: Task) -> list[int]:
        """Images of each class seen, old ones capped at their exemplars."""
        counts = self.task_stream.counts_C[: task.first + task.classes].tolist()
        return [min(n, self.config.memory.per_class) if k < task.first else n for k, n in enumerate(counts)]
