"""Promotion over stored runs: which candidate is chosen on what, what is written, and what is refused."""

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from support.kills import dies_at
from support.sweeps import space_file
from sweeper import open_sweep
from sweeper.promote import main
from sweeper.promotion.candidates import (
    TEST_SEEDS,
    VALIDATION_SEEDS,
    Candidate,
    Comparison,
    Incumbent,
    PromotionError,
    evaluate_candidates,
    fresh,
    leader_of,
)
from sweeper.promotion.decision import complete_record, decide_and_record
from sweeper.promotion.statistics import Decision
from sweeper.promotion.target import Target
from sweeper.reporting.page import sweep_content
from sweeper.search.repetitions import Repetition, of_seeds
from sweeper.search.space_file import load_space
from sweeper.store.folder import Folder
from sweeper.store.lease import FILE as LEASE
from sweeper.store.lease import Lease
from sweeper.store.results import last_promotion, open_results
from sweeper.store.schema import PromotionRow
from sweeper.store.status_file import Status
from sweeper.store.store import Store
from sweeper.store.sweep_file import check_unchanged, read_space
from trainer.config.files import dump_run, load_run
from trainer.config.run_config import RunConfig
from trainer.data.tasks import build
from trainer.data.world import World
from trainer.errors import ConfigError, UserError, exit_code
from trainer.results.config_columns import config_values
from trainer.results.provenance import git_commit
from trainer.results.rows import RunResult
from trainer.results.verify import RecordedResult, compare

ROOT = Path(__file__).parents[2]
LAMBDA = "method.lambda"
VALIDATION = range(VALIDATION_SEEDS, VALIDATION_SEEDS + 3)
TEST = range(TEST_SEEDS, TEST_SEEDS + 3)

# By lambda: accuracy in the search, on validation with fresh seeds, and on test. 0.7 is the base's.
LUCKY, STEADY, BASE, WORST = 0.1, 0.2, 0.7, 3.0
SEARCH = {LUCKY: 95.0, STEADY: 93.0, BASE: 90.0, WORST: 60.0}
AGAIN = {LUCKY: 91.0, STEADY: 92.0, BASE: 89.0}


