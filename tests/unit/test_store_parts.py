"""A part of a table is read exactly as it was written, or named and passed over."""

from __future__ import annotations

import random
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sweeper.store.rows import read_parts

from sweeper.store import parts, schema
from sweeper.store.store import Store
from trainer.errors import StoreError


def rows(trial: int, seeds: int = 2) -> list[dict]:
    return [
        {"run_id": f"r{trial}-{seed}", "seed": seed, "status": "finished", "acc_task_mean_pct": trial + seed / 7}
        for seed in range(seeds)
    ]


def filled(folder: Path, trials: int, report: list[str] | None = None) -> Store:
    store = Store(folder, "s", report=None if report is None else report.append)
    for trial in range(trials):
        store.finish_trial(trial, "a", [{"row": row} for row in rows(trial)])
    return store


damage = st.one_of(
    st.tuples(st.just("truncate"), st.floats(0, 1, exclude_max=True), st.just(0)),
    st.tuples(st.just("flip"), st.floats(0, 1, exclude_max=True), st.integers(1, 255)),
    st.tuples(st.just("zero"), st.floats(0, 1, exclude_max=True), st.integers(1, 600)),
    st.tuples(st.just("grow"), st.just(0.0), st.integers(1, 600)),
)


def damaged(content: bytes, how: tuple[str, float, int]) -> bytes:
    kind, where, amount = how
    at = int(where * len(content))
    if kind == "truncate":
        return content[:at]
    if kind == "flip":
        return content[:at] + bytes([content[at] ^ amount]) + content[at + 1 :]
    if kind == "zero":
        end = min(len(content), at + amount)
        return content[:at] + bytes(end - at) + content[end:]
    return content + bytes(amount)


@pytest.fixture(scope="module")
def store_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parts")
    filled(folder, 3)
    return folder


@settings(max_examples=300, deadline=None)
@given(how=damage)
def test_a_damaged_part_is_named_and_costs_nothing_else(store_folder: Path, how: tuple[str, float, int]) -> None:
    file = store_folder / "s" / "trials" / "part-t000001.parquet"
    whole = file.read_bytes()
    named: list[str] = []
    try:
        file.write_bytes(damaged(whole, how))
        store = Store(store_folder, "s", report=named.append)
        read = store.read("trials", ["run_id", "acc_task_mean_pct"]).to_pylist()
        store.read("trials", ["run_id"])
    finally:
        file.write_bytes(whole)
    expected = {row["run_id"]: row["acc_task_mean_pct"] for trial in range(3) for row in rows(trial)}
    found = {row["run_id"]: row["acc_task_mean_pct"] for row in read}
    assert len(found) == len(read)
    if named:
        assert len(named) == 1, "named once, though read twice"
        assert "part-t000001.parquet" in named[0]
        assert "\n" not in named[0]
        assert found == {k: v for k, v in expected.items() if not k.startswith("r1-")}
    else:  # the damage hit the checksum's own label alone, or changed nothing
        assert found == expected


@pytest.mark.parametrize("lost", [1, 8, 38])
def test_a_part_that_lost_its_mark_is_damaged(lost: int) -> None:
    whole = parts.encode(schema.to_arrow("trials", rows(1)))
    mark = whole.rfind(b"cil-part")
    for first in range(mark - lost + 1, mark + 1):
        with pytest.raises(parts.DamagedPart):
            parts.decode("t000001", pa.py_buffer(whole[:first] + bytes(lost) + whole[first + lost :]))


def test_every_type_of_column_comes_back(tmp_path: Path) -> None:
    store = Store(tmp_path, "s")
    row = {"versions": {"torch": "2"}, "status": "finished", "optim_milestones": [80, 120], "optim_clip_norm": None}
    store.finish_trial(7, "a", [{"row": row, "tasks": [{"task": 0, "acc_by_task_pct": (1.0, 2.0)}]}], params={"x": 1})
    (back,) = store.read("trials").to_pylist(maps_as_pydicts="strict")
    assert {key: back[key] for key in row} == row
    assert (back["sweep"], back["trial"], back["attempt"], back["params_json"]) == ("s", 7, "a", '{"x": 1}')
    assert back["objective"] is None
    assert store.read("trials").schema.equals(schema.schema("trials"))
    assert store.read("tasks")["acc_by_task_pct"].to_pylist() == [[1.0, 2.0]]


def test_an_unknown_column_is_the_writers_bug(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="no column typo"):
        Store(tmp_path, "s").append("asks", [{"typo": 1}], "x")
    with pytest.raises(TypeError, match="column trial"):
        Store(tmp_path, "s").append("asks", [{"trial": "three"}], "x")
    with pytest.raises(ValueError, match="not the name of a part"):
        Store(tmp_path, "s").append("asks", [{"trial": 3}], "../x")


