"""What a promotion does, from the sweep's folder to the run file or the refusal."""

import argparse
from functools import partial
from pathlib import Path

from sweeper.execution.cluster import connected, must_wait
from sweeper.execution.signals import Stopped, StopSignal
from sweeper.promotion.candidates import Incumbent, evaluate_candidates
from sweeper.promotion.decision import complete_record, decide_and_record
from sweeper.promotion.statistics import Decision
from sweeper.reporting.arguments import next_command
from sweeper.store.damage import Damage
from sweeper.store.folder import Folder
from sweeper.store.lease import Lease
from sweeper.store.status_file import read_state
from sweeper.store.store import Store
from sweeper.store.sweep_file import read_space
from sweeper.store.sweeps import promotion_of
from trainer import tables
from trainer.words import WARNING, format_count

_say = partial(print, flush=True)


def promote(folder: Folder, arguments: argparse.Namespace) -> int:
    """Compare the best of the sweep in ``folder`` with the incumbent, and write the run file if it is better.

    Returns the exit code. Raises UserError.
    """
    space, results = read_space(folder), folder.parent
    file = Path(arguments.runs) / f"{arguments.sweep if arguments.name is None else arguments.name}.yaml"
    incumbent = Incumbent.of(file, space)
    sweep, store = Store(results, space.name), Store(results, promotion_of(space.name))
    with Lease.acquire(store.folder) as lease:
        sweep.lease = store.lease = lease
        store.tidy()
        Folder.at(file.parent).delete_unfinished(of=file.name)
        decision = complete_record(space, incumbent, file, sweep)
        if decision is not None:
            _say("recorded the promotion that was interrupted after its run file was written")
            return _written(decision, file)
        _warn_of_the_unfinished(folder)
        stop = StopSignal()
        try:
            with connected(arguments.address, _say):
                why = must_wait(space.spec.resources)
                if why:
                    _say(f"waiting: {why}")
                comparison = evaluate_candidates(
                    space, incumbent, store, top=arguments.top, n=arguments.seeds, say=_say, check_stop=stop.check
                )
        except Stopped:
            _say("stopped: what has ended is stored; run the same command to resume")
            return stop.exit_code
        tables.print_table(*comparison.table)
        decision = decide_and_record(space, comparison, file, sweep, force=arguments.force)
    if not decision.promoted and not arguments.force:
        _say(f"refused: {decision.reason}")
        _say(f"more --trials of the search or more --seeds here may show more; --force writes {file} anyway")
        return 1
    return _written(decision, file)


def _warn_of_the_unfinished(sweep: Folder) -> None:
    status, state = read_state(sweep, Damage())
    if status is not None and status.done < status.total:
        now = "is running" if state == "running" else "has not ended"
        _say(
            f"{WARNING}the sweep {now}: {status.done} of {format_count(status.total, 'configuration')} are stored; "
            "those that end later are not considered"
        )


def _written(decision: Decision, file: Path) -> int:
    _say(f"{'promoted' if decision.promoted else 'forced'}: {file}: {decision.reason}")
    _say(f"next: {next_command('trainer.run', file, '--verify')}")
    return 0
