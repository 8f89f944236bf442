"""A file of runs is read exactly as it was written, or named and skipped."""

import functools
import itertools
import random
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.results import result, store_trials
from sweeper.store import schema
from sweeper.store.results import open_results
from sweeper.store.store import Store
from trainer.errors import StoreError
from trainer.results import parquet
from trainer.results.parquet import DamagedFile, ResultsFile, arrow_schema, encode, to_arrow
from trainer.results.rows import RunResult

TABLES = (None, "tasks", "epochs", "classes")
EXAMPLES = 10_000 if settings.get_current_profile_name() == "others" else 60
"""damaged files that are read: 10,000 with ``make fuzz``"""


def everything(store: Store) -> dict[str | None, list[str]]:
    """Every row of every table, as text that tells NaN, infinity and each digit."""
    return {detail: [repr(row) for row in store.read(detail=detail).to_pylist()] for detail in TABLES}


# -- damage -------------------------------------------------------------------------------------------

Damage = Callable[[bytes, random.Random], bytes]


def cut(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(len(content))]


def flip(content: bytes, draw: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.choice([1, 1, 2, 8])):
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def zero(content: bytes, draw: random.Random) -> bytes:
    at, length = draw.randrange(len(content)), draw.choice([1, 16, 512, 4096])
    return content[:at] + bytes(len(content[at : at + length])) + content[at + length :]


def grow(content: bytes, draw: random.Random) -> bytes:
    return content + draw.choice([bytes(draw.randrange(1, 600)), content])


