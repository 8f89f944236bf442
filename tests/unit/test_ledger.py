"""What a sweep cost and was spared, on rows small enough to add up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sweeper.reporting.ledger import Ledger
from sweeper.store.results import open_results
from sweeper.store.store import Store


def run(trial: int, status: str, tasks: int, *, saved_s: float = 0.0, attempt: str = "a") -> dict[str, Any]:
    """10 seconds for the first task, 20 for the second, 30 for the third; the first may be taken over."""
    spent = [10.0 - saved_s, 20.0, 30.0][:tasks]
    row = {"run_id": f"r{trial}", "seed": 0, "status": status, "tasks_done": tasks, "split": "validation"}
    details = [
        {"run_id": f"r{trial}", "task": task, "device_s": s, "saved_s": saved_s if task == 0 else 0.0}
        for task, s in enumerate(spent)
    ]
    return {"row": row | {"device_s": sum(spent), "saved_s": saved_s}, "tasks": details}


def test_spent_and_spared_add_up(tmp_path: Path) -> None:
    store = Store(tmp_path, "s")
    packed = run(0, "finished", 3)
    packed["row"]["packing_saved_s"] = 90.0
    store.finish_trial(0, "a", [packed])
    store.finish_trial(1, "a", [run(1, "finished", 3, saved_s=10.0)])
    store.finish_trial(2, "a", [run(2, "pruned", 1, saved_s=10.0)])
    store.finish_trial(3, "a", [run(3, "diverged", 2, saved_s=10.0)])
    held = run(4, "finished", 3)
    held["row"] |= {"device_s": 0.0, "saved_s": 60.0}
    for task in held["tasks"]:
        task |= {"saved_s": task["device_s"], "device_s": 0.0}
    store.finish_trial(4, "from-store", [held])
    found = Ledger.of(open_results(tmp_path), "s")
    assert found == Ledger(spent_s=60 + 50 + 0 + 20, sharing_s=30, store_s=60, pruning_s=20 + 30, packing_s=90)
    assert str(found) == (
        "130 device seconds spent; saved: 30 by shared first tasks, 50 by pruning, 90 by packs, 60 by the store"
    )


def test_without_a_finished_run_nobody_knows_what_pruning_spared(tmp_path: Path) -> None:
    store = Store(tmp_path, "s")
    store.finish_trial(0, "a", [run(0, "pruned", 1)])
    found = Ledger.of(open_results(tmp_path), "s")
    assert (found.spent_s, found.pruning_s) == (10, 0)
    assert str(found).endswith("saved: none")