class Bench:
    """A sweep whose runs are all stored, so that promotion has nothing to train."""

    def __init__(
        self, folder: Path, worlds: int = 0, seeds: Sequence[int] = (0, 1), base_world: int | None = None, **fields: Any
    ) -> None:
        """``worlds`` of the search, with these seeds in each; 0: its repetitions are the seeds alone.

        ``fields``: more of its file.
        """
        folder.mkdir(exist_ok=True)
        self.results = folder / "results"
        self.file = folder / "runs" / "s.yaml"
        space_file = folder / "s.yaml"
        content = {
            "base": str(ROOT / "runs" / "digits_lfs5.yaml"),
            "vary": {LAMBDA: {"type": "float", "low": 0.05, "high": 5.0, "log": True}},
            "repetitions": {"worlds": worlds, "seeds": list(seeds)} if worlds else {"seeds": list(seeds)},
            "trials": 4,
            "set": {} if base_world is None else {"world": base_world},
            **fields,
        }
        space_file.write_text(yaml.safe_dump(content))
        self.space = space = load_space(space_file)
        self.store = Store(self.results, "s")
        check_unchanged(space, self.store.folder, None, "")
        self.fingerprint = build(space.base.data, space.base.protocol).fingerprint
        for number, (value, acc) in enumerate(SEARCH.items()):
            runs = {config: acc + config.seed for config in space.configs({LAMBDA: value})}
            self.put(self.store, number, runs, params={LAMBDA: value})
        self.space = read_space(Folder.at(self.results).child("s"))
        self.retrained = Store(self.results, "s-promotion")
        self.said: list[str] = []

    def put(
        self, store: Store, number: int, runs: Mapping[RunConfig, float], params: dict[str, Any] | None = None
    ) -> None:
        results = [self.result(config, acc) for config, acc in runs.items()]
        violations = self.space.goals.outcome_of(results).violations
        store.finish_trial(number, results, attempt="a", params=params, violations=violations)

    def result(self, config: RunConfig, acc: float) -> RunResult:
        return RunResult(
            run_id=config.run_id,
            config_id=config.config_id,
            seed=config.seed,
            world=None if config.world is None else str(config.world),
            status="finished",
            split=config.data.evaluation.split,
            acc_task_mean_pct=acc,
            forgetting_pct=acc / 2,
            device_s=acc,
            finished_at=datetime.now(UTC),
            device="cpu",
            precision="float32",
            git_commit=git_commit(),
            data_fingerprint=self.fingerprint,
            config=config_values(config),
        )

    def again(self, values: Mapping[float, float]) -> None:
        """Runs of the candidates on fresh seeds, on validation images."""
        for number, (value, acc) in enumerate(values.items()):
            configs = self.space.configs({LAMBDA: value}, self.runs(VALIDATION), "validation")
            self.put(self.retrained, number, {config: acc + config.seed - VALIDATION[0] for config in configs})

    def test(self, values: Mapping[float, Sequence[float]]) -> None:
        """Runs on test images, by seed."""
        first = max(self.retrained.trials()) + 1
        for number, (value, by_seed) in enumerate(values.items(), first):
            configs = self.space.configs({LAMBDA: value}, self.runs(TEST), "test")
            self.put(self.retrained, number, dict(zip(configs, by_seed, strict=True)))

    def runs(self, numbers: range) -> list[Repetition]:
        """Fresh runs: of these seeds, or in these worlds with as many seeds as the search has."""
        if not self.space.spec.repeated.worlds:
            return of_seeds(numbers)
        seeds = numbers[: len(self.space.spec.repeated.seeds)]
        return [Repetition(seed, World.drawn(number)) for number in numbers for seed in seeds]

    def compare(self, top: int = 3, point: str | None = None) -> Comparison:
        incumbent, say = Incumbent.of(self.file, Target.of(self.space)), self.said.append
        many = {"worlds": 3} if self.space.spec.repeated.worlds else {"n": 3}
        return evaluate_candidates(self.space, incumbent, self.retrained, top=top, point=point, say=say, **many)

    def decide(self, comparison: Comparison, *, force: bool = False) -> Decision:
        return decide_and_record(self.space, comparison, self.file, self.store, force=force)

    def complete(self) -> Decision | None:
        return complete_record(self.space, Incumbent.of(self.file, Target.of(self.space)), self.file, self.store)

    def promotions(self) -> list[dict[str, Any]]:
        return open_results(self.results, "s").sql("SELECT * FROM promotions ORDER BY decided_at").rows()

    def config(self, value: float) -> RunConfig:
        (found,) = self.space.configs({LAMBDA: value}, of_seeds(TEST[:1]), "test")
        return found


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def measured(bench: Bench) -> Bench:
    bench.again(AGAIN)
    bench.test({STEADY: [94.0, 95.0, 96.5], BASE: [90.0, 91.0, 92.0]})
    return bench


def test_fresh_validation_chooses_and_only_the_leader_is_tested(measured: Bench) -> None:
    # The test split has no runs of the search's best: training them would need Ray, which is not there.
    comparison = measured.compare()
    assert comparison.leader.params == {LAMBDA: STEADY}
    assert comparison.leader_pct == [94.0, 95.0, 96.5]
    assert comparison.incumbent_pct == [90.0, 91.0, 92.0]
    assert comparison.repeated.seeds == tuple(TEST)
    assert comparison.searched == 4
    assert "trial 1 leads" in measured.said[-1]
    assert any("+4.17" in cell for row in comparison.table[1] for cell in row)


def test_the_query_that_chose_is_recorded(measured: Bench) -> None:
    comparison = measured.compare()
    assert measured.decide(comparison).promoted
    (row,) = measured.promotions()
    assert row["query"] == comparison.query
    found = open_results(measured.results, "s").sql(row["query"], sweep="s").rows()
    assert [one["trial"] for one in found] == [0, 1, 2]


