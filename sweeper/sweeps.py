"""List, rename, delete and annotate sweeps: ``python -m sweeper.sweeps list|rename|delete|note [--results DIR]``."""

import argparse
import sys
from collections.abc import Sequence
from functools import partial

from sweeper.reporting.arguments import add_results
from sweeper.store import manage
from sweeper.store.damage import Damage
from sweeper.store.folder import Folder
from sweeper.store.status_file import Status, read_state
from sweeper.store.sweeps import find_sweep, sweeps
from trainer import tables
from trainer.command import Parser, program
from trainer.errors import UserError, exit_code
from trainer.words import format_count

_say = partial(print, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    results = Folder.at(arguments.results)
    match arguments.action:
        case "rename":
            manage.rename(results, arguments.sweep, arguments.new, _say)
            _say(f"renamed {arguments.sweep} to {arguments.new}; to resume it, launch its file with --name")
            return 0
        case "delete":
            return _delete(results, arguments.sweep, sure=arguments.yes)
        case "note":
            return _note(find_sweep(results, arguments.sweep), arguments.text)
        case _:
            return _list(results)


def _list(results: Folder) -> int:
    found = [_row(name, results.child(name)) for name in sweeps(results)]
    if found:
        tables.print_table(("sweep", "state", "done", "last change", "note"), found)
    else:
        _say(f"no sweeps in {results}")
    return 0


def _row(name: str, folder: Folder) -> list[str]:
    status, state = read_state(folder, Damage())
    note = manage.read_note(folder, Damage()) or ""
    if status is None:
        return [name, state, "", "", note]
    return [name, state, f"{status.done}/{status.total}", status.ago(), note]


def _delete(results: Folder, sweep: str, *, sure: bool) -> int:
    owned = manage.with_promotion(results, sweep)
    stored = [_stored(results.child(name)) for name in owned]
    what = " and ".join(f"{name} ({count})" for name, count in zip(owned, stored, strict=True))
    if not sure:
        if not sys.stdin.isatty():
            raise UserError(f"{results}: deleting {what} cannot be undone; pass --yes")
        print(f"Delete {what} from {results}? This cannot be undone. [y/N] ", end="", flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            _say("nothing is deleted")
            return 1
    manage.delete(results, sweep, _say)
    _say(f"deleted {what}; run files that were promoted from it stay")
    return 0


def _stored(folder: Folder) -> str:
    status = Status.read(folder, Damage(lambda line: None))
    return format_count(0 if status is None else status.done, "configuration")


def _note(sweep: Folder, words: Sequence[str]) -> int:
    if words:
        manage.write_note(sweep, " ".join(words))
    else:
        _say(manage.read_note(sweep, Damage()) or "no note")
    return 0


def parser() -> argparse.ArgumentParser:
    """The arguments of this command."""
    made = Parser(prog=program("sweeper.sweeps"), description="List, rename, delete and annotate sweeps.")
    actions = made.add_subparsers(dest="action", metavar="ACTION", required=True)
    add_results(actions.add_parser("list", help="list the sweeps with their notes"))
    rename = actions.add_parser("rename", help="give a sweep that is not running another name")
    rename.add_argument("sweep", help="name of the sweep")
    rename.add_argument("new", help="its new name")
    delete = actions.add_parser("delete", help="delete a sweep that is not running, and what its promotions trained")
    delete.add_argument("sweep", help="name of the sweep")
    delete.add_argument("--yes", action="store_true", help="do not ask")
    note = actions.add_parser("note", help="show or write the note on a sweep")
    note.add_argument("sweep", help="name of the sweep")
    note.add_argument("text", nargs="*", help="the new note ('' deletes it; default: show it)")
    for action in (rename, delete, note):
        add_results(action)
    return made


if __name__ == "__main__":
    sys.exit(exit_code(main))
