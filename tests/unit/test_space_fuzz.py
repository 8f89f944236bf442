"""Whatever a search-space file holds, it loads or is refused in one line."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweeper.space import load_space
from trainer.errors import UserError

ROOT = Path(__file__).parent.parent.parent
VALID: dict[str, Any] = yaml.safe_load((ROOT / "search_spaces" / "digits.yaml").read_text()) | {
    "base": str(ROOT / "runs" / "digits_lfs5.yaml"),
    "pruning": {"pruner": "MedianPruner", "options": {}},
    "budget": {"wall_hours": 1.0},
}
quick = settings(deadline=None, max_examples=600, suppress_health_check=[HealthCheck.function_scoped_fixture])

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.sampled_from(
        ["1e-3", "", "method.alpha", "float", "TPESampler", "\x00", "ü", "nan", "-1", "[", "${X}", "../.."]
    ),
    st.text(max_size=8),
)
junk = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


def loads_or_says_why(file: Path) -> None:
    try:
        load_space(file)
    except UserError as error:
        line = str(error)
        assert line.strip()
        assert "\n" not in line


def paths(content: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [prefix] if prefix else []
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        found += paths(value, (*prefix, key))
    return found


@quick
@given(where=st.sampled_from(paths(VALID)), value=junk, drop=st.booleans())
def test_a_replaced_or_missing_value(tmp_path: Path, where: tuple[Any, ...], value: Any, drop: bool) -> None:
    content = copy.deepcopy(VALID)
    parent = content
    for key in where[:-1]:
        parent = parent[key]
    if drop:
        del parent[where[-1]]
    else:
        parent[where[-1]] = value
    file = tmp_path / "space.yaml"
    file.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    loads_or_says_why(file)


@quick
@given(
    name=st.text(max_size=12)
    | st.sampled_from(["method.", ".alpha", "method", "data.imbalance", "seed", "..", "optim.lr"])
)
def test_any_name_of_a_dimension(tmp_path: Path, name: str) -> None:
    content = {**VALID, "first": [], "vary": {name: {"type": "float", "low": 0.1, "high": 1.0}}}
    file = tmp_path / "space.yaml"
    file.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    loads_or_says_why(file)


@quick
@given(data=st.data())
def test_mangled_bytes(tmp_path: Path, data: st.DataObject) -> None:
    raw = bytearray(yaml.safe_dump(VALID).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    file = tmp_path / "space.yaml"
    file.write_bytes(bytes(raw[: data.draw(st.integers(0, len(raw)))]))
    loads_or_says_why(file)
