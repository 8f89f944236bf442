"""Whatever a run file holds, it loads or is refused in one line, and so is whatever --set says."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from support.fuzz import BOMBS, changed, junk, loads_or_says_why, mangled, paths, scalars, thorough, write
from trainer.config.files import dump_run, load_run
from trainer.errors import ConfigError
from trainer.results.verify import RecordedResult

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent.parent
PROVENANCE: dict[str, Any] = {
    "metric": "acc_task_mean_pct",
    "by_seed_pct": {0: 91.25, 1: 90.5},
    "interval_pct": [90.0, 91.5],
    "data_fingerprint": "0123456789abcdef",
    "torch_threads": 1,
}
VALID: dict[str, Any] = yaml.safe_load((ROOT / "runs" / "digits_lfs5.yaml").read_text()) | {"provenance": PROVENANCE}
any_value = junk(scalars("herding", "finetune", "digits", "lfs"))
names = st.text(max_size=8) | st.sampled_from(["nmae", "lr", "method", "(", "a[b]", "x.y", " ", "\n", "~", "name"])


def load(file: Path) -> None:
    """A file that loads can be written, read again and asked for its recorded results."""
    found = load_run(file)
    again = file.with_name("again.yaml")
    again.write_text(dump_run(found.config), encoding="utf-8")
    assert load_run(again).config == found.config
    assert len(found.config.run_id) == 16
    RecordedResult.of(found, str(file))


@thorough(1000)
@given(where=st.sampled_from(paths(VALID)), value=any_value)
@example(where=("optim", "lr"), value="1e-3")
@example(where=("optim", "epochs"), value=True)
@example(where=("method", "name"), value=["finetune"])
@example(where=("provenance", "by_seed_pct"), value={float("inf"): 90.0})
def test_a_replaced_value(tmp_path: Path, where: tuple[Any, ...], value: Any) -> None:
    def replace(parent: Any, key: Any) -> None:
        parent[key] = value

    loads_or_says_why(load, write(tmp_path / "run.yaml", changed(VALID, where, replace)))


@thorough(300)
@given(where=st.sampled_from(paths(VALID)))
def test_a_missing_value(tmp_path: Path, where: tuple[Any, ...]) -> None:
    def remove(parent: Any, key: Any) -> None:
        del parent[key]

    loads_or_says_why(load, write(tmp_path / "run.yaml", changed(VALID, where, remove)))


@thorough(600)
@given(where=st.sampled_from([p for p in paths(VALID) if isinstance(p[-1], str)]), name=names, value=any_value)
@example(where=("seed",), name="a(b", value=1)
@example(where=("optim", "lr"), name="a[b]", value=1)
def test_an_unknown_field(tmp_path: Path, where: tuple[Any, ...], name: str, value: Any) -> None:
    def add(parent: Any, key: Any) -> None:
        parent[name] = value

    loads_or_says_why(load, write(tmp_path / "run.yaml", changed(VALID, where, add)))


@thorough(600)
@given(content=mangled(yaml.safe_dump(VALID).encode()))
def test_mangled_bytes(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "run.yaml"
    file.write_bytes(content)
    loads_or_says_why(load, file)


@thorough(300)
@given(content=st.binary(max_size=64) | st.text(max_size=64).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_anything_at_all(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "run.yaml"
    file.write_bytes(content)
    loads_or_says_why(load, file)


@thorough(600)
@given(
    name=st.sampled_from([".".join(map(str, path)) for path in paths(VALID)]) | st.text(max_size=10),
    value=scalars("herding", "[1, 2", "{a: 1}", "&a [*a]", "!!python/name:os.system x", "2020-13-45").map(str),
)
def test_any_override(tmp_path: Path, name: str, value: str) -> None:
    file = write(tmp_path / "run.yaml", VALID)
    loads_or_says_why(lambda path: load_run(path, [f"{name}={value}"]), file)


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused(tmp_path: Path, name: str) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(BOMBS[name])
    with pytest.raises(ConfigError) as refused:
        load_run(file)
    lines = refused.value.lines()
    assert lines[0].startswith(f"{file}: ")
    assert len(lines) <= 21
    assert max(map(len, lines)) < 2500
