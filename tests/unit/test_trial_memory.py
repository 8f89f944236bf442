"""A pack that is too large for the device is halved until it fits, and what ended before stays ended."""

from pathlib import Path

import pytest

from support.methods import method_folder
from support.sweeps import space_file
from sweeper.execution.job import Job
from sweeper.execution.messages import Message, PackSplit, TaskDone, TrialsEnded
from sweeper.execution.trial import TrialError, train_pack
from sweeper.search.space_file import load_space

# Raises what CUDA raises where more members than a file beside it allows are trained together.
GREEDY = '''
import torch
from pathlib import Path
from trainer.losses.cross_entropy import cross_entropy
from trainer.methods.base import Method, hyperparameter

class Greedy(Method):
    """For tests."""
    paper = "none"
    weight: float = hyperparameter(1.0, per_member=True, ge=0)

    def loss(self, step):
        if step.task.members > int((Path(__file__).parent / "room").read_text()):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return {"ce": step.task.hyperparameters["weight"] * cross_entropy(step.logits_MBK, step.labels_MB)}
'''

SMALL = {"optim.epochs": 1, "optim.milestones": [], "data.imbalance.max_per_class": 20}


def trained(tmp_path: Path, room: int, weights: list[float]) -> list[Message]:
    """The messages that the driver gets of one pack with two seeds."""
    folder = tmp_path / "methods"
    folder.mkdir(parents=True)
    (folder / "greedy.py").write_text(GREEDY)
    (folder / "room").write_text(str(room))
    with method_folder(folder):
        file = space_file(
            tmp_path,
            set=SMALL | {"method": {"name": "greedy"}},
            vary={"method.weight": {"type": "float", "low": 0.1, "high": 2.0}},
        )
        space = load_space(file)
        job = Job(str(tmp_path / "sweep"), space.spec.resources, space.spec.objective.metric)
        pack = {number: space.configs({"method.weight": w}) for number, w in enumerate(weights)}
        messages: list[Message] = []
        train_pack(job, pack, messages.append)
    return messages


def accuracies(messages: list[Message]) -> dict[int, list[float | None]]:
    """By number, a value a seed."""
    found: dict[int, list[float | None]] = {}
    for message in messages:
        if isinstance(message, TrialsEnded):
            for one in message.ended:
                assert one.number not in found, "a configuration ended twice"
                found[one.number] = [result.acc_task_mean_pct for result in one.results]
    return found


def packs_of(messages: list[Message]) -> set[str]:
    """Packs that were trained."""
    return {message.pack for message in messages if isinstance(message, TaskDone | TrialsEnded)}


def test_halves_give_what_the_whole_gives(tmp_path: Path) -> None:
    weights = [0.5, 1.0, 1.5]
    whole = accuracies(trained(tmp_path / "large", 6, weights))
    halved = trained(tmp_path / "small", 4, weights)
    assert accuracies(halved) == whole
    assert len([message for message in halved if isinstance(message, PackSplit)]) == 1
    assert len(packs_of(halved)) == 2


def test_down_to_single_configurations(tmp_path: Path) -> None:
    messages = trained(tmp_path, 2, [0.5, 1.0, 1.5, 2.0])
    assert sorted(accuracies(messages)) == [0, 1, 2, 3]
    assert len(packs_of(messages)) == 4


def test_a_configuration_that_does_not_fit_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrialError, match="out of memory: a configuration with 2 seeds"):
        trained(tmp_path, 1, [0.5, 1.0])
