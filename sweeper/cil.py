"""``cil COMMAND``: every command under one name. ``cil launch FILE`` is ``python -m sweeper.launch FILE``.

A command is a file at the top of ``sweeper/`` that has a ``main``; nothing lists them. Only the one that is called is
imported.
"""

import ast
import importlib
import pkgutil
import sys
from collections.abc import Sequence
from functools import cache, partial
from importlib import util
from pathlib import Path

from trainer.errors import exit_code, nearest
from trainer.signals import ended_by_signals

_ORDER = ("init", "look", "run", "predict", "launch", "status", "query", "report", "promote")
"""what a newcomer needs, in the order in which it is needed; the others follow by name"""

_WHERE = {"run": "trainer.run", "predict": "trainer.predict", "paper": "benchmarks.paper.__main__"}
"""commands that are not of this package"""

_HELP = """Search the hyperparameters of class-incremental learning on long-tailed images.

usage: cil COMMAND ...

{commands}

  cil COMMAND --help          explain a command
  cil completion SHELL        print a completion script for bash, zsh or fish
  cil --version               print the version
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name. Returns its exit code."""
    given = list(sys.argv[1:] if argv is None else argv)
    if not given or given[0] in ("-h", "--help", "help"):
        width = max(map(len, commands()))
        print(_HELP.format(commands="\n".join(f"  {name.ljust(width)}  {about(name)}" for name in commands())), end="")
        return 0
    if given[0] in ("-V", "--version"):
        from importlib import metadata  # noqa: PLC0415  (slow to import)

        print(f"cil {metadata.version('imbalanced-cil-sweeper')}")
        return 0
    if given[0] not in commands():
        near = nearest(given[0], commands())
        hint = f"did you mean {near!r}?" if near else "cil --help lists all commands"
        print(f"error: no such command: {given[0]!r}; {hint}", file=sys.stderr)
        return 2
    with ended_by_signals():  # nothing has begun that must be undone
        command = importlib.import_module(commands()[given[0]])
    return exit_code(partial(command.main, given[1:]))


@cache
def commands() -> dict[str, str]:
    """The modules of all commands, by the commands' names."""
    found = dict(_WHERE)
    above = importlib.import_module(__package__).__path__
    for module in pkgutil.iter_modules(above, f"{__package__}."):
        if not module.ispkg and module.name != f"{__package__}.cil" and "main" in _functions(module.name):
            found[module.name.rpartition(".")[2]] = module.name
    order = [name for name in _ORDER if name in found]
    return {name: found[name] for name in [*order, *sorted(found.keys() - set(order))]}


def about(command: str) -> str:
    """What a command does, as the first line of its file says. Nothing is imported."""
    first = (ast.get_docstring(_source(commands()[command])) or "").partition("\n")[0]
    return first.partition(": ``")[0].rstrip(".").replace("``", "")


def _functions(module: str) -> set[str]:
    return {node.name for node in _source(module).body if isinstance(node, ast.FunctionDef)}


@cache
def _source(module: str) -> ast.Module:
    package, _, name = module.rpartition(".")
    spec = util.find_spec(package)
    folder = Path((spec.submodule_search_locations or [""])[0]) if spec else Path()
    return ast.parse((folder / f"{name}.py").read_text("utf-8"))


if __name__ == "__main__":
    sys.exit(main())
