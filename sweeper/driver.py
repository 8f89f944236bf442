"""What a launch does, from its file to its last line: the process that drives a sweep."""

import argparse
import contextlib
import os
from functools import partial

from sweeper.execution import plan
from sweeper.execution.cluster import connected, find_address
from sweeper.execution.launch import Launch
from sweeper.execution.notifier import Notifier, ignore, sender
from sweeper.execution.signals import Stopped, StopSignal
from sweeper.execution.sweep import BrokenSweepError
from sweeper.reporting.arguments import next_command
from sweeper.reporting.front import print_front
from sweeper.reporting.leaderboard import print_top
from sweeper.reporting.ledger import Ledger
from sweeper.reporting.methods import print_methods
from sweeper.search.rehearsal import rehearse
from sweeper.search.space import Space
from sweeper.store.folder import Folder
from sweeper.store.lease import Lease
from sweeper.store.results import open_results
from sweeper.store.store import Store
from sweeper.store.sweep_file import absolute_path, check_unchanged
from trainer.words import format_count

_say = partial(print, flush=True)


def drive(space: Space, arguments: argparse.Namespace) -> int:
    """Check the search, run its sweep and print what came of it. Returns the exit code. Raises UserError."""
    send = None if space.spec.notify is None else sender(space.spec.notify, space.file)
    rehearse(space)
    path = space.base.data.path
    space = Space(space.file, space.spec, absolute_path(space.base))
    results = Folder.at(arguments.results or space.spec.results or os.environ.get("CIL_RESULTS", "results"))
    store = Store(results, space.name)
    task_stream = plan.load_benchmark(space)
    if arguments.dry_run:
        planned = plan.make(space, store, task_stream)
        print(planned.model_dump_json(indent=1) if arguments.json else "\n".join(plan.describe(planned)))
        return 0
    with contextlib.ExitStack() as stack:
        lease = stack.enter_context(Lease.acquire(store.folder, say=_say))
        notify = stack.enter_context(contextlib.closing(Notifier(send, _say))).notify if send else ignore
        store.lease = lease
        anew = check_unchanged(space, store.folder, path, task_stream.fingerprint)
        if anew is not None:
            _say(anew)
        store.tidy()
        if arguments.retry_failed:
            count = store.reopen_failed()
            _say(f"training {format_count(count, 'failed configuration')} again" if count else "nothing has failed")
        resume = next_command("sweeper.steer", space.name, "resume", results=results)
        launch = Launch(space, store, task_stream, _say, resume, notify)
        for line in task_stream.said:
            _say(line)
        if not launch.ended:  # no cluster is needed to say that it has
            stop = StopSignal()
            try:
                with connected(arguments.address, _say):
                    launch.run(own_cluster=not find_address(arguments.address), check_stop=stop.check)
            except Stopped:
                status = launch.progress.status
                total = format_count(status.total, "configuration")
                _say(f"stopped: {status.done} of {total} ended; run the same command to resume")
                return stop.exit_code
            except BrokenSweepError as error:
                _say(f"stopped: {error}")
                return 1
        return _conclude(launch)


def _conclude(launch: Launch) -> int:
    """Print the results of the sweep. Returns the exit code: 1 if every configuration failed."""
    status, space, store = launch.progress.status, launch.space, launch.store
    launch.progress.end("finished" if launch.ended else "stopped")
    if status.done > launch.study.trials:
        stored = format_count(status.done, "configuration")
        _say(f"{stored} stored already, more than the {launch.study.trials} asked for: nothing is trained")
    late = launch.steering.late()
    if late:
        _say(f"{format_count(late, 'request')} of sweeper.steer came too late; run the same command to take them")
    if launch.ended:
        store.folder.child("checkpoints").remove()  # what a worker wrote that outlived its driver
    else:  # nothing else keeps a launch from training all
        limits = space.spec.budget.model_dump(exclude_none=True)
        budget = ", ".join(f"{name} {value:g}" for name, value in limits.items())
        _say(f"the budget has no room for more ({budget}); raise it and run the same command to continue")
    results = open_results(store.folder.parent, store.sweep)
    print_top(results, space.spec.objective)
    print_front(results, store.sweep)
    print_methods(results, store.sweep)
    _say(
        f"{status.done} of {format_count(status.total, 'configuration')}: {status.pruned} pruned, "
        f"{status.diverged} diverged, {status.failed} failed; {Ledger.of(results, store.sweep)}"
    )
    if status.failed:
        _say("once the cause is fixed, --retry-failed trains the failed ones again")
    root = store.folder.parent
    view = "best" if launch.study.front is None else "front"
    _say(f"next: {next_command('sweeper.query', f'SELECT * FROM {view}', results=root)}")
    _say(f"      {next_command('sweeper.promote', store.sweep, results=root)}")
    return 1 if status.done and status.failed == status.done else 0