def test_a_promoted_file_is_complete_and_can_be_verified(measured: Bench) -> None:
    assert measured.decide(measured.compare()).promoted
    file = load_run(measured.file)
    assert file.config == measured.config(STEADY)
    assert file.config.data.evaluation.split == "test"
    content = yaml.safe_load(measured.file.read_text())
    assert content == yaml.safe_load(dump_run(file.config, file.provenance))
    recorded = RecordedResult.of(file, str(measured.file))
    assert recorded.by_seed_pct == {2000: 94.0, 2001: 95.0, 2002: 96.5}
    assert recorded.data_fingerprint == measured.fingerprint
    found = content["provenance"]
    assert (found["sweep"], found["trial"], found["trials"], found["n"]) == ("s", 1, 4, 3)
    assert found["mean_pct"] == pytest.approx(95.1667, abs=1e-4)
    low, high = found["compared_with"]["difference_interval_pct"]
    # differences 4, 4, 4.5: mean 4.1667, standard deviation 0.288675, t(0.975, 2) = 4.302653
    assert (low, high) == pytest.approx((4.16667 - 0.71711, 4.16667 + 0.71711), abs=1e-4)


def test_a_promoted_file_can_be_moved_with_its_images(measured: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    images = measured.file.parent.parent / "photos"
    images.mkdir()
    monkeypatch.chdir(images.parent)
    base = measured.space.base
    measured.space.base = base.model_copy(update={"data": base.data.model_copy(update={"path": str(images)})})
    assert measured.decide(measured.compare()).promoted
    assert yaml.safe_load(measured.file.read_text())["data"]["path"] == "../photos"
    assert load_run(measured.file).config.data.path == str(images)


def test_looks_at_the_test_images_are_counted(measured: Bench) -> None:
    """Of all sweeps on these images; another decision on what was seen already is no look."""
    for _ in range(2):
        measured.decide(measured.compare())
    assert [row["test_looks"] for row in measured.promotions()] == [1, 1]
    other = Store(measured.results, "t")
    check_unchanged(measured.space, other.folder, None, "")
    for number, fingerprint in enumerate((measured.fingerprint, "other images")):
        row = PromotionRow(**measured.promotions()[0])
        other.promote(row.model_copy(update={"config_id": f"other {number}", "data_fingerprint": fingerprint}))
    measured.decide(measured.compare())
    assert measured.promotions()[-1]["test_looks"] == 2
    provenance = load_run(measured.file).provenance
    assert provenance is not None
    assert provenance["test_looks"] == 1, "when it was written"


def test_without_evidence_nothing_is_written(bench: Bench) -> None:
    bench.again(AGAIN)
    bench.test({STEADY: [94.0, 90.0, 93.0], BASE: [90.0, 93.0, 92.0]})
    comparison = bench.compare()
    decision = bench.decide(comparison)
    assert not decision.promoted
    assert not bench.file.exists()
    (row,) = bench.promotions()
    assert row["decision"] == "refused"
    assert row["interval_low_pct"] < 0 < row["interval_high_pct"]
    assert "not significant" in decision.reason
    assert "the sweep's base" in decision.reason
    assert not bench.decide(comparison, force=True).promoted
    assert load_run(bench.file).provenance["forced"] is True  # type: ignore[index]


def incumbent(bench: Bench, value: float, **changes: Any) -> bytes:
    config = bench.config(value)
    bench.file.parent.mkdir(exist_ok=True)
    bench.file.write_text(dump_run(config.model_copy(update=changes)))
    return bench.file.read_bytes()


def test_a_better_incumbent_stays(measured: Bench) -> None:
    content = incumbent(measured, WORST)
    measured.test({WORST: [97.0, 98.0, 99.0], STEADY: [94.0, 95.0, 96.5], BASE: [90.0, 91.0, 92.0]})
    assert not measured.decide(measured.compare()).promoted
    assert measured.file.read_bytes() == content
    (row,) = measured.promotions()
    assert row["incumbent_config_id"] == measured.config(WORST).config_id
    assert row["incumbent_mean_pct"] == 98.0


def test_a_worse_incumbent_goes(measured: Bench) -> None:
    incumbent(measured, WORST)
    measured.test({WORST: [87.0, 88.0, 89.0], STEADY: [94.0, 95.0, 96.5], BASE: [90.0, 91.0, 92.0]})
    assert measured.decide(measured.compare()).promoted
    assert load_run(measured.file).config == measured.config(STEADY)


def test_the_incumbent_itself_is_not_promoted(measured: Bench) -> None:
    content = incumbent(measured, STEADY)
    decision = measured.decide(measured.compare())
    assert not decision.promoted
    assert f"{measured.file} itself" in decision.reason
    assert measured.file.read_bytes() == content


def test_a_run_file_that_changed_meanwhile_is_not_overwritten(measured: Bench) -> None:
    comparison = measured.compare()
    content = incumbent(measured, WORST)
    with pytest.raises(UserError, match="promote again"):
        measured.decide(comparison)
    assert measured.file.read_bytes() == content
    assert measured.promotions() == []


def test_a_write_that_dies_leaves_the_file_as_it_was(measured: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    content = incumbent(measured, WORST)
    measured.test({WORST: [87.0, 88.0, 89.0], STEADY: [94.0, 95.0, 96.5], BASE: [90.0, 91.0, 92.0]})
    comparison = measured.compare()

    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match="No space left"):
        measured.decide(comparison)
    assert measured.file.read_bytes() == content


def test_a_promotion_that_stood_still_and_lost_its_lease_writes_no_run_file(measured: Bench) -> None:
    comparison, folder = measured.compare(), measured.retrained.folder
    measured.store.lease = stopped = Lease.acquire(folder, stale_s=0.2)
    stopped.leave()
    folder.delete(LEASE)
    with Lease.acquire(folder):
        time.sleep(0.2)
        with pytest.raises(UserError, match="another launch has taken over"):
            measured.decide(comparison)
    assert not measured.file.exists()
    assert measured.promotions() == []


def test_a_decision_is_printed_as_json_and_returned_in_python(
    measured: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    assert measured.decide(measured.compare()).promoted
    told, words = [], ["s", "--results", str(measured.results), "--runs", str(measured.file.parent), "--json"]
    for _ in range(2):
        for record in (measured.results / "s" / "promotions").iterdir():
            record.unlink()  # as if the promotion had been killed before it: no cluster is needed to complete it
        if told:
            promotion = open_sweep("s", measured.results).promote(runs=measured.file.parent)
            told.append(promotion.model_dump(mode="json"))
        else:
            assert main(words) == 0
            captured = capsys.readouterr()
            assert "recorded the promotion that was interrupted" in captured.err
            told.append(json.loads(captured.out))
    assert told[0] == told[1]
    jsonschema.validate(told[0], json.loads((ROOT / "docs" / "schemas" / "promotion.json").read_text()))
    assert (told[0]["decision"], told[0]["forced"], told[0]["trial"]) == ("promoted", False, 1)
    assert told[0]["file"] == str(measured.file)
    assert told[0]["seeds"] == list(TEST)


def test_a_promotion_that_dies_at_any_operation_is_completed_by_the_next(measured: Bench, tmp_path: Path) -> None:
    comparison, before = measured.compare(), tmp_path / "before"
    shutil.copytree(measured.results, before)
    operation, died, completed = 0, True, 0
    while died:
        operation += 1
        died = dies_at(operation, lambda: measured.decide(comparison))
        written, recorded = measured.file.exists(), measured.promotions()
        decision = measured.complete()
        completed += decision is not None
        assert (decision is not None) == (written and not recorded)
        decision = decision or measured.decide(measured.compare())
        assert decision.promoted or recorded
        assert load_run(measured.file).config == measured.config(STEADY)
        rows = measured.promotions()
        assert [row["decision"] for row in rows] == ["promoted", "refused"][: 1 + len(recorded)]
        assert (rows[0]["file"], rows[0]["trial"], rows[0]["mean_pct"]) == (
            str(measured.file),
            1,
            pytest.approx(95.1667, abs=1e-4),
        )
        assert "better than the sweep's base" in rows[0]["reason"]
        assert measured.complete() is None, "it is recorded once"
        shutil.rmtree(measured.results)
        shutil.copytree(before, measured.results)
        shutil.rmtree(measured.file.parent)
    assert completed > 3, "operations between the run file and its record were counted"


def test_a_promoted_file_of_somebody_else_is_an_incumbent_as_any_other(measured: Bench, tmp_path: Path) -> None:
    theirs = Bench(tmp_path / "theirs")
    assert measured.decide(measured.compare()).promoted
    theirs.file.parent.mkdir()
    shutil.copy(measured.file, theirs.file)
    assert theirs.complete() is None, "its runs are not stored here"
    theirs.again(AGAIN)
    theirs.test({STEADY: [94.0, 95.0, 96.5], BASE: [90.0, 91.0, 92.0]})
    assert not theirs.decide(theirs.compare()).promoted
    assert theirs.complete() is None, "it has been decided on since"


@pytest.mark.parametrize("lines", ["provenance: {sweep: s}", "provenance: {sweep: [], compared_with: 3}"])
def test_a_provenance_that_says_nothing_of_use_completes_nothing(measured: Bench, lines: str) -> None:
    measured.file.parent.mkdir()
    measured.file.write_text(dump_run(measured.config(STEADY)) + lines)
    assert measured.complete() is None


def test_a_run_file_that_cannot_be_read_is_one_line(measured: Bench) -> None:
    comparison = measured.compare()
    measured.file.mkdir(parents=True)
    for action in (lambda: measured.decide(comparison), measured.compare):
        with pytest.raises(UserError, match=r"s\.yaml: cannot be read") as caught:
            action()
        assert "\n" not in str(caught.value)
    assert measured.promotions() == []


def test_an_incumbent_on_different_tasks_is_refused(measured: Bench) -> None:
    config = measured.config(WORST)
    incumbent(measured, WORST, protocol=config.protocol.model_copy(update={"tasks": 2}))
    with pytest.raises(ConfigError, match=r"s\.yaml: protocol\.tasks: is 2, and 5 in the sweep"):
        measured.compare()


def test_a_candidate_that_diverges_again_is_out() -> None:
    lucky, steady = Candidate(0, {LAMBDA: LUCKY}, 95.0), Candidate(1, {LAMBDA: STEADY}, 93.0)
    assert leader_of([lucky, steady], {lucky.label: None, steady.label: [91.0, 92.0]}, maximize=True) is steady
    with pytest.raises(PromotionError, match="no candidate finished"):
        leader_of([lucky], {lucky.label: None}, maximize=True)


def test_the_better_direction_is_the_sweeps() -> None:
    low, high = Candidate(0, {}, 1.0), Candidate(1, {}, 2.0)
    again = {low.label: [1.0, 1.1], high.label: [2.0, 2.1]}
    assert leader_of([low, high], again, maximize=False) is low
    assert leader_of([low, high], again, maximize=True) is high


@pytest.mark.parametrize("name", ["t", "s-promotion"])
def test_bad_input_is_one_line(bench: Bench, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(lambda: main([name, "--results", str(bench.results)])) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert f"no sweep '{name}'" in error
    assert error.count("\n") == 1


def test_a_sweep_that_has_not_ended_is_warned_of(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    Status(8, done=4).write(bench.store.folder)
    nobody = ["--address", "127.0.0.1:1"]
    words = ["s", "--results", str(bench.results), "--runs", str(bench.file.parent), *nobody]
    with Lease.acquire(bench.store.folder):
        assert exit_code(lambda: main(words)) == 2
    assert "warning: the sweep is running: 4 of 8 configurations are stored" in capsys.readouterr().out


# -- in worlds -------------------------------------------------------------------------------------------------


@pytest.fixture
def worlds(tmp_path: Path) -> Bench:
    """A search in two worlds of two seeds; the leader is better by 3, 4 and 5 in the worlds of the test."""
    bench = Bench(tmp_path, worlds=2)
    bench.again(AGAIN)
    bench.test({STEADY: [93.0, 93.0, 94.0, 94.0, 95.0, 95.0], BASE: [89.0, 91.0, 90.0, 90.0, 90.0, 90.0]})
    return bench


def test_a_search_in_worlds_is_promoted_in_worlds_that_it_has_not_seen(worlds: Bench) -> None:
    comparison = worlds.compare()
    assert list(map(str, comparison.repeated.worlds)) == ["2000", "2001", "2002"]
    assert comparison.repeated.seeds == (2000, 2001)
    assert "fresh worlds 1000-1002, seeds 1000-1001 (18 runs, validation)" in worlds.said[0]
    assert worlds.decide(comparison).promoted
    file = load_run(worlds.file)
    assert file.config == worlds.config(STEADY), "trained alone it keeps the class order and tail of the base"
    recorded = RecordedResult.of(file, str(worlds.file))
    again = [file.config.repetition(seed, world) for seed, world, _ in recorded.runs]
    assert [run.run_id for run in again] == [
        run.run_id for run in worlds.space.configs({LAMBDA: STEADY}, worlds.runs(TEST), "test")
    ]
    assert [value for _, _, value in recorded.runs] == [93.0, 93.0, 94.0, 94.0, 95.0, 95.0]
    (row,) = worlds.promotions()
    # Means by world 3, 4 and 5: standard deviation 1, t(0.975, 2) = 4.302653, over sqrt(3).
    low, high = row["interval_low_pct"], row["interval_high_pct"]
    assert (low, high) == pytest.approx((4 - 2.48413, 4 + 2.48413), abs=1e-4)
    assert (row["n"], row["worlds"], row["seeds"]) == (3, ["2000", "2001", "2002"], [2000, 2001])
    assert row["config_id"] == again[0].config_id
    page = sweep_content(worlds.space, None, "finished", open_results(worlds.results))
    assert page["repetitions"] == "2 worlds x 2 seeds"


def test_a_promotion_in_worlds_that_was_killed_is_completed(worlds: Bench) -> None:
    assert worlds.decide(worlds.compare()).promoted
    for record in (worlds.results / "s" / "promotions").iterdir():
        record.unlink()
    decision = worlds.complete()
    assert decision is not None
    assert decision.promoted
    assert worlds.complete() is None


def test_a_base_in_a_world_of_its_own_is_judged_on_fresh_seeds_there(tmp_path: Path) -> None:
    bench = Bench(tmp_path, base_world=3)
    bench.again(AGAIN)
    bench.test({STEADY: [94.0, 95.0, 96.5], BASE: [90.0, 91.0, 92.0]})
    assert bench.decide(bench.compare()).promoted
    for record in (bench.results / "s" / "promotions").iterdir():
        record.unlink()
    assert bench.complete() is not None
    file = load_run(bench.file)
    assert str(file.config.world) == "3"
    recorded = RecordedResult.of(file, str(bench.file))
    results = [bench.result(file.config.repetition(seed, world), value) for seed, world, value in recorded.runs]
    assert compare(recorded, results) == 0


def test_the_incumbent_itself_is_not_promoted_in_worlds_either(worlds: Bench) -> None:
    incumbent(worlds, STEADY)
    assert "itself" in worlds.decide(worlds.compare()).reason


def test_an_incumbent_with_another_class_order_is_compared_in_the_same_worlds(worlds: Bench) -> None:
    protocol = worlds.config(BASE).protocol
    other = protocol.model_copy(update={"class_order": protocol.class_order.model_copy(update={"seed": 5})})
    incumbent(worlds, BASE, protocol=other)
    assert worlds.decide(worlds.compare()).promoted


def test_fresh_worlds_are_none_of_the_searchs(bench: Bench, tmp_path: Path) -> None:
    assert list(map(str, fresh(bench.space, 1000, None, 2).worlds)) == ["1000", "1001"]
    assert fresh(bench.space, 1000, None, 2).seeds == (1000, 1001), "as many seeds as the search"
    content = yaml.safe_load((tmp_path / "s.yaml").read_text())
    content["repetitions"] = {"worlds": [1000, {"class_order": 1002, "tail": 0}]}
    content["set"] = {"protocol.class_order.seed": 1003}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(content))
    found = fresh(load_space(tmp_path / "s.yaml"), 1000, None, None)
    assert list(map(str, found.worlds)) == ["1001", "1004", "1005", "1006", "1007"]
    with pytest.raises(ConfigError, match="--seeds: one seed has no interval"):
        fresh(bench.space, 1000, 1, None)


# -- on another data set ---------------------------------------------------------------------------------------


def other_images(folder: Path, **changes: Any) -> Path:
    """A run file on eight of the ten digits, with steps of its own."""
    content = yaml.safe_load((ROOT / "runs" / "digits_lfs5.yaml").read_text())
    content["data"]["classes"] = list(range(8))
    content["protocol"]["tasks"] = 4
    content["optim"]["batch_size"] = 16
    for name, value in changes.items():
        section, _, field = name.partition("__")
        content[section] = content[section] | {field: value}
    file = folder / "eight.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


def test_the_winner_is_tested_on_another_data_set(bench: Bench, tmp_path: Path) -> None:
    target = Target.of(bench.space, str(other_images(tmp_path)))
    mine = target.config({LAMBDA: STEADY})
    assert (mine.data, mine.protocol, mine.optim) == (target.base.data, target.base.protocol, target.base.optim)
    assert mine.method == bench.config(STEADY).method
    bench.again(AGAIN)
    stream = build(target.base.data, target.base.protocol)
    for number, (config, by_seed) in enumerate(((mine, [94.0, 95.0, 96.5]), (target.base, [90.0, 91.0, 92.0])), 3):
        results = [
            bench.result(config.repetition(seed), acc).model_copy(update={"data_fingerprint": stream.fingerprint})
            for seed, acc in zip(TEST, by_seed, strict=True)
        ]
        bench.retrained.finish_trial(number, results, attempt="a")
    file = tmp_path / "runs" / "s_on_eight.yaml"
    incumbent = Incumbent.of(file, target)
    comparison = evaluate_candidates(bench.space, incumbent, bench.retrained, top=3, n=3, say=bench.said.append)
    assert "the test split of" in bench.said[-1]
    decision = decide_and_record(bench.space, comparison, file, bench.store, force=False)
    assert decision.promoted
    assert f"better than {target.name}" in decision.reason
    written = load_run(file)
    assert written.config.config_id == mine.config_id
    assert written.provenance is not None
    assert written.provenance["tested_on"] == target.name
    (row,) = bench.promotions()
    assert (row["tested_on"], row["incumbent_config_id"], row["trial"]) == (target.name, None, 1)
    assert last_promotion(open_results(bench.results, "s"), "s") is None, "it says nothing of the sweep's own images"
    assert complete_record(bench.space, Incumbent.of(file, target), file, bench.store) is None


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"protocol__kind": "lfh"}, "eight.yaml: protocol.kind: is lfh, and lfs in the sweep"),
        ({"data__imbalance": {"order": "ordered"}}, "data.imbalance.order: is ordered, and shuffled in the sweep"),
        ({"data__clases": []}, "eight.yaml: data.clases: no such field of data"),
    ],
)
def test_a_run_file_of_another_scenario_is_refused(
    bench: Bench, tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        Target.of(bench.space, str(other_images(tmp_path, **changes)))
    assert says in str(caught.value)


# -- a search on the first tasks -------------------------------------------------------------------------------


def test_a_search_on_the_first_tasks_is_judged_on_all(tmp_path: Path) -> None:
    content = {
        "base": str(ROOT / "runs" / "digits_lfs5.yaml"),
        "vary": {LAMBDA: {"type": "float", "low": 0.05, "high": 5.0, "log": True}},
        "objective": {"tasks": 2},
        "trials": 1,
    }
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(content))
    space = load_space(tmp_path / "s.yaml")
    (searched,) = space.configs({LAMBDA: STEADY})
    assert (searched.protocol.tasks, searched.protocol.stop_after) == (5, 2)
    stream = build(searched.data, searched.protocol)
    assert (len(stream.tasks), len(stream.class_ids_C)) == (2, 4)
    bench, store = Bench(tmp_path / "other"), Store(tmp_path / "results", "s")
    check_unchanged(space, store.folder, None, stream.fingerprint)
    bench.put(store, 0, {searched: 90.0}, params={LAMBDA: STEADY})
    incumbent = Incumbent.of(tmp_path / "promoted.yaml", Target.of(space))
    ours, base = incumbent.target.config({LAMBDA: STEADY}), space.base_on_test()
    retrained = Store(tmp_path / "results", "s-promotion")
    for number, configs in enumerate(
        [
            space.configs({LAMBDA: STEADY}, of_seeds(VALIDATION), whole=True),
            [ours.repetition(seed) for seed in TEST],
            [base.repetition(seed) for seed in TEST],
        ]
    ):
        assert {config.protocol.stop_after for config in configs} == {None}
        bench.put(retrained, number, {config: 10.0 * number + config.seed for config in configs})
    comparison = evaluate_candidates(space, incumbent, retrained, top=1, n=3, say=bench.said.append)
    assert comparison.leader_pct == [2010.0, 2011.0, 2012.0], "of whole runs: no others are stored"


