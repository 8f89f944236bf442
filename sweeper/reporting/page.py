"""What the page of a sweep shows, as JSON: computed from the stored rows by SQL. ``html.py`` puts it into a page."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from statistics import fmean, stdev
from typing import Any

from sweeper.reporting.ledger import Ledger
from sweeper.reporting.repeat import repeat
from sweeper.search.dimensions import AnyDimension, CategoricalDimension
from sweeper.search.importance import importances
from sweeper.search.space import Space
from sweeper.search.words import short_names
from sweeper.store.results import Tables, last_promotion
from sweeper.store.schema import feasible_sql, phase_name, value_sql
from sweeper.store.status_file import Status
from sweeper.store.sweeps import promotion_of

DETAILED = 30
"""configurations with accuracy by task and by class: the best, besides the first and the promoted"""
_DIGITS = 4
_GROUPS = ("many", "medium", "few")

Content = dict[str, Any]


def sweep_content(space: Space, status: Status | None, state: str, results: Tables) -> Content:
    """All that the page shows of one sweep: plain lists, dictionaries, texts and finite numbers.

    A value that is not known, or not finite, is None. ``state``: as ``read_state`` gives it.
    """
    tried = _configurations(space, results)
    finished = [row for row in tried if row["status"] == "finished" and row["value"] is not None]
    ordered = sorted(finished, key=lambda row: (-row["value"] if space.maximize else row["value"], row["trial"]))
    promotion = _promotion(space, results)
    special = [finished[0]["trial"]] if finished else []
    special += [] if promotion is None else [promotion["trial"]]
    detailed = list(dict.fromkeys([*special, *(row["trial"] for row in ordered[:DETAILED])]))
    params = [row["params"] for row in tried]
    pairs = [(row["params"], row["value"]) for row in finished]
    return {
        "name": space.name,
        "state": state,
        "done": len(tried),
        "total": len(tried) if status is None else max(status.total, len(tried)),
        "objective": space.spec.objective.model_dump(mode="json", include={"metric", "split", "direction"}),
        "repetitions": str(space.spec.repeated),
        "dimensions": _dimensions(space.spec.vary, params),
        "configurations": _columns(tried, list(space.spec.vary)),
        "best": ordered[0]["trial"] if ordered else None,
        "first": finished[0]["trial"] if finished else None,
        "front": _front(space, results),
        "promotion": promotion,
        "importance": [asdict(found) for found in importances(pairs, space.spec.vary, maximize=space.maximize)],
        "tasks": _tasks(space, results, detailed),
        "classes": _classes(space, results, detailed),
        "detailed": DETAILED,
        "ledger": Ledger.of(results, space.name).model_dump(),
        "failures": _failures(space, results),
        "repeat": repeat(space, params),
    }


def page_content(sweeps: Sequence[Content]) -> Content:
    """The sweeps of a page, with the time at which it is written."""
    return {"written": datetime.now(UTC).isoformat(timespec="seconds"), "sweeps": list(sweeps)}


def as_json(content: Content) -> str:
    """The content as JSON that may stand within a script element: no ``<`` in it, whatever the data hold."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _configurations(space: Space, results: Tables) -> list[dict[str, Any]]:
    """A row a configuration, in the order of trials; means over its seeds."""
    metric = space.spec.objective.metric
    groups = ", ".join(
        f"avg(acc_{g}_pct) AS {g}, stddev_samp(acc_{g}_pct) FILTER (WHERE isfinite(acc_{g}_pct)) AS {g}_std"
        for g in _GROUPS
    )
    rows = results.sql(
        f"SELECT trial, any_value(params_json) AS params, avg({metric}) AS value, count(*) AS n, "
        f"stddev_samp({metric}) FILTER (WHERE isfinite({metric})) AS std, avg(forgetting_pct) AS forgetting, "
        "coalesce(min(status) FILTER (WHERE status <> 'finished'), "
        f"if({feasible_sql('any_value(violations)')}, 'finished', 'infeasible')) AS status, "
        f"{groups}, sum(device_s) AS device_s, max(finished_at) AS ended "
        "FROM runs WHERE sweep = $sweep AND trial IS NOT NULL GROUP BY trial ORDER BY trial",
        sweep=space.name,
    ).rows()
    return [
        {name: _plain(value) for name, value in row.items()} | {"params": json.loads(row["params"] or "{}")}
        for row in rows
    ]


