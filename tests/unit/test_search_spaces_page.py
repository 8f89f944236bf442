"""docs/search_spaces.md: the errors that it shows are those that are raised."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.pages import ROOT, blocks
from support.results import store_trials
from sweeper.search.rehearsal import rehearse
from sweeper.search.space_file import load_space
from sweeper.store.store import Store
from sweeper.store.sweep_file import check_unchanged
from trainer.errors import UserError

SHOWN = [block.text.strip() for block in blocks("docs/search_spaces.md", "text")]
LAMBDA = {"method.lambda": {"type": "float", "low": 0.05, "high": 5}}
DIGITS = "search_spaces/digits.yaml"


def launch(vary: dict[str, Any], **more: Any) -> None:
    """What a launch checks of ``x.yaml`` before it starts."""
    content = {"base": str(ROOT / "runs" / "digits_lfs5.yaml"), "vary": vary, "trials": 24, **more}
    Path("x.yaml").write_text(yaml.safe_dump(content))
    rehearse(load_space("x.yaml"))


def launch_changed() -> None:
    """The seed of the search is another one, once a configuration is stored."""
    store = Store("results", "digits")
    check_unchanged(load_space(DIGITS), store.folder, None, "images")
    store_trials(store, [0])
    check_unchanged(load_space(DIGITS, ("search.seed=1",)), store.folder, None, "images")


CAUSES: dict[str, Callable[[], None]] = {
    "alhpa": lambda: launch({"method.alhpa": [1.0, 2.0]}),
    "is a field of": lambda: launch({"method.name": ["finetune", "bic", "gradient_reweighting"], **LAMBDA}),
    "BruteForce": lambda: launch(LAMBDA, search={"sampler": "BruteForceSampler"}),
    "changed since": launch_changed,
}


@pytest.mark.parametrize("shown", SHOWN)
def test_an_error_is_the_one_that_is_raised(shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (cause,) = [CAUSES[word] for word in CAUSES if word in shown]
    with pytest.raises(UserError) as raised:
        cause()
    assert re.fullmatch(re.escape(shown).replace(r"\.\.\.", ".*"), f"error: {raised.value}"), raised.value
