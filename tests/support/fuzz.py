"""Broken YAML files, as Hypothesis strategies: whatever a file holds, a loader loads it or says why in one line."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from trainer.errors import UserError


def thorough(examples: int) -> settings:
    """For tests that write each example to the same file of ``tmp_path``.

    A fifth of them in ``make test``, where they are the same every time; all in ``make fuzz``.
    """
    return settings(
        deadline=None,
        max_examples=examples if settings.get_current_profile_name() == "others" else examples // 5,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


def scalars(*words: str) -> st.SearchStrategy[Any]:
    """Values of every kind that YAML knows; ``words``: texts that mean something to the loader."""
    texts = ["1e-3", "", "\x00", "ü", "nan", "-1", "[", "(", "${X}", "../..", "\u2028", "1:30", "2020-13-45", *words]
    return st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**20), 10**20),
        st.floats(),
        st.dates(),
        st.binary(max_size=4),
        st.sampled_from(texts),
        st.text(max_size=8),
    )


def junk(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """These values, in lists and mappings, with keys that are not always text."""
    keys = st.text(max_size=6) | st.integers() | st.booleans() | st.floats() | st.none()
    return st.recursive(
        inner,
        lambda deeper: st.lists(deeper, max_size=3) | st.dictionaries(keys, deeper, max_size=3),
        max_leaves=6,
    )


def paths(content: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where there is something to break."""
    found = [prefix] if prefix else []
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        found += paths(value, (*prefix, key))
    return found


def changed(content: Any, where: tuple[Any, ...], change: Callable[[Any, Any], None]) -> Any:
    """A copy in which ``change(parent, key)`` was done at ``where``."""
    content = copy.deepcopy(content)
    parent = content
    for key in where[:-1]:
        parent = parent[key]
    change(parent, where[-1])
    return content


def write(file: Path, content: Any) -> Path:
    file.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8", errors="surrogatepass")
    return file


@st.composite
def mangled(draw: st.DrawFn, text: bytes) -> bytes:
    """Some bytes replaced, inserted or lost, and perhaps the end cut off."""
    raw = bytearray(text)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(raw) - 1))
        raw[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(raw[: draw(st.integers(0, len(raw)))])


def loads_or_says_why(load: Callable[[Path], object], file: Path) -> None:
    try:
        load(file)
    except UserError as error:
        lines = error.lines()
        assert lines
        assert all(line.strip() and "\n" not in line and len(line) < 2000 for line in lines)


_ALIASES = (
    "provenance:\n x0: &x0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
    + "\n".join(f" x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 10)}]" for n in range(1, 12))
    + "\n"
)
"""a million million ones"""

BOMBS: dict[str, str] = {
    "nested lists": "optim: " + "[" * 5000,
    "nested mappings": "optim: " + "{a: " * 3000 + "1" + "}" * 3000,
    "a list that holds itself": "optim: &a [*a]",
    "a mapping that holds itself": "optim: &a {b: *a}",
    "a name of aliases": _ALIASES + "method: {name: *x11}",
    "a value of aliases": _ALIASES + "method: {name: finetune}\nseed: *x11",
    "a number of many digits": "seed: " + "9" * 10_000,
    "a number of many hexadecimal digits": "seed: 0x" + "f" * 10_000,
    "a number in base sixty": "optim: {lr: " + "59:" * 3000 + "59}",
    "a number of seconds": "method: {name: finetune}\nseed: 0x" + "f" * 10_000,
    "a long text": "method: {name: " + "finetune" * 100_000 + "}",
    "a long name": "x" * 1000 + ": 1",
    "many fields": "\n".join(f"f{n}: {n}" for n in range(5000)),
    "code": "method: !!python/object/apply:os.system ['exit 3']",
    "a key that is a list": "? [a, b]\n: 1",
    "a key given twice": "seed: 1\nseed: 2",
    "a merge": "a: &a {seed: 1}\n<<: *a",
    "two documents": "seed: 1\n---\nseed: 2",
    "a tab": "optim:\n\tlr: 1",
    "a top that is a list": "- seed",
    "nothing": "",
}
"""small files that ask for much, and YAML that means something else than it seems to; all are to be refused"""