def swap_blocks(content: bytes, draw: random.Random) -> bytes:
    length = draw.choice([1, 16, 512, 4096])
    first, second = sorted(length * draw.randrange(max(1, len(content) // length)) for _ in range(2))
    changed = bytearray(content)
    one, two = changed[first : first + length], changed[second : second + length]
    if len(one) == len(two):
        changed[first : first + length], changed[second : second + length] = two, one
    return bytes(changed)


def columns_of(content: bytes) -> list[tuple[int, int]]:
    """Where each column's pages begin, and their length."""
    group = pq.read_metadata(pa.py_buffer(content)).row_group(0)
    chunks = [group.column(index) for index in range(group.num_columns)]
    starts = [c.data_page_offset if c.dictionary_page_offset is None else c.dictionary_page_offset for c in chunks]
    return [(start, chunk.total_compressed_size) for start, chunk in zip(starts, chunks, strict=True)]


@functools.lru_cache(8)
def equal_columns(content: bytes) -> list[tuple[int, int, int]]:
    """Pairs of columns whose pages are as long, and differ: their starts and the length."""
    return [
        (one, two, length)
        for (one, length), (two, other) in itertools.combinations(columns_of(content), 2)
        if length == other and content[one : one + length] != content[two : two + length]
    ]


def swap_pages(content: bytes, draw: random.Random) -> bytes:
    """Two whole columns, each with a page checksum that is right."""
    one, two, length = draw.choice(equal_columns(content))
    changed = bytearray(content)
    changed[one : one + length], changed[two : two + length] = content[two : two + length], content[one : one + length]
    return bytes(changed)


def copy_page(content: bytes, draw: random.Random) -> bytes:
    """A whole column in the place of another one."""
    one, two, length = draw.choice(equal_columns(content))
    return content[:one] + content[two : two + length] + content[one + length :]


DAMAGE: dict[str, Damage] = {f.__name__: f for f in (cut, flip, zero, grow, swap_blocks, swap_pages, copy_page)}


Read = dict[str | None, pa.Table]


def tables(store: Store) -> Read:
    """Every table, read once."""
    return {detail: store.read(detail=detail) for detail in TABLES}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Read]:
    """A sweep of two merged trials and two single ones, and its tables."""
    folder = tmp_path_factory.mktemp("sound")
    store = Store(folder, "s")
    store_trials(store, range(2), method="gradient_reweighting", tasks=1)
    store.compact()
    store_trials(store, range(2, 4), tasks=1)
    return folder, tables(store)


@pytest.mark.slow
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    kind=st.sampled_from(sorted(DAMAGE)),
    name=st.sampled_from(["000000-000001.parquet", "000002.parquet"]),
    seed=st.integers(0, 2**32),
)
def test_a_damaged_file_is_named_and_costs_nothing_else(
    sound: tuple[Path, Read], kind: str, name: str, seed: int
) -> None:
    folder, expected = sound
    file = folder / "s" / "runs" / name
    others = pc.field("trial") > 1 if "-" in name else pc.field("trial") != 2
    whole = file.read_bytes()
    damaged = DAMAGE[kind](whole, random.Random(seed))
    named: list[str] = []
    try:
        file.write_bytes(damaged)
        found = tables(Store(folder, "s", report=named.append))
    finally:
        file.write_bytes(whole)
    assert len(named) == (damaged != whole), "no byte is unguarded, and a file is named once"
    assert all(name in line and "\n" not in line for line in named)
    for detail, table in expected.items():
        if not found[detail].equals(table):
            assert named
            assert found[detail].equals(table.filter(others))


def test_pages_of_two_files_are_not_mixed(tmp_path: Path) -> None:
    """A column's pages in the same place of another configuration's file, each with a right checksum."""
    named: list[str] = []
    store = Store(tmp_path, "s", report=named.append)
    store_trials(store, range(1, 3))
    expected = everything(store)
    one, two = (tmp_path / "s" / "runs" / f"{trial:06d}.parquet" for trial in range(1, 3))
    first, second = one.read_bytes(), two.read_bytes()
    places = [place for place in columns_of(first) if place in columns_of(second)]
    differ = [(start, n) for start, n in places if first[start : start + n] != second[start : start + n]]
    assert differ
    for start, length in differ:
        one.write_bytes(first[:start] + second[start : start + length] + first[start + length :])
        named.clear()
        found = everything(Store(tmp_path, "s", report=named.append))
        assert len(named) == 1
        assert all(set(found[detail]) <= set(rows) for detail, rows in expected.items())


def test_what_is_damaged_is_trained_again(tmp_path: Path) -> None:
    named: list[str] = []
    store_trials(Store(tmp_path, "s"), range(3))
    file = tmp_path / "s" / "runs" / "000001.parquet"
    expected = everything(Store(tmp_path, "s"))
    file.write_bytes(file.read_bytes()[:-1])
    store = Store(tmp_path, "s", report=named.append)
    assert store.trials() == {0, 2}
    store_trials(store, [1])
    assert everything(Store(tmp_path, "s")) == expected
    assert len(named) == 1


def test_a_merged_file_that_is_damaged_gives_way_to_those_it_replaces(tmp_path: Path) -> None:
    """As a merge that was killed before it deleted them leaves them: nothing is lost, nothing is there twice."""
    store_trials(Store(tmp_path, "s"), range(3), tasks=1)
    expected = everything(Store(tmp_path, "s"))
    runs = tmp_path / "s" / "runs"
    shutil.copytree(runs, tmp_path / "copy")
    Store(tmp_path, "s").compact()
    merged = runs / "000000-000002.parquet"
    whole = merged.read_bytes()
    shutil.copytree(tmp_path / "copy", runs, dirs_exist_ok=True)
    for start, _ in columns_of(whole)[::-10]:
        merged.write_bytes(whole[:start] + bytes([whole[start] ^ 1]) + whole[start + 1 :])
        named: list[str] = []
        store = Store(tmp_path, "s", report=named.append)
        assert everything(store) == expected
        assert len(named) == 1
    store.tidy()
    assert everything(Store(tmp_path, "s")) == expected
    merged.write_bytes(whole)
    Store(tmp_path, "s").tidy()
    assert [file.name for file in runs.iterdir()] == [merged.name]
    assert everything(Store(tmp_path, "s")) == expected


# -- names --------------------------------------------------------------------------------------------


def test_files_that_are_not_the_sweeps_own_are_skipped_with_one_line(tmp_path: Path) -> None:
    named: list[str] = []
    store_trials(Store(tmp_path, "s"), range(2))
    expected = everything(Store(tmp_path, "s"))
    runs = tmp_path / "s" / "runs"
    copies = ("000001 (1).parquet", "000007.parquet", "17.parquet", "000001.parquet.bak", "000009-000003.parquet")
    for name in copies:
        shutil.copy(runs / "000001.parquet", runs / name)
    store = Store(tmp_path, "s", report=named.append)
    assert everything(store) == expected
    assert store.trials() == {0, 1}
    assert sorted(line.partition("/s/runs/")[2].partition(": skipped")[0] for line in named) == sorted(copies)
    assert not any("\n" in line for line in named)


def test_a_copied_and_a_renamed_sweep_are_known_by_their_own_names(tmp_path: Path) -> None:
    store = Store(tmp_path, "first")
    store_trials(store, range(2))
    shutil.copytree(tmp_path / "first", tmp_path / "copy")
    Store(tmp_path, "copy").compact()
    (tmp_path / "first").rename(tmp_path / "renamed")
    rows = open_results(tmp_path).sql("SELECT sweep, count(*) AS n FROM runs GROUP BY sweep ORDER BY sweep").rows()
    assert rows == [{"sweep": "copy", "n": 4}, {"sweep": "renamed", "n": 4}]
    assert open_results(tmp_path, "renamed").sql("SELECT sum(device_s) AS s FROM ledger JOIN runs USING (sweep)").rows()
    assert {row["n"] for row in open_results(tmp_path).sql("FROM seeds").rows()} == {2}


# -- versions -----------------------------------------------------------------------------------------


def test_a_newer_schema_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path, "s")
    store_trials(store, [0])
    with monkeypatch.context() as patch:
        patch.setattr(parquet, "VERSION", 99)
        newer = encode(to_arrow([result(1, 0)], schema.file_columns(), {"sweep": "s", "trial": 1}))
    (tmp_path / "s" / "runs" / "000001.parquet").write_bytes(newer)
    with pytest.raises(StoreError, match=r"s/runs/000001\.parquet: schema version 99") as caught:
        Store(tmp_path, "s").trials()
    assert "\n" not in str(caught.value)