def _columns(tried: Sequence[Mapping[str, Any]], dimensions: Iterable[str]) -> Content:
    """A list a column, which is half as long as an object a row; ``order``: in which they ended."""
    names = ["trial", "status", "value", "std", "n", "forgetting", "device_s"]
    names += [*_GROUPS, *(f"{group}_std" for group in _GROUPS)]
    found: Content = {name: [row[name] for row in tried] for name in names}
    found["params"] = {name: [row["params"].get(name) for row in tried] for name in dimensions}
    found["order"] = sorted(range(len(tried)), key=lambda i: (tried[i]["ended"] or "", tried[i]["trial"]))
    return found


def _front(space: Space, results: Tables) -> Content | None:
    """The trials of the front, by their first objective, and the further objectives of every configuration.

    None with one objective.
    """
    further = space.spec.wanted[1:]
    if not further:
        return None
    values = {f"v{place}": f"({value_sql(one.metric)})::DOUBLE" for place, one in enumerate(further)}
    numbers = ", ".join(
        f"avg({value}) AS {name}, stddev_samp({value}) FILTER (WHERE isfinite({value})) AS {name}_std"
        for name, value in values.items()
    )
    every = (
        f"SELECT trial, {numbers} FROM runs WHERE sweep = $sweep AND trial IS NOT NULL GROUP BY trial ORDER BY trial"
    )
    rows = results.sql(every, sweep=space.name).rows()
    front = results.sql("SELECT trial FROM front WHERE sweep = $sweep ORDER BY means[1], trial", sweep=space.name)
    return {
        "trials": [row["trial"] for row in front.rows()],
        "further": [
            {
                "metric": one.metric,
                "direction": one.direction,
                "value": [_plain(row[name]) for row in rows],
                "std": [_plain(row[f"{name}_std"]) for row in rows],
            }
            for name, one in zip(values, further, strict=True)
        ],
    }


def _dimensions(vary: Mapping[str, AnyDimension], params: Sequence[Mapping[str, Any]]) -> list[Content]:
    """The dimensions in the file's order; ``missing``: configurations that lack one."""
    short, found = short_names(vary), []
    for name, own in vary.items():
        about: Content = {"name": name, "short": short[name], "missing": sum(name not in one for one in params)}
        if isinstance(own, CategoricalDimension):
            found.append({**about, "choices": list(own.choices)})
        else:
            found.append({**about, "low": own.low, "high": own.high, "log": own.log})
    return found


def _promotion(space: Space, results: Tables) -> Content | None:
    """The last decision about a run file, with the curves of what it compared; None if there was none."""
    row = last_promotion(results, space.name)
    if row is None:
        return None
    kept = ["trial", "decision", "reason", "file", "metric", "split", "n", "mean_pct", "std_pct", "decided_at"]
    kept += ["worlds", "interval_low_pct", "interval_high_pct", "incumbent_mean_pct", "incumbent_std_pct"]
    base = space.base_on_test(worlds=bool(row["worlds"])).config_id
    compared = {row["config_id"]: f"trial {row['trial']}", row["incumbent_config_id"] or base: "incumbent"}
    compared.setdefault(base, "the sweep's base")
    stored = _curves(space, results, promotion_of(space.name), "config_id", list(compared), row)
    curves = [{"label": label, **stored[id]} for id, label in compared.items() if id in stored]
    return {name: _plain(row[name]) for name in kept} | {"base": row["incumbent_config_id"] is None, "curves": curves}


def _tasks(space: Space, results: Tables, trials: Sequence[int]) -> Content:
    """Accuracy on all classes seen after each task, by trial."""
    found = _curves(space, results, space.name, "trial", trials)
    return {str(trial): curve for trial, curve in found.items()}


