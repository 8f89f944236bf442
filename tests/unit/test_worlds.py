"""Repetitions in worlds: what a world draws, runs of several worlds trained together, their ids."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import yaml

from support.runs import FEW_IMAGES, timeless, tiny_run
from support.sweeps import space_file
from sweeper.execution.job import Job
from sweeper.execution.messages import Message, TaskDone, TrialsEnded
from sweeper.execution.restore import stored_trials
from sweeper.execution.trial import train_pack
from sweeper.search.outcome import Goals
from sweeper.search.repetitions import Repetitions
from sweeper.search.space import Resources
from sweeper.search.space_file import load_space
from sweeper.store.folder import Folder
from sweeper.store.results import open_results
from sweeper.store.store import Store
from sweeper.store.sweep_file import check_unchanged, read_space
from trainer.config.files import dump_run, parse_run
from trainer.config.run_config import RunConfig
from trainer.data.tasks import build
from trainer.data.world import World
from trainer.errors import ConfigError
from trainer.training.checkpoint import FileSlot
from trainer.training.observer import Observer, TaskReport
from trainer.training.options import DeviceOptions
from trainer.training.session import train, train_first_task

CPU = DeviceOptions(device="cpu")
WORLDS = tuple(map(World.drawn, (3, 4)))
METRIC = "acc_task_mean_pct"


def config(method: str = "finetune", hyperparameters: dict[str, Any] | None = None, **changes: Any) -> RunConfig:
    return tiny_run(method, hyperparameters, data=FEW_IMAGES, optim={"epochs": 1}, **changes)


def in_worlds(one: RunConfig, seeds: Sequence[int] = (0, 1)) -> list[RunConfig]:
    return [one.repetition(seed, world) for world in WORLDS for seed in seeds]


# -- what a world is -----------------------------------------------------------------------------------------


def test_a_world_decides_the_class_order_and_the_images_of_the_tail() -> None:
    streams = [build(own.data, own.protocol) for own in in_worlds(config(), [0])]
    plain = build(config().data, config().protocol)
    assert len({stream.class_ids_C for stream in (*streams, plain)}) == 3
    same_label = [stream.class_ids_C.index(0) for stream in streams]
    first, second = (
        stream.train_pixels_NCHW[stream.train_labels_N == place]  # type: ignore[index]
        for stream, place in zip(streams, same_label, strict=True)
    )
    assert first.shape == second.shape, "the sizes follow the labels"
    assert not first.equal(second), "the draw of the images does not"


def test_which_classes_are_rare_differs_between_worlds_where_sizes_are_shuffled() -> None:
    """With one seed for both draws, the shuffle of the sizes would undo that of the classes."""
    by_place = config().model_copy(
        update={"data": config().data.model_copy(update={"imbalance": imbalance(profile="position")})}
    )
    rarest = set()
    for number in range(6):
        own = by_place.repetition(0, World.drawn(number))
        stream = build(own.data, own.protocol)
        rarest.add(stream.class_ids_C[int(stream.counts_C.argmin())])
    assert len(rarest) > 1


def imbalance(**changes: Any) -> Any:
    return config().data.imbalance.model_copy(update=changes)


def test_a_run_file_may_name_a_world() -> None:
    content = yaml.safe_load(dump_run(config()))
    assert "world" not in content, "no run is in a world unless it says so"
    drawn, spelled = (
        parse_run({**content, "world": world}) for world in (3, {"class_order": 3, "tail": WORLDS[0].tail})
    )
    assert drawn == spelled == config().repetition(0, WORLDS[0])
    assert drawn.protocol.class_order.seed == 3
    assert parse_run(yaml.safe_load(dump_run(drawn))) == drawn
    given = parse_run({**content, "world": {"class_order": list(range(10))[::-1], "tail": 1}})
    assert build(given.data, given.protocol).class_ids_C == tuple(range(10))[::-1]
    with pytest.raises(ConfigError, match="world: -1 is not allowed; allowed: 0 to 4294967295"):
        parse_run({**content, "world": -1})


def test_runs_in_worlds_share_their_configuration_and_no_first_task() -> None:
    one = config("distillation")
    runs = in_worlds(one)
    assert len({run.config_id for run in runs}) == 1
    assert runs[0].config_id != one.config_id, "they are other repetitions"
    assert len({run.run_id for run in runs}) == len({run.first_task_id for run in runs}) == 4
    assert runs[0].trains_together_with(runs[1])
    assert not runs[0].trains_together_with(runs[2])
    stated = one.model_copy(
        update={"protocol": one.protocol.model_copy(update={"class_order": WORLDS[0].order}), "data": runs[0].data}
    )
    assert stated.first_task_id == runs[0].first_task_id, "the same training"


# -- trained together ------------------------------------------------------------------------------------------


class Listener(Observer):
    """Keeps the reports, and prunes the positions of ``pruned`` after their tasks."""

    def __init__(self, pruned: dict[int, list[int]] | None = None) -> None:
        self.tasks: list[TaskReport] = []
        self.resumed: list[TaskReport] = []
        self.pruned = pruned or {}

    def on_task(self, report: TaskReport) -> Collection[int]:
        self.tasks.append(report)
        return self.pruned.get(report.task, [])

    def on_resume(self, reports: Sequence[TaskReport]) -> None:
        self.resumed = list(reports)


def test_runs_in_worlds_are_the_runs_of_each_world() -> None:
    runs = in_worlds(config())
    heard = Listener()
    together = train(runs, CPU, observer=heard)
    alone = [result for start in (0, 2) for result in train(runs[start : start + 2], CPU)]
    assert list(map(timeless, together)) == list(map(timeless, alone))
    assert [result.world for result in together] == ["3", "3", "4", "4"]
    assert [result.members for result in together] == [2, 2, 2, 2]
    assert [report.task for report in heard.tasks] == [0, 1, 2]
    assert [[member.position for member in report.members] for report in heard.tasks] == [[0, 1, 2, 3]] * 3


def test_worlds_may_come_in_any_order() -> None:
    runs = in_worlds(config())
    mixed = [runs[place] for place in (2, 0, 3, 1)]
    assert list(map(timeless, train(mixed, CPU))) == [timeless(train(runs, CPU)[place]) for place in (2, 0, 3, 1)]


class Killed(Exception):
    """Stands for SIGKILL."""


class DyingSlot(FileSlot):
    """A place for checkpoints whose process dies instead of the n-th write, of any world."""

    left: ClassVar = [0]

    def write(self, content: bytes) -> None:
        self.left[0] -= 1
        if not self.left[0]:
            raise Killed
        super().write(content)

    def part(self, name: str) -> "DyingSlot":
        return DyingSlot(super().part(name).path)


def test_killed_at_any_checkpoint_the_same_runs_with_the_same_decisions(tmp_path: Path) -> None:
    """Two configurations in two worlds; the second is pruned after the first task, in both."""
    runs = [
        own.repetition(0, world)
        for weight in (0.5, 2.0)
        for own in [config("distillation", {"lambda": weight}, protocol={"tasks": 2})]
        for world in WORLDS
    ]
    pruned = {0: [2, 3]}
    whole = Listener(pruned)
    undisturbed = list(map(timeless, train(runs, CPU, observer=whole)))
    assert [result["status"] for result in undisturbed] == ["finished", "finished", "pruned", "pruned"]
    instant, died = 0, True
    while died:
        instant += 1
        slot, DyingSlot.left[0] = DyingSlot(tmp_path / f"{instant}" / "checkpoint.pt"), instant
        try:
            train(runs, CPU, checkpoint=slot, observer=Listener(pruned))
            died = False
        except Killed:
            DyingSlot.left[0] = 0
            heard = Listener(pruned)
            resumed = train(runs, CPU, checkpoint=slot, observer=heard)
            assert list(map(timeless, resumed)) == undisturbed, instant
            told = {report.task: report for report in (*heard.resumed, *heard.tasks)}
            for report in whole.tasks:
                assert values(told[report.task]) == values(report), instant
    assert instant > 5


def values(report: TaskReport) -> dict[int, Any]:
    return {member.position: member.metrics.acc_task_mean_pct for member in report.members}


def test_a_shared_first_task_is_trained_once_in_each_world(tmp_path: Path) -> None:
    runs = in_worlds(config("distillation"))
    slots: dict[str, FileSlot] = {}

    def slot(key: str) -> FileSlot:
        return slots.setdefault(key, FileSlot(tmp_path / f"{key}.pt"))

    found, spent_s = train_first_task(runs, CPU, slot)
    assert found.keys() == {run.first_task_id for run in runs} == slots.keys()
    assert spent_s > 0
    other = in_worlds(config("distillation", {"lambda": 2.0}))
    shared, own = train(other, CPU, first_task_checkpoint=slot), train(other, CPU)
    assert [row.saved_s > 0 for result in shared for row in result.tasks] == [True, False, False] * 4
    assert list(map(timeless, shared)) == list(map(timeless, own))


# -- in a sweep --------------------------------------------------------------------------------------------------


def test_a_search_space_file_says_what_is_repeated(tmp_path: Path) -> None:
    def repeated(**content: Any) -> Repetitions:
        return load_space(space_file(tmp_path, **{"seeds": None, **content})).spec.repeated

    assert repeated() == Repetitions(seeds=(0,))
    assert repeated(seeds=[0, 1]) == repeated(repetitions={"seeds": [0, 1]}) == Repetitions(seeds=(0, 1))
    drawn = repeated(repetitions={"worlds": 2})
    assert drawn == repeated(repetitions={"worlds": [0, 1]})
    assert str(drawn) == "2 worlds"
    listed = repeated(repetitions={"worlds": [7, {"class_order": 1993, "tail": 0}], "seeds": [0, 1]})
    assert (str(listed), [str(world) for world in listed.worlds]) == ("2 worlds x 2 seeds", ["7", "1993/0"])
    assert [(run.seed, str(run.world)) for run in listed.runs] == [(0, "7"), (1, "7"), (0, "1993/0"), (1, "1993/0")]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"seeds": [0], "repetitions": {"worlds": 2}}, "seeds and repetitions are both given"),
        ({"repetitions": {"worlds": 0}}, "repetitions.worlds: 0 is not a number of worlds; allowed: 1 to 1000"),
        ({"repetitions": {"worlds": [1, 1]}}, "worlds must be different"),
        ({"repetitions": {"world": 2}}, "no such field of repetitions; allowed: worlds, seeds; did you mean 'worlds'"),
        ({"vary": {"world": [1, 2]}}, "vary.world: cannot be searched; use `repetitions`"),
        (
            {"vary": {"protocol.class_order.seed": [1, 2]}, "repetitions": {"worlds": 2}},
            "vary.protocol.class_order.seed: cannot be searched; it is drawn anew in each world of `repetitions`",
        ),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_space(space_file(tmp_path, **{"seeds": None, **changes}))
    assert says in str(caught.value)


def test_a_sweep_in_worlds_is_resumed_with_them(tmp_path: Path) -> None:
    space = load_space(space_file(tmp_path, seeds=None, repetitions={"worlds": [{"class_order": 5, "tail": 6}, 7]}))
    folder = Store(tmp_path, "s").folder
    for _ in range(2):  # started, and launched again
        assert check_unchanged(space, folder, None, "images") is None
    (tmp_path / "s" / "runs").mkdir()
    (tmp_path / "s" / "runs" / "000000.parquet").touch()
    assert read_space(folder).configs({}) == space.configs({})
    fewer = load_space(space_file(tmp_path, seeds=None, repetitions={"worlds": [7]}))
    with pytest.raises(ConfigError, match="search space changed since sweep s started"):
        check_unchanged(fewer, folder, None, "images")


def test_a_trial_tells_the_mean_over_its_worlds_and_is_stored_as_one(tmp_path: Path) -> None:
    runs, heard = in_worlds(config()), list[Message]()
    train_pack(Job(str(tmp_path / "s"), Resources(), METRIC), {4: runs}, heard.append)
    told = {message.task: message.values[4] for message in heard if isinstance(message, TaskDone)}
    (ended,) = [own for message in heard if isinstance(message, TrialsEnded) for own in message.ended]
    by_task = [[getattr(result.tasks[task], METRIC) for result in ended.results] for task in range(3)]
    assert told == {task: pytest.approx(np.mean(own)) for task, own in enumerate(by_task)}

    store = Store(tmp_path, "s")
    store.finish_trial(4, ended.results, attempt="a", params={})
    assert stored_trials(store, Goals(METRIC))[4].steps == told, "a restored study is told the same"
    (row,) = open_results(tmp_path).sql("SELECT n, worlds, acc_task_mean_pct AS mean FROM seeds").rows()
    assert (row["n"], row["worlds"]) == (4, 2)
    assert row["mean"] == pytest.approx(told[2])
    by_world = open_results(tmp_path).sql("SELECT world, count(*) AS n FROM tasks GROUP BY 1 ORDER BY 1").rows()
    assert by_world == [{"world": "3", "n": 6}, {"world": "4", "n": 6}]


@pytest.mark.parametrize("end", [0, 1])
def test_a_worker_that_is_killed_between_tasks_resumes_each_world(tmp_path: Path, end: int) -> None:
    """Killed before it could report a task that all its worlds have trained, but only the first has saved."""
    runs = in_worlds(config(), [0])

    def trained(folder: str, until: int | None) -> list[Message]:
        heard = list[Message]()

        def report(message: Message) -> None:
            if isinstance(message, TaskDone) and message.task == until:
                raise Killed
            heard.append(message)

        train_pack(Job(str(tmp_path / folder), Resources(), METRIC), {0: runs}, report)
        return heard

    whole = trained("whole", None)
    with pytest.raises(Killed):
        trained("killed", end)
    saved = Folder.at(tmp_path).child("killed", "checkpoints")
    (pack,) = saved.folders()
    assert [bool(saved.child(pack, world).names()) for world in ("world0", "world1")] == [True, end > 0]
    resumed = trained("killed", None)
    assert told_by(resumed) == told_by(whole)


def told_by(heard: Sequence[Message]) -> tuple[dict[int, float], list[dict[str, Any]]]:
    """The values after each task, and the results of the runs."""
    values = {message.task: message.values[0] for message in heard if isinstance(message, TaskDone)}
    ended = [own for message in heard if isinstance(message, TrialsEnded) for own in message.ended]
    return values, [timeless(result) for own in ended for result in own.results]
