"""The function that Ray Tune runs in processes: it trains a pack or, before the first one, does the set-up.

The set-up measures packs and trains the first task that all configurations share. It is a Ray trial like a pack, so
that it is placed, stopped and retried like one, and its process, which has all imports done, trains the first pack.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ray import tune

from sweeper.execution.job import RESULT, Job, SetUp, pack_of_trial
from sweeper.execution.messages import Message, PackingMeasured, PackingNotMeasured, Refused, SetUpDone, to_json
from sweeper.execution.packing import measure_packing
from sweeper.execution.trial import Report, configure_torch, train_pack
from trainer.config.run_config import RunConfig
from trainer.errors import UserError
from trainer.training.session import train_first_task


def send(message: Message) -> None:
    """Report a message to the driver, and wait until it has been handled."""
    tune.report({RESULT: to_json(message)})


def run_trial(config: Mapping[str, Any], job: Job) -> None:
    """Do what ``SetUp.as_trial`` or ``pack_as_trial`` states, and report messages."""

    try:
        configure_torch(job.resources)
        set_up = SetUp.of_trial(config)
        if set_up is None:
            train_pack(job, pack_of_trial(config), send)
        else:
            _set_up(job, set_up, send)
    except UserError as error:  # another try would end the same: Ray Tune must not make one
        send(Refused(reason=str(error)))


def _set_up(job: Job, wanted: SetUp, report: Report) -> None:
    if wanted.largest is not None:
        report(_measured(job, wanted.configs, wanted.largest))
    spent_s = train_first_task(wanted.configs, job.options, job.first_task_checkpoint) if wanted.first_tasks else None
    report(SetUpDone(first_task_s=spent_s))


def _measured(job: Job, configs: Sequence[RunConfig], largest: int) -> PackingMeasured | PackingNotMeasured:
    try:
        return PackingMeasured(packing=measure_packing(configs, job.resources, largest, job.options))
    except UserError as error:
        return PackingNotMeasured(reason=str(error))
    except Exception as error:  # the first configuration's own: its trial meets it as well, and others may not
        return PackingNotMeasured(reason=f"{type(error).__name__}: {error}")