def test_more_tasks_than_there_are_cannot_be_scored(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"objective\.tasks: the base has only 5 tasks; allowed: 1 to 5"):
        load_space(space_file(tmp_path, objective={"tasks": 6}))
    with pytest.raises(ConfigError, match=r"vary\.protocol\.stop_after: cannot be searched; use `objective\.tasks`"):
        load_space(space_file(tmp_path, vary={"protocol.stop_after": [1, 2]}))


@pytest.fixture
def two(tmp_path: Path) -> Bench:
    """A sweep with two objectives, in which every configuration is on the front, and a constraint."""
    objectives = [{"metric": "acc_task_mean_pct"}, {"metric": "forgetting_pct", "direction": "minimize"}]
    return Bench(tmp_path, objectives=objectives, constraints=[{"metric": "forgetting_pct", "at_most": 47}])


@pytest.mark.parametrize(("point", "chosen"), [("best", STEADY), ("balanced", BASE), ("cheapest", WORST), ("2", BASE)])
def test_a_named_point_goes_to_the_test_at_once(two: Bench, point: str, chosen: float) -> None:
    """LUCKY, which would be the best, violates the constraint."""
    first = 0
    for number, value in enumerate({chosen, BASE}, first):
        configs = two.space.configs({LAMBDA: value}, two.runs(TEST), "test")
        two.put(two.retrained, number, {config: 80.0 + value + config.seed for config in configs})
    comparison = two.compare(point=point)
    assert comparison.leader.params == {LAMBDA: chosen}
    assert not any("retraining" in line for line in two.said)
    assert open_results(two.results, "s").sql(comparison.query, sweep="s").rows()[0]["trial"] == comparison.leader.trial


def test_what_the_other_objectives_did_is_told_and_decides_nothing(two: Bench) -> None:
    for number, (value, acc) in enumerate([(STEADY, 90.0), (BASE, 80.0)]):
        configs = two.space.configs({LAMBDA: value}, two.runs(TEST), "test")
        two.put(two.retrained, number, {config: acc + config.seed % 2 / 10 for config in configs})
    assert two.decide(two.compare(point="best")).promoted, "though it forgets more"
    (row,) = two.promotions()
    (told,) = json.loads(row["further_json"])
    assert (told["metric"], told["direction"]) == ("forgetting_pct", "minimize")
    assert (told["difference"], told["difference_interval"]) == (pytest.approx(5), pytest.approx([5, 5]))
    assert (load_run(two.file).provenance or {})["further_objectives"] == [told]


def test_a_point_that_there_is_not_is_one_line(two: Bench) -> None:
    with pytest.raises(ConfigError, match=r"--point 0: no such trial .* on the front: 1, 2, 3"):
        two.compare(point="0")
    with pytest.raises(ConfigError, match=r"--point ballanced: no such point; .* did you mean 'balanced'"):
        open_sweep("s", two.results).promote(point="ballanced")
