"""What Ray Tune runs in the processes of a sweep: packs, and before the first one, in one of them, the preparation.

The preparation measures packs and trains the first task that all share. It is a trial as packs are, so that it waits
for a place, is stopped and is tried again as they are, and its process, which has imported all it needs, goes on with
the first pack.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ray import tune

from sweeper.execution.packing import rehearse_packs
from sweeper.execution.trial import Job, Report, train_pack, use
from sweeper.search.space import Params
from trainer.errors import UserError
from trainer.training.session import train_first_task


@dataclass(frozen=True)
class Preparation:
    """What is to be done before the first pack."""

    params: Params
    """of the first configuration"""
    most: int | None
    """configurations of the largest pack to measure; None: packs are known"""
    first_tasks: int
    """seeds whose first task, which all configurations share, is still to be trained"""


def work(config: Mapping[str, Any], job: Job) -> None:
    """``config["prepare"]``: a Preparation's fields; else ``config["pack"]``: number and params of configurations."""

    def report(content: dict[str, Any]) -> None:
        tune.report({"report": json.dumps(content)})

    try:
        use(job.space.spec.resources)
        if "prepare" in config:
            _prepare(job, Preparation(**config["prepare"]), report)
        else:
            train_pack(job, {entry["number"]: job.space.configs(entry["params"]) for entry in config["pack"]}, report)
    except UserError as error:  # another try would end the same: Ray Tune is not to make one
        report({"refused": str(error)})


def _prepare(job: Job, wanted: Preparation, report: Report) -> None:
    if wanted.most is not None:
        report(_measured(job, wanted.params, wanted.most))
    spent_s = (
        train_first_task(job.space.configs(wanted.params), job.options, job.first_task_checkpoint)
        if wanted.first_tasks
        else None
    )
    report({"first_task_s": spent_s})


def _measured(job: Job, params: Params, most: int) -> dict[str, Any]:
    try:
        return {"packing": asdict(rehearse_packs(job, params, most))}
    except UserError as error:
        return {"not_measured": str(error)}
    except Exception as error:  # the first configuration's own: its trial meets it as well, and others may not
        return {"not_measured": f"{type(error).__name__}: {error}"}