def _curves(
    space: Space, results: Tables, sweep: str, key: str, wanted: Sequence[Any], of: Mapping[str, Any] | None = None
) -> dict[Any, Content]:
    """Mean and standard deviation over runs after each task, weighted as in the objective, by ``key``.

    ``of``: a promotion whose seeds and worlds alone count.
    """
    seeds, worlds = (None, None) if of is None else (list(of["seeds"]), of["worlds"])
    column = phase_name(space.spec.objective.metric)
    rows = results.sql(
        f"SELECT {key} AS key, list(value ORDER BY world, seed) AS value_S FROM "
        f"(SELECT DISTINCT {key}, task, world, seed, {column} AS value FROM tasks WHERE sweep = $sweep "
        f"AND {key} IN (SELECT unnest($wanted)) AND ($seeds IS NULL OR list_contains($seeds, seed)) "
        "AND ($worlds IS NULL OR list_contains($worlds, world))) "
        "GROUP BY key, task ORDER BY key, task",
        sweep=sweep,
        wanted=list(wanted),
        seeds=seeds,
        worlds=worlds,
    ).rows()
    found: dict[Any, Content] = {}
    for row in rows:
        values = [v for v in row["value_S"] if v is not None and math.isfinite(v)]
        own = found.setdefault(row["key"], {"mean": [], "std": []})
        own["mean"].append(_plain(fmean(values)) if values else None)
        own["std"].append(_plain(stdev(values)) if len(values) > 1 else None)
    return found


def _classes(space: Space, results: Tables, trials: Sequence[int]) -> Content:
    """The classes in the order of learning, and the accuracy on each after a run's last task, by trial.

    Where the order differs between worlds, a class has the place and the images of the first one.
    """
    if not trials:
        return {"about": [], "trials": {}}
    # Texts are read of one trial alone: with 100 classes and 10 tasks, 10,000 configurations have 16 million rows.
    known = results.sql(
        "SELECT class_id, arg_max(class_name, task) AS name, any_value(position) AS position, "
        "any_value(images) AS images, any_value(shot) AS shot, any_value(first_task) AS first_task "
        "FROM classes WHERE sweep = $sweep AND trial = $trial AND run_id = (SELECT min_by(run_id, (world, seed)) "
        "FROM runs WHERE sweep = $sweep AND trial = $trial) GROUP BY class_id ORDER BY position",
        sweep=space.name,
        trial=trials[0],
    ).rows()
    rows = results.sql(
        "SELECT trial, class_id, avg(acc_pct) AS mean, "
        "stddev_samp(acc_pct) FILTER (WHERE isfinite(acc_pct)) AS std FROM "
        "(SELECT DISTINCT trial, run_id, task, class_id, acc_pct FROM classes "
        f"WHERE sweep = $sweep AND trial IN ({', '.join(map(str, trials))})) "
        "JOIN (SELECT trial, run_id, tasks_done - 1 AS task FROM runs WHERE sweep = $sweep) "
        "USING (trial, run_id, task) "
        "GROUP BY trial, class_id",
        sweep=space.name,
    ).rows()
    place = {row["class_id"]: index for index, row in enumerate(known)}
    about = [{name: row[name] for name in ("name", "images", "shot", "first_task")} for row in known]
    by_trial: Content = {}
    for row in rows:
        if row["class_id"] not in place:
            continue
        own = by_trial.setdefault(str(row["trial"]), {"mean": [None] * len(about), "std": [None] * len(about)})
        own["mean"][place[row["class_id"]]] = _plain(row["mean"])
        own["std"][place[row["class_id"]]] = _plain(row["std"])
    return {"about": about, "trials": by_trial}


def _failures(space: Space, results: Tables) -> list[Content]:
    """The reasons of configurations that diverged or failed, the most frequent first, with the trials of each."""
    return results.sql(
        "SELECT status, coalesce(error, 'no reason given') AS reason, count(*) AS runs, "
        "list(DISTINCT trial ORDER BY trial)[:20] AS trials FROM runs "
        "WHERE sweep = $sweep AND status IN ('diverged', 'failed') GROUP BY ALL ORDER BY runs DESC, reason LIMIT 100",
        sweep=space.name,
    ).rows()


def _plain(value: Any) -> Any:
    """The value as JSON can hold it: numbers to four decimals, None where they are not finite."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float):
        return round(value, _DIGITS) if math.isfinite(value) else None
    return value
