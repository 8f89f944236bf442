"""The function that Ray Tune runs in processes: it trains a pack or, before the first one, does the set-up.

The set-up measures packs and trains the first task that all configurations share. It is a Ray trial like a pack, so
that it is placed, stopped and retried like one, and its process, which has all imports done, trains the first pack.
"""

import socket
import uuid
from collections.abc import Mapping
from typing import Any

import torch
from ray import tune
from ray.exceptions import RayError

from sweeper.execution.job import RESULT, Job, SetUp, pack_of_trial
from sweeper.execution.messages import (
    Evicted,
    Failed,
    Interrupted,
    Message,
    PackingMeasured,
    PackingNotMeasured,
    SetUpDone,
    to_json,
)
from sweeper.execution.notice import Notice
from sweeper.execution.packing import measure_packing
from sweeper.execution.trial import AttemptSlot, Warner, train_pack
from trainer.errors import CheckpointError, DataError, StoreError, TrainingStopped, UserError
from trainer.results.provenance import source_digest
from trainer.training.session import train_first_task

_OF_THE_WORLD = (OSError, DataError, CheckpointError, StoreError, RayError, torch.AcceleratorError)
"""what no configuration causes. The driver has read the images of this sweep: where they do not read, it is the node"""


class CrashError(Exception):
    """An exception of the code that a trial runs, in words: not every exception can be pickled and made again."""


def send(message: Message) -> None:
    """Report a message to the driver, and wait until it has been handled."""
    tune.report({RESULT: to_json(message)})


def run_trial(config: Mapping[str, Any], job: Job) -> None:
    """Do what ``SetUp.as_trial`` or ``pack_as_trial`` states, and report messages."""
    notice = Notice.of_process()
    try:
        if source_digest() != job.code:
            raise OSError("its code is not the driver's: update it there, or pass --working-dir to ray job submit")
        torch.set_num_threads(job.resources.threads)
        if job.resources.gpu and not torch.cuda.is_available():
            raise OSError(
                "Ray has given this trial a GPU, and PyTorch sees none: "
                "its build is for CPUs only, or the node was started with --num-gpus and has none"
            )
        if 0 < job.resources.gpu < 1:  # what is too large splits its own pack, and takes no other trial's memory
            torch.cuda.set_per_process_memory_fraction(job.resources.gpu)
        set_up = SetUp.of_trial(config)
        if set_up is None:
            with notice.heeded():
                train_pack(job, pack_of_trial(config), send, notice.is_due)
        else:
            _set_up(job, set_up, notice)
    except TrainingStopped:
        send(Evicted(reason=f"{socket.gethostname()}: {notice.reason}"))
    except _OF_THE_WORLD as error:
        send(Interrupted(reason=f"{socket.gethostname()}: {_in_words(error)}"))
        if isinstance(error, torch.AcceleratorError):  # nothing works any more in a process whose device has failed
            raise CrashError from None
    except UserError as error:
        send(Failed(reason=str(error)))
    except Exception as error:
        raise CrashError(_in_words(error)) from None  # Ray Tune copies a cause, which not every exception survives
    if notice.reason:  # what was trained has been told; Ray Tune would give this process the next trial
        raise CrashError(notice.reason)


def _in_words(error: Exception) -> str:
    first = next(iter(str(error).splitlines()), "")[:500]
    return first if first and isinstance(error, UserError | OSError) else f"{type(error).__name__}: {first}"


def _set_up(job: Job, wanted: SetUp, notice: Notice) -> None:
    if wanted.largest is not None:
        try:
            packing = measure_packing(wanted.configs, job.resources, wanted.largest, job.options)
            measured: Message = PackingMeasured(packing=packing)
        except _OF_THE_WORLD:
            raise
        except Exception as error:  # the first configuration's own: its trial meets it as well, and others may not
            measured = PackingNotMeasured(reason=_in_words(error))
        send(measured)
    spent_s = None
    if wanted.first_tasks:
        slot = AttemptSlot(job.checkpoints(wanted.pack), uuid.uuid4().hex[:8])
        observer = Warner(send, notice.is_due)
        with notice.heeded():
            _, spent_s = train_first_task(wanted.configs, job.options, job.first_task_checkpoint, observer, slot)
    send(SetUpDone(first_task_s=spent_s))
