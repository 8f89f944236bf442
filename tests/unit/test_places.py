"""How many trials run at a time, and how many a sweep asks its cluster for."""

from pathlib import Path

from support.drivers import driver
from support.results import result
from sweeper.execution.messages import EndedTrial, Failed, SetUpDone, TrialsEnded
from sweeper.execution.packing import Packing
from trainer.errors import UserError


def test_a_sweep_wants_a_place_for_every_pack_that_is_to_come(tmp_path: Path) -> None:
    own = driver(tmp_path, packing=Packing(4))  # of nine configurations
    assert (own.sweep.training, own.sweep.wanted) == (0, 3)
    own.pack("a")
    assert (own.sweep.training, own.sweep.wanted) == (1, 3)
    own.pack("b")
    own.pack("c")
    assert (own.sweep.training, own.sweep.wanted) == (3, 3)
    own.sweep.interrupted("a", "node", "its node was lost")
    assert (own.sweep.training, own.sweep.wanted) == (2, 3)
    assert own.pack("d") == [0, 1, 2, 3]
    ended = (EndedTrial(number=8, results=(result(8, 0), result(8, 1))),)
    own.sweep.receive("c", TrialsEnded(pack="c", attempt="a", ended=ended, training=False))
    assert (own.sweep.training, own.sweep.wanted) == (2, 2)


def test_until_packs_are_known_it_wants_one(tmp_path: Path) -> None:
    own = driver(tmp_path, packing=Packing(1), set_up=True)
    assert (own.sweep.training, own.sweep.wanted) == (0, 1)
    own.sweep.next_trial("first")
    assert (own.sweep.training, own.sweep.wanted) == (1, 1)
    own.sweep.receive("first", SetUpDone(first_task_s=1.0))
    assert (own.sweep.training, own.sweep.wanted) == (0, 9)


def test_one_that_cannot_go_on_wants_no_more(tmp_path: Path) -> None:
    own = driver(tmp_path, packing=Packing(4))
    own.pack("a")
    own.sweep.receive("a", Failed(reason="all of them raise"))
    assert own.sweep.wanted > 1  # each is trained alone to see which one it is
    own.sweep.refusal = UserError("the store does not answer")
    assert own.sweep.wanted == own.sweep.training == 0
