"""The driver's side of a sweep: what Ray Tune asks and tells goes to the search, the store and the status line.

The driver alone writes results. It asks before it hands out and stores before it tells, so that a sweep that is
killed at any instant goes on from its files.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from statistics import fmean
from typing import Any, Literal

import ray
from ray.tune.search import Searcher

from sweeper.execution.packing import Packing, note
from sweeper.execution.trial import Job, results_of
from sweeper.execution.worker import Preparation
from sweeper.reporting.leaderboard import values
from sweeper.search.space import Space
from sweeper.search.study import Asked, Past, Search
from sweeper.status import Best, Running, Status, duration
from sweeper.store.schema import params_json
from sweeper.store.store import Store
from trainer.config.files import dump_run
from trainer.errors import UserError
from trainer.results.columns import config_row
from trainer.results.provenance import git_commit
from trainer.results.spread import over_seeds

Answer = Callable[[Asked], list[dict[str, Any]] | None]
"""rows of a configuration that the store holds already, or None"""


class Driver(Searcher):
    """Asks the search for Ray Tune, and stores what trials report."""

    def __init__(self, job: Job, store: Store, tasks: int, say: Callable[[str], None], answer: Answer) -> None:
        """``tasks``: of a run; ``say`` prints a line."""
        super().__init__(metric="report", mode="max")
        self.job, self.store, self.search = job, store, Search(job.space)
        self.packing = Packing(1)
        self.preparation: Preparation | None = None
        """what is left to do before the first pack"""
        self.refusal: UserError | None = None
        """why the preparation could not be done: then no pack is trained"""
        self._preparing: str | None = None
        self._tasks, self._say, self._answer = tasks, say, answer
        self._packs: dict[str, dict[int, Asked]] = {}
        """configurations in training, by Ray trial and number"""
        self._apart: list[Asked] = []
        """asked, but cannot be trained together with those of the last pack"""
        self._values: dict[int, dict[int, float]] = {}
        self._started, self._done_before = time.time(), 0
        self._mailbox = ray.get_actor(job.mailbox) if job.mailbox else None
        self.status = Status(total=self.space.spec.trials)
        self._replay()

    @property
    def space(self) -> Space:
        return self.job.space

    # -- what Ray Tune calls ------------------------------------------------------------------------

    def suggest(self, trial_id: str) -> Any:
        """The preparation, and after it the next pack; FINISHED when all is asked or the budget is spent."""
        if self.refusal is not None:
            return Searcher.FINISHED
        if self.preparation is not None:
            return self._prepare(trial_id)
        pack: dict[int, Asked] = {}
        while len(pack) < self.packing.pack and not self._spent():
            asked = self._apart.pop(0) if self._apart else self.search.ask()
            if asked is None:
                break
            self._note_asked(asked)
            held = self._answer(asked)
            if held is not None:
                self._finish(asked, "from-store", None, held)
            elif pack and not self._fuse(asked, next(iter(pack.values()))):
                self._apart.append(asked)
                break
            else:
                pack[asked.number] = asked
        if not pack:
            return Searcher.FINISHED
        self._packs[trial_id] = pack
        self._write_status()
        return {"pack": [{"number": a.number, "params": a.params} for a in pack.values()]}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A trial has finished a task, or all of them, or was refused what it needs."""
        report = json.loads(result["report"])
        if trial_id == self._preparing:
            self._prepared(report)
        elif "ended" in report:
            self._end(trial_id, report)
        elif "split" in report:
            self._split(report["pack"])
        elif "refused" in report:
            self.fail(trial_id, report["refused"])
        else:
            self._step(report)
        self._write_status()

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A trial is over. Where it died for good, ``fail`` is told why."""
        if result and "report" in result and not error:
            self.on_trial_result(trial_id, result)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the store is the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a fresh driver is made at every start."""

    def __getstate__(self) -> dict[str, Any]:
        """Nothing, again: the Tuner pickles its searcher to restore it one day, which we never do."""
        return {}

    # -- what becomes of a configuration --------------------------------------------------------------

    def fail(self, trial_id: str, why: str) -> None:
        """Store the configurations of a trial that died as failed, and each as a run file that can be looked into."""
        if trial_id == self._preparing:
            self.refusal = UserError(why)
        for asked in self._packs.pop(trial_id, {}).values():
            configs = self.space.configs(asked.params)
            self._finish(asked, f"failed-{trial_id}", None, [{"row": self._failed_row(c, why)} for c in configs])
            folder, name = self.store.folder.child("failed"), f"trial-{asked.number:06d}.yaml"
            folder.write(name, dump_run(configs[0]).encode())
            how = "to see it alone: python -m trainer.run" if folder.local else "its run file:"
            self._say(f"    {how} {folder}/{name}")
        self._write_status()

    def recovered(self, trial_id: str, why: str) -> None:
        """Say why a trial has ended too early; it is tried again."""
        if trial_id == self._preparing:
            self._say(f"preparation: {why}; it is done again")
            return
        numbers = ", ".join(str(number) for number in self._packs.get(trial_id, {}))
        self._say(f"trial {numbers}: {why}; it goes on from its last finished task")

    def waits(self, why: str | None) -> None:
        """Say what trials wait for, or that they no longer do."""
        self.status.waiting = why
        self._write_status()
        if why:
            self._say(f"waiting: {why}")

    def _prepare(self, trial_id: str) -> dict[str, Any] | None:
        """To the first trial the preparation; nothing to others, until it is done."""
        if self._preparing is not None:
            return None
        self._preparing = trial_id
        assert self.preparation is not None
        if self.preparation.first_tasks:
            self._say(f"training the first task once for all configurations ({self.preparation.first_tasks} seeds)")
        return {"prepare": asdict(self.preparation)}

    def _prepared(self, report: Mapping[str, Any]) -> None:
        if "packing" in report:
            self.packing = Packing(**report["packing"])
            note(self.store.folder, self.space.spec.resources, self.packing)
            self._say(str(self.packing))
        elif "not_measured" in report:
            self._say(f"packs of {self.packing.pack}, not measured: {report['not_measured']}")
        elif "refused" in report:
            self.refusal = UserError(report["refused"])
        elif self.preparation is not None:  # Ray Tune gives the last report twice
            self.preparation = None
            spent_s = report["first_task_s"]
            if spent_s is not None:
                self._say(f"first task trained: {spent_s:.1f} device seconds, saved in every other configuration")

    def _step(self, report: Mapping[str, Any]) -> None:
        task = report["task"]
        pruned: list[int] = []
        for text, value in report["values"].items():
            number = int(text)
            if not math.isfinite(value):
                continue
            self._values.setdefault(number, {})[task] = value
            if self.search.report(number, task, value) and task + 1 < report["tasks"]:
                pruned.append(number)
        if self._mailbox is not None:
            ray.get(self._mailbox.put.remote(report["pack"], task, pruned))

    def _end(self, trial_id: str, report: Mapping[str, Any]) -> None:
        pack, key = self._packs.get(trial_id, {}), report["pack"]
        for ended in report["ended"]:
            asked = pack.pop(ended["number"], None)
            if asked is not None:
                self._finish(asked, report["attempt"], key, results_of(ended))
        if not report["training"]:
            self.store.folder.child("checkpoints", key).remove()

    def _split(self, pack: str) -> None:
        """A pack was too large for the device: later ones are smaller, and nobody goes on from its checkpoints."""
        self.store.folder.child("checkpoints", pack).remove()
        self.packing = replace(self.packing, pack=max(1, self.packing.pack // 2))
        note(self.store.folder, self.space.spec.resources, self.packing)
        self._say(f"out of memory: the pack is trained in halves, later ones are of {self.packing.pack}")

    def _finish(self, asked: Asked, attempt: str, pack: str | None, results: list[dict[str, Any]]) -> None:
        """Store, then tell, then say."""
        rows = [result["row"] for result in results]
        if self.packing.gain is not None:
            for row in rows:
                row["packing_saved_s"] = (row.get("device_s") or 0.0) * (self.packing.gain - 1)
        status, value = self._verdict(rows)
        self.store.finish_trial(asked.number, attempt, results, pack=pack, objective=value, params=asked.params)
        self.search.tell(asked.number, status, value)
        self._values.pop(asked.number, None)
        self._count(rows, status)
        self._say(self._line(asked, rows, status, value))

    def _verdict(self, rows: list[dict[str, Any]]) -> tuple[str, float | None]:
        """What the configuration came to over its seeds: the worst status, and the mean where all finished."""
        states = {row["status"] for row in rows}
        status = next((s for s in ("failed", "diverged", "pruned") if s in states), "finished")
        values = [row.get(self.space.spec.objective.metric) for row in rows]
        numbers = [v for v in values if v is not None and math.isfinite(v)]
        return status, fmean(numbers) if len(numbers) == len(rows) and status == "finished" else None

    def _failed_row(self, config: Any, why: str) -> dict[str, Any]:
        return {
            "run_id": config.run_id,
            "config_id": config.config_id,
            "seed": config.seed,
            "status": "failed",
            "error": why,
            "split": config.data.evaluation.split,
            "tasks_done": 0,
            "finished_at": datetime.now(UTC),
            "git_commit": git_commit(),
            **config_row(config),
        }

    # -- asking, replaying, saying ------------------------------------------------------------------

    def _fuse(self, asked: Asked, other: Asked) -> bool:
        """Whether both can be trained in one pass."""
        return self.space.configs(asked.params)[0].trains_together_with(self.space.configs(other.params)[0])

    def _note_asked(self, asked: Asked) -> None:
        if asked.number in self._known:
            return
        row = {
            "trial": asked.number,
            "config_id": self.space.configs(asked.params)[0].config_id,
            "params_json": params_json(asked.params),
            "asked_at": datetime.now(UTC),
        }
        self.store.append("asks", [row], f"a{asked.number:06d}")
        self._known.add(asked.number)

    def _replay(self) -> None:
        asks = self.store.read("asks", ["trial", "params_json"]).to_pylist()
        self._known = {row["trial"] for row in asks}
        metric = self.space.spec.objective.metric
        steps: dict[int, dict[int, list[float]]] = {}
        for row in self.store.read("tasks", ["trial", "task", metric]).to_pylist():
            if row[metric] is not None and math.isfinite(row[metric]):
                steps.setdefault(row["trial"], {}).setdefault(row["task"], []).append(row[metric])
        by_trial: dict[int, list[dict[str, Any]]] = {}
        for row in self.store.read("trials").to_pylist(maps_as_pydicts="strict"):
            by_trial.setdefault(row["trial"], []).append(row)
        past = []
        for number, rows in by_trial.items():
            status, value = self._verdict(rows)
            means = {task: fmean(found) for task, found in steps.get(number, {}).items()}
            past.append(Past(number, {}, value, status, means))
            self._count(rows, status)
        self.search.replay([Asked(row["trial"], json.loads(row["params_json"])) for row in asks], past)

    def _count(self, rows: list[dict[str, Any]], status: str) -> None:
        now = self.status
        now.done += 1
        now.failed += status == "failed"
        now.pruned += status == "pruned"
        now.diverged += status == "diverged"
        now.device_s += sum(row.get("device_s") or 0.0 for row in rows)
        now.saved_s += sum(row.get("saved_s") or 0.0 for row in rows)

    def _spent(self) -> bool:
        budget = self.space.spec.budget
        hours = (time.time() - self._started) / 3600
        return (budget.wall_hours is not None and hours >= budget.wall_hours) or (
            budget.device_hours is not None and self.status.device_s / 3600 >= budget.device_hours
        )

    def _write_status(self) -> None:
        running = [a for pack in self._packs.values() for a in pack.values()]
        self.status.running = []
        for asked in running:
            done = self._values.get(asked.number, {})
            value = done[max(done)] if done else None
            self.status.running.append(Running(asked.number, asked.params, len(done), self._tasks, value))
        best = self.search.best()
        self.status.best = None if best is None else Best(best[0], best[2], best[1])
        self.status.eta_s = self._eta_s()
        self.status.write(self.store.folder)

    def _eta_s(self) -> float | None:
        here = self.status.done - self._done_before
        if not here:
            return None
        return (time.time() - self._started) / here * (self.status.total - self.status.done)

    def begin(self) -> None:
        """Everything before is of earlier launches."""
        self._done_before, self._started = self.status.done, time.time()
        self._write_status()

    def end(self, state: Literal["finished", "stopped", "failed"]) -> None:
        """This launch is over."""
        self._packs.clear()
        self.status.state = state
        self._write_status()

    def _line(self, asked: Asked, rows: list[dict[str, Any]], status: str, value: float | None) -> str:
        outcome = status if value is None else over_seeds([row[self.space.spec.objective.metric] for row in rows])
        if status in ("failed", "diverged"):
            outcome += f" ({next((row['error'] for row in rows if row.get('error')), 'no reason given')})"
        best = self.search.best()
        beside = f"best {best[2]:.2f} (trial {best[0]})" if best else "no best yet"
        left = self._eta_s()
        eta = f", {duration(left)} left" if left and self.status.done < self.status.total else ""
        count = f"[{self.status.done}/{self.status.total}]"
        return f"{count} trial {asked.number}: {values(asked.params)}: {outcome}   {beside}{eta}"
