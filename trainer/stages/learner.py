"""The learner: M members as they are between two steps. Every tensor leads with the member axis."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from trainer.nets.member import assign
from trainer.nets.network import Network

TEACHER = "teacher"
"""the frozen network that a method distils from: as it was after the last task"""


class Learner:
    """The networks of M members, their exemplars, and what their method keeps from task to task.

    ``tensors`` and ``load_tensors`` turn all of it into named tensors ``[M, ...]`` and back: to select members, to
    join them and to save them are then one operation each on plain tensors.
    """

    def __init__(self, network: Network, seeds: Sequence[int]) -> None:
        """``network``: freshly initialised, its member m drawn from ``seeds[m]``."""
        self.network = network
        """the network that is trained"""
        self.seeds = tuple(seeds)
        self.frozen: dict[str, Network] = {}
        """networks that are no longer trained, by name"""
        self.exemplars_ME = torch.empty(self.members, 0, dtype=torch.int64, device=self.device)
        """indices into all training images"""
        self.method_state: dict[str, Tensor] = {}

    @property
    def members(self) -> int:
        """M"""
        return len(self.seeds)

    @property
    def device(self) -> torch.device:
        return self.network.classifier.weight_MKD.device

    @property
    def dtype(self) -> torch.dtype:
        """Data type of parameters, features and logits."""
        return self.network.classifier.weight_MKD.dtype

    def freeze_teacher(self) -> None:
        """Keep the network as it is now, to distil from."""
        self.frozen[TEACHER] = self.network.frozen()

    def folded(self, dtype: torch.dtype, *, network: bool) -> "Learner":
        """The same learner with faster backbones in its frozen networks and, where that only evaluates too, in its own.

        For forward passes alone, as long as these backbones do not change. ``dtype``: of their convolutions.
        """
        found = copy.copy(self)
        found.frozen = {name: frozen.folded(dtype) for name, frozen in self.frozen.items()}
        if network:
            found.network = self.network.folded(dtype)
        return found

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by name, each ``[M, ...]``."""
        found = {f"network/{k}": v for k, v in self.network.state_dict().items()}
        for name, network in self.frozen.items():
            found |= {f"frozen/{name}/{k}": v for k, v in network.state_dict().items()}
        found |= {f"method_state/{k}": v for k, v in self.method_state.items()}
        return {**found, "exemplars_ME": self.exemplars_ME}

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take over what ``tensors`` returned, of as many members; whatever else is among them is ignored."""
        tensors = {name: tensor.to(self.device) for name, tensor in tensors.items()}
        assign(self.network, under(tensors, "network/"))
        of_frozen = under(tensors, "frozen/")
        self.frozen = {}
        for name in dict.fromkeys(key.partition("/")[0] for key in of_frozen):
            self.frozen[name] = self.network.frozen()
            assign(self.frozen[name], under(of_frozen, f"{name}/"))
            self.frozen[name].requires_grad_(False)
        self.method_state = under(tensors, "method_state/")
        self.exemplars_ME = tensors["exemplars_ME"]

    def subset(self, members: Sequence[int]) -> "Learner":
        """A learner of these members alone, in this order; the same one may come more than once."""
        part = Learner(copy.deepcopy(self.network), [self.seeds[m] for m in members])
        part.load_tensors(select(self.tensors(), members))
        return part


def select(tensors: dict[str, Tensor], members: Sequence[int]) -> dict[str, Tensor]:
    """These members of tensors ``[M, ...]``, in this order."""
    return {name: tensor[torch.tensor(members, device=tensor.device)] for name, tensor in tensors.items()}


def under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with ``prefix``, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