def test_columns_that_this_code_does_not_know_are_kept(tmp_path: Path) -> None:
    """As those of a method that is not here are; and a column that a file lacks is null."""
    store = Store(tmp_path, "s")
    store_trials(store, range(2))
    file = tmp_path / "s" / "runs" / "000001.parquet"
    table = pq.read_table(file)
    details = [name for name in table.column_names if name in ("tasks", "epochs", "classes")]
    plain = [name for name in table.column_names if name not in details and name != "host"]
    changed = table.select(plain).append_column("method_unheard_of", pa.array([1.5, 2.5]))
    for name in details:
        changed = changed.append_column(name, table[name])
    file.write_bytes(encode(changed))
    before = everything(Store(tmp_path, "s"))
    Store(tmp_path, "s").compact()
    (merged,) = (tmp_path / "s" / "runs").iterdir()
    assert pq.read_table(merged)["method_unheard_of"].to_pylist() == [None, None, 1.5, 2.5]
    assert everything(Store(tmp_path, "s")) == before


# -- content ------------------------------------------------------------------------------------------


def test_a_value_without_a_column_or_of_another_type_is_the_writers_bug() -> None:
    with pytest.raises(TypeError, match="typo"):
        to_arrow([result(0, 0).model_copy(update={"config": {"typo": 1}})], schema.file_columns())
    with pytest.raises(TypeError, match="does not fit"):
        to_arrow([result(0, 0).model_copy(update={"config": {"method_name": 3}})], schema.file_columns())


_ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "acc_task_mean_pct": st.none() | st.sampled_from([0.0, -0.0, float("nan"), float("inf"), 1.5, 5e-324]),
            "error": st.none() | st.sampled_from(["", "a\x00b", "'\"\n", "ü"]),
            "versions": st.none() | st.dictionaries(st.sampled_from("xy"), st.just("1"), max_size=2),
            "tasks": st.integers(0, 2),
            "epochs": st.integers(0, 3),
        }
    ),
    min_size=1,
    max_size=5,
)


def exact(run: RunResult) -> tuple[str, dict[str, Any]]:
    """All of a run, where NaN is NaN and each digit counts."""
    return run.model_copy(update={"config": {}}).model_dump_json(), run.config


@settings(max_examples=30, deadline=None)
@given(rows=_ROWS, fast=st.booleans())
def test_every_value_comes_back(rows: list[dict], fast: bool) -> None:
    runs = [
        result(0, seed, row["acc_task_mean_pct"], tasks=row["tasks"], epochs=row["epochs"], error=row["error"])
        for seed, row in enumerate(rows)
    ]
    runs = [run.model_copy(update={"versions": row["versions"]}) for run, row in zip(runs, rows, strict=True)]
    columns = schema.file_columns()
    file = ResultsFile(pa.py_buffer(encode(to_arrow(runs, columns), fast=fast)))
    found = file.read(arrow_schema(columns)).to_pylist(maps_as_pydicts="strict")
    assert [exact(schema.run_result(row)) for row in found] == [exact(run) for run in runs]


def test_a_large_file_is_read(tmp_path: Path) -> None:
    store = Store(tmp_path, "s")
    text = random.Random(0).randbytes(5 << 20).hex()
    runs = [result(0, seed, error=text[seed << 20 : (seed + 1) << 20], tasks=0) for seed in range(10)]
    store.finish_trial(0, runs, attempt="a")
    assert (tmp_path / "s" / "runs" / "000000.parquet").stat().st_size > 4 << 20, "large enough to be mapped"
    read = store.read(["seed", "error"])
    assert read["seed"].to_pylist() == list(range(10))
    assert pc.all(pc.equal(read["error"], pa.array([run.error for run in runs]))).as_py()


def test_several_threads_read_one_file() -> None:
    """A query that joins tables reads them at the same time."""
    columns = {name: arrow_schema(schema.tables()[name or "runs"]) for name in TABLES}
    content = pa.py_buffer(encode(to_arrow([result(0, 0), result(0, 1)], schema.file_columns())))
    for _ in range(40):
        file = ResultsFile(content)
        with ThreadPoolExecutor(8) as pool:
            reads = [(detail, pool.submit(file.read, columns[detail], detail)) for detail in TABLES * 2]
        for detail, read in reads:
            assert read.result().equals(ResultsFile(content).read(columns[detail], detail))


def test_what_is_no_file_of_results_is_damaged() -> None:
    table = pa.table({"run_id": ["r"]})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    for content in (b"", b"PAR1", bytes(4096), sink.getvalue().to_pybytes()):
        with pytest.raises(DamagedFile):
            ResultsFile(pa.py_buffer(content))


@pytest.mark.slow
def test_10_000_configurations_are_less_than_a_hundred_files(tmp_path: Path) -> None:
    store = Store(tmp_path, "s")
    for trial in range(260):
        store.finish_trial(trial, [result(trial, 0, tasks=0)], attempt="a")
    files = store.folder.child("runs").names()
    assert files == ["000000-000255.parquet", *(f"{trial:06d}.parquet" for trial in range(256, 260))]
