"""Whatever a search-space file holds, it loads or is refused in one line."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from support.fuzz import BOMBS, changed, junk, loads_or_says_why, mangled, paths, scalars, thorough, write
from sweeper.search.space_file import load_space
from trainer.errors import ConfigError

ROOT = Path(__file__).parent.parent.parent
VALID: dict[str, Any] = yaml.safe_load((ROOT / "search_spaces" / "digits.yaml").read_text()) | {
    "base": str(ROOT / "runs" / "digits_lfs5.yaml"),
    "pruning": {"pruner": "MedianPruner", "options": {}},
    "budget": {"wall_hours": 1.0},
}
where_any = st.sampled_from(paths(VALID))
any_value = junk(scalars("method.alpha", "float", "TPESampler"))


@thorough(600)
@given(where=where_any, value=any_value, drop=st.booleans())
def test_a_replaced_or_missing_value(tmp_path: Path, where: tuple[Any, ...], value: Any, drop: bool) -> None:
    def change(parent: Any, key: Any) -> None:
        if drop:
            del parent[key]
        else:
            parent[key] = value

    loads_or_says_why(load_space, write(tmp_path / "space.yaml", changed(VALID, where, change)))


@thorough(600)
@given(
    name=st.text(max_size=12)
    | st.sampled_from(["method.", ".alpha", "method", "data.imbalance", "seed", "..", "optim.lr"])
)
def test_any_name_of_a_dimension(tmp_path: Path, name: str) -> None:
    content = {**VALID, "first": [], "vary": {name: {"type": "float", "low": 0.1, "high": 1.0}}}
    loads_or_says_why(load_space, write(tmp_path / "space.yaml", content))


@thorough(600)
@given(content=mangled(yaml.safe_dump(VALID).encode()))
def test_mangled_bytes(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "space.yaml"
    file.write_bytes(content)
    loads_or_says_why(load_space, file)


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused(tmp_path: Path, name: str) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(BOMBS[name])
    with pytest.raises(ConfigError) as refused:
        load_space(file)
    assert len(refused.value.lines()) <= 21
    assert max(map(len, refused.value.lines())) <= 2500


def test_a_value_too_large_to_print(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    huge = "0x" + "f" * 10_000
    file.write_text(yaml.safe_dump(VALID).replace("trials: ", f"trials: {huge}\nx: ", 1))
    with pytest.raises(ConfigError):
        load_space(file)
