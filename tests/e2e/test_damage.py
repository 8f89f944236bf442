"""A results folder with anything damaged in it: no wrong number without a word, and a relaunch ends well."""

from pathlib import Path

import pytest

from benchmarks.damage import store_real_results, trials
from support.sweeps import run_here

DAMAGES = 6


def run(command: str, *words: str) -> tuple[int, str]:
    return run_here(f"sweeper.{command}", words)


@pytest.mark.slow
@pytest.mark.usefixtures("shared_cluster")
def test_no_damage_changes_a_number_without_a_word(tmp_path: Path) -> None:
    results = store_real_results(tmp_path, run)
    every = {"resume_every": DAMAGES, "draw_every": DAMAGES}
    tried = list(trials(results, DAMAGES, seed=1, run=run, **every))
    assert [(one.kind, one.files, one.faults) for one in tried if one.faults] == []
    assert sum(one.named for one in tried) > 0
