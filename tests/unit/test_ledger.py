"""What a sweep cost and saved, on rows small enough to add up."""

from pathlib import Path

from support.results import result, task_row
from sweeper.reporting.ledger import Ledger
from sweeper.store.results import open_results
from sweeper.store.store import Store
from trainer.results.rows import RunResult


def run(trial: int, status: str, tasks: int, *, saved_s: float = 0.0) -> RunResult:
    """10 seconds for the first task, 20 for the second, 30 for the third; the first may be another run's."""
    spent = [10.0 - saved_s, 20.0, 30.0][:tasks]
    saved = [saved_s, 0.0, 0.0]
    rows = [task_row(task, device_s=s, saved_s=saved[task]) for task, s in enumerate(spent)]
    return result(trial, 0, status=status, tasks=tasks).model_copy(
        update={"device_s": sum(spent), "saved_s": saved_s, "tasks": rows}
    )


def test_spent_and_saved_add_up(tmp_path: Path) -> None:
    store = Store(tmp_path, "s")
    store.finish_trial(0, [run(0, "finished", 3)], attempt="a", packing_saved_s=[90.0])
    store.finish_trial(1, [run(1, "finished", 3, saved_s=10.0)], attempt="a")
    store.finish_trial(2, [run(2, "pruned", 1, saved_s=10.0)], attempt="a")
    store.finish_trial(3, [run(3, "diverged", 2, saved_s=10.0)], attempt="a")
    trained = run(4, "finished", 3)
    tasks = [task.model_copy(update={"saved_s": task.device_s, "device_s": 0.0}) for task in trained.tasks]
    held = trained.model_copy(update={"device_s": 0.0, "saved_s": 60.0, "tasks": tasks})
    store.finish_trial(4, [held], attempt="from-store")
    found = Ledger.of(open_results(tmp_path), "s")
    assert found == Ledger(
        sweep="s", spent_s=60 + 50 + 0 + 20, sharing_s=30, store_s=60, pruning_s=20 + 30, packing_s=90
    )
    assert str(found) == (
        "130 device seconds spent; saved: 30 by shared first tasks, 50 by pruning, 90 by packs, 60 by the store"
    )


def test_what_a_pack_lost_is_not_called_saved(tmp_path: Path) -> None:
    Store(tmp_path, "s").finish_trial(0, [run(0, "finished", 3)], attempt="a", packing_saved_s=[-20.0])
    assert str(Ledger.of(open_results(tmp_path), "s")) == "60 device seconds spent; saved: none; lost: 20 by packs"


def test_without_a_finished_run_nobody_knows_what_pruning_saved(tmp_path: Path) -> None:
    store = Store(tmp_path, "s")
    store.finish_trial(0, [run(0, "pruned", 1)], attempt="a")
    found = Ledger.of(open_results(tmp_path), "s")
    assert (found.spent_s, found.pruning_s) == (10, 0)
    assert str(found).endswith("saved: none")
