"""A sweep whose page has everything: a promotion, ends of all kinds, texts that would end a script."""

from datetime import UTC, datetime
from pathlib import Path

import yaml

from support.results import result
from sweeper.search.space import Space
from sweeper.search.space_file import load_space
from sweeper.store.schema import PromotionRow
from sweeper.store.store import Store
from sweeper.store.sweep_file import check_unchanged, read_space

BASE = Path(__file__).parents[2] / "runs" / "digits_lfs5.yaml"
HOSTILE = "</script><script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">"
ENDS = [*["finished"] * 10, "pruned", "diverged", "failed"]
BEST, PROMOTED = 9, 4


def store_sweep(results: Path, name: str = "s") -> Space:
    """Store it: 13 configurations of two seeds, of which 10 finished, each better than the one before."""
    file = results.parent / f"{name}.yaml"
    vary = {
        "method.kd": ["dakd", "none"],
        "method.lambda": {"type": "float", "low": 0.05, "high": 5.0, "log": True},
        "method.temperature": {"type": "float", "low": 1.0, "high": 8.0},
    }
    file.write_text(yaml.safe_dump({"base": str(BASE), "vary": vary, "seeds": [0, 1], "trials": 20}, sort_keys=False))
    store = Store(results, name)
    check_unchanged(load_space(file), store.folder, None, "images")
    space = read_space(store.folder)
    for trial, end in enumerate(ENDS):
        params = {"method.kd": ("dakd", "none")[trial % 2], "method.lambda": 1e-1 * (1 + trial)}
        params |= {"method.temperature": 1.0 + trial / 2}
        config = space.config(params)
        error = HOSTILE if end == "failed" else "the loss is not finite" if end == "diverged" else None
        own = {"status": end, "error": error, "config_id": config.config_id, "method": "gradient_reweighting"}
        values = {"forgetting_pct": 20.0 - trial, "acc_many_pct": 80.0 + seed_free(trial), "acc_few_pct": 30.0}
        at = datetime(2026, 1, 1, trial, tzinfo=UTC)
        runs = [result(trial, s, 50.0 + trial + 2 * s, finished_at=at, **own, **values) for s in (0, 1)]
        store.finish_trial(trial, runs, attempt="a", params=params)
    _promote(results, space, store)
    return space


def seed_free(trial: int) -> float:
    """A number of the trial that is the same for all of its seeds."""
    return trial / 4


def _promote(results: Path, space: Space, store: Store) -> None:
    base = space.base_on_test().config_id
    promotion = Store(results, f"{space.name}-promotion")
    for trial, config_id in enumerate(("led", base)):
        runs = [result(trial, s, 60.0, split="test", config_id=config_id, run_id=f"p{trial}-{s}") for s in (5, 6)]
        promotion.finish_trial(trial, runs, attempt="a")
    store.promote(
        PromotionRow(
            sweep=space.name, trial=PROMOTED, config_id="led", name="s", file="runs/s.yaml", decision="promoted",
            reason=f"better than {HOSTILE} by +3.00 [+1.00, +5.00]", metric="acc_task_mean_pct", split="test",
            seeds=[5, 6], n=2, mean_pct=63.0, std_pct=1.0, interval_low_pct=1.0, interval_high_pct=5.0,
            incumbent_config_id=None, incumbent_mean_pct=60.0, incumbent_std_pct=None, query="SELECT 1",
            git_commit=None, data_fingerprint=None, decided_at=datetime(2026, 1, 2, tzinfo=UTC),
        )
    )  # fmt: skip