@pytest.mark.parametrize("marked", [True, False])
def test_a_newer_schema_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, marked: bool) -> None:
    store = filled(tmp_path, 1)
    file = tmp_path / "s" / "trials" / "part-new.parquet"
    if marked:
        with monkeypatch.context() as patch:
            patch.setattr(parts, "VERSION", 99)
            file.write_bytes(parts.encode(schema.to_arrow("trials", rows(1))))
    else:
        table = schema.to_arrow("trials", rows(1))
        pq.write_table(table.replace_schema_metadata({"schema_version": "99"}), file)
    with pytest.raises(StoreError, match=r"part-new\.parquet: written with schema version 99") as caught:
        store.read("trials")
    assert "\n" not in str(caught.value)


def test_parts_of_an_older_schema_are_read(tmp_path: Path) -> None:
    store = filled(tmp_path, 1)
    old = pa.table(
        {"trial": pa.array([5], pa.int32()), "attempt": ["a"], "gone": [1], "seed": pa.array([3], pa.int8())}
    )
    (tmp_path / "s" / "trials" / "part-t000005.parquet").write_bytes(parts.encode(old))
    read = store.read("trials", ["trial", "seed", "status"]).to_pylist()
    assert {"trial": 5, "seed": 3, "status": None} in read
    store.compact()
    (merged,) = (tmp_path / "s" / "trials").iterdir()
    assert "gone" in pq.read_schema(merged).names, "merging loses no column that this code does not know"
    assert store.read("trials", ["trial", "seed", "status"]).to_pylist() == read


_TABLES = st.lists(
    st.lists(
        st.fixed_dictionaries(
            {
                "trial": st.integers(0, 1),
                "acc_task_mean_pct": st.none() | st.sampled_from([0.0, float("nan"), 1.5]),
                "error": st.none() | st.sampled_from(["", "a\x00b"]),
                "optim_milestones": st.none() | st.lists(st.integers(0, 1), max_size=2),
                "versions": st.none() | st.dictionaries(st.sampled_from("xy"), st.just("1"), max_size=2),
            }
        ),
        max_size=4,
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=200, deadline=None)
@given(written=_TABLES, columns=st.sets(st.sampled_from(["sweep", "trial", "error", "versions", "seed"]), min_size=1))
def test_rows_held_twice_are_the_same_twice(written: list[list[dict]], columns: set[str]) -> None:
    every = schema.schema("trials")
    nothing = dict.fromkeys(every.names)

    def as_read(row: dict) -> dict:
        versions = None if row["versions"] is None else [*row["versions"].items()]
        return {**nothing, **row, "sweep": "s", "versions": versions}

    contents = [pa.py_buffer(parts.encode(schema.to_arrow("trials", rows, {"sweep": "s"}))) for rows in written]
    decoded = [parts.decode(f"t{i}", content) for i, content in enumerate(contents)]
    assert all(part.agreed for part in decoded)
    expected = [[as_read(row) for row in rows] for rows in written]
    for way in (decoded, [parts.Part(content, "") for content in contents]):
        assert repr([table.to_pylist() for table in read_parts(way, every)]) == repr(expected)
    some = pa.schema([every.field(name) for name in sorted(columns)])
    found = [table.to_pylist() for table in read_parts(decoded, some)]
    assert found == [[{name: row[name] for name in some.names} for row in rows] for rows in expected]


def test_a_part_is_plain_parquet_to_others(tmp_path: Path) -> None:
    filled(tmp_path, 3)
    found = duckdb.sql(f"SELECT seed, acc_task_mean_pct FROM '{tmp_path}/s/trials/*.parquet' ORDER BY ALL").fetchall()
    assert found == sorted((row["seed"], row["acc_task_mean_pct"]) for trial in range(3) for row in rows(trial))
    assert pq.read_table(tmp_path / "s" / "trials" / "part-t000002.parquet")["run_id"].to_pylist() == ["r2-0", "r2-1"]


def test_a_large_part_is_read(tmp_path: Path) -> None:
    store = Store(tmp_path, "s")
    text = random.Random(0).randbytes(6 << 20).hex()
    many = [{"trial": i, "params_json": text[i * 1000 : (i + 1) * 1000]} for i in range(12_000)]
    store.append("asks", many, "big")
    assert (tmp_path / "s" / "asks" / "part-big.parquet").stat().st_size > 4 << 20, "large enough to be mapped"
    assert store.read("asks", ["trial"])["trial"].to_pylist() == list(range(12_000))


def test_the_page_of_the_schema_is_up_to_date() -> None:
    page = Path(__file__).parents[2] / "docs" / "results_schema.md"
    assert page.read_text() == schema.page(), "run: python -m sweeper.store.schema > docs/results_schema.md"
