"""What a promotion does, from the sweep's folder to the run file or the refusal."""

import contextlib
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sweeper.execution.cluster import connected, find_address, must_wait
from sweeper.execution.signals import Stopped, StopSignal
from sweeper.promotion.answer import Promotion, latest
from sweeper.promotion.candidates import Incumbent, evaluate_candidates
from sweeper.promotion.decision import complete_record, decide_and_record
from sweeper.promotion.points import check_point
from sweeper.promotion.target import Target
from sweeper.reporting.arguments import next_command
from sweeper.store.damage import Damage
from sweeper.store.folder import Folder
from sweeper.store.lease import Lease
from sweeper.store.status_file import read_state
from sweeper.store.store import Store
from sweeper.store.sweep_file import read_space
from sweeper.store.sweeps import promotion_of
from trainer import tables
from trainer.errors import Error
from trainer.words import WARNING, format_count

_say = partial(print, flush=True)


@dataclass(frozen=True)
class Choices:
    """What a promotion leaves open."""

    name: str | None = None
    """of the run file; None: the sweep's"""
    runs: str = "runs"
    """folder of run files"""
    top: int = 3
    """candidates"""
    seeds: int | None = None
    """fresh ones, for each candidate; None: 5, or in worlds as many as the search's"""
    worlds: int | None = None
    """fresh ones, for each candidate; None: 5 of a search in worlds, otherwise none"""
    force: bool = False
    """whether to write the run file even without evidence"""
    address: str | None = None
    """of a Ray cluster; None: $RAY_ADDRESS, otherwise one is started"""
    point: str | None = None
    """the one candidate: a named point of the front, or a trial; None: the ``top``"""
    on: str | None = None
    """run file of another data set to test on; None: the sweep's own images and tasks"""


class PromotionStopped(Error):
    """Ctrl-C or SIGTERM came before there was a decision; what has ended is stored."""

    def __init__(self, exit_code: int) -> None:
        super().__init__("stopped: what has ended is stored; run the same command to resume")
        self.exit_code = exit_code


def decide(folder: Folder, choices: Choices) -> Promotion:
    """Compare the best of the sweep in ``folder`` with the incumbent, and write the run file if it is better.

    Prints what it does. Raises UserError and PromotionStopped.
    """
    if choices.point is not None:
        check_point(choices.point)
    space, results = read_space(folder), folder.parent
    own = space.name if choices.on is None else f"{space.name}_on_{Path(choices.on).stem}"
    file = Path(choices.runs) / f"{own if choices.name is None else choices.name}.yaml"
    incumbent = Incumbent.of(file, Target.of(space, choices.on))
    sweep, store = Store(results, space.name), Store(results, promotion_of(space.name))
    with Lease.acquire(store.folder) as lease:
        sweep.lease = store.lease = lease
        store.tidy()
        Folder.at(file.parent).delete_unfinished(of=file.name)
        decision = complete_record(space, incumbent, file, sweep)
        if decision is not None:
            _say("recorded the promotion that was interrupted after its run file was written")
            return latest(sweep, forced=not decision.promoted)
        _warn_of_the_unfinished(folder)
        stop = StopSignal()
        try:
            with connected(choices.address, _say):
                own_cluster = not find_address(choices.address)
                why = None if own_cluster else must_wait(space.spec.resources)
                if why:
                    _say(f"waiting: {why}")
                comparison = evaluate_candidates(
                    space,
                    incumbent,
                    store,
                    top=choices.top,
                    n=choices.seeds,
                    worlds=choices.worlds,
                    point=choices.point,
                    say=_say,
                    check_stop=stop.check,
                    own_cluster=own_cluster,
                )
        except Stopped:
            raise PromotionStopped(stop.exit_code) from None
        tables.print_table(*comparison.table)
        if comparison.further:
            headers = ("further objective", "direction", comparison.leader.label, incumbent.name, "difference")
            tables.print_table(headers, [one.row() for one in comparison.further])
        decision = decide_and_record(space, comparison, file, sweep, force=choices.force)
        return latest(sweep, forced=choices.force and not decision.promoted)


def promote(folder: Folder, choices: Choices, *, as_json: bool = False) -> int:
    """Decide, and print the decision. Returns the exit code: 0 if the run file was written. Raises UserError.

    ``as_json``: the decision is all that is printed on standard output; the rest goes to standard error.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
            found = decide(folder, choices)
    except PromotionStopped as stopped:
        print(stopped, file=sys.stderr if as_json else sys.stdout, flush=True)
        return stopped.exit_code
    if as_json:
        print(found.model_dump_json(indent=1), flush=True)
        return 0 if found.decision == "promoted" else 1
    if found.test_looks is not None:
        looks = format_count(found.test_looks, "look")
        _say(f"test images of this data set: {looks} in {folder.parent}, this one included")
    if found.decision == "promoted":
        _say(f"{'forced' if found.forced else 'promoted'}: {found.file}: {found.reason}")
        _say(f"next: {next_command('trainer.run', found.file, '--verify')}")
    else:
        _say(f"refused: {found.reason}")
        _say(f"a search of more --trials may find better; --force writes {found.file} anyway")
    return 0 if found.decision == "promoted" else 1


def _warn_of_the_unfinished(sweep: Folder) -> None:
    status, state = read_state(sweep, Damage())
    if status is not None and status.done < status.total:
        now = "is running" if state == "running" else "has not ended"
        _say(
            f"{WARNING}the sweep {now}: {status.done} of {format_count(status.total, 'configuration')} are stored; "
            "those that end later are not considered"
        )
