"""Check what keeps sweeps from running: ``python -m sweeper.doctor [SWEEP] [--results DIR] [--address ADDRESS]``.

A line for each check, ``ok`` or ``!!`` with what to do; exit code 1 if something is wrong. With the address of a
cluster every node of it is checked, otherwise this machine alone, and no cluster is started.
"""

import argparse
import sys
from collections.abc import Sequence

from sweeper.reporting.arguments import add_address, command_parser
from sweeper.store.folder import Folder
from sweeper.store.sweeps import find_sweep, sweeps
from trainer.errors import UserError, exit_code
from trainer.signals import ended_by_signals


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    results = Folder.at(arguments.results)
    sweep = None if arguments.sweep is None else find_sweep(results, arguments.sweep)
    with ended_by_signals():  # slow to import
        from sweeper.execution.checkup import check_cluster, check_machine  # noqa: PLC0415
        from sweeper.execution.cluster import find_address  # noqa: PLC0415
        from sweeper.store.checkup import check_results, check_sweep  # noqa: PLC0415

    address, data = find_address(arguments.address), None if sweep is None else _data(sweep)
    found = [*check_results(results)]
    for name in sweeps(results) if arguments.sweep is None else [arguments.sweep]:
        found += check_sweep(results, name)
    found += check_cluster(address, results.local, data) if address else check_machine(data)
    print("\n".join(map(str, found)))
    return 1 if any(finding.remedy for finding in found) else 0


def _data(sweep: Folder) -> str | None:
    """The folder of a sweep's images, if it has one."""
    from sweeper.store.sweep_file import read_space  # noqa: PLC0415

    try:
        return read_space(sweep).base.data.path
    except UserError:  # named among the sweep's files
        return None


def parser() -> argparse.ArgumentParser:
    """The arguments of this command."""
    made = command_parser("doctor", "Check the results folder, its sweeps, and this machine or a cluster.")
    made.add_argument("sweep", nargs="?", help="name of the sweep to check (default: all of them)")
    add_address(made)
    return made


if __name__ == "__main__":
    sys.exit(exit_code(main))
