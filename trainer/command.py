"""What the commands of this project are called: ``cil launch`` where it was called so, else ``python -m``."""

import shlex
import sys
from pathlib import Path

_OTHERS = {"trainer.run": "run", "benchmarks.paper": "paper"}


def words(module: str) -> list[str]:
    """The words that start the command of a module, in the way in which this process was started."""
    if _named_cil():
        return ["cil", _OTHERS.get(module, module.rpartition(".")[2])]
    return ["python", "-m", module]


def program(module: str) -> str:
    """The same as one text, for a command's help."""
    return shlex.join(words(module))


def _named_cil() -> bool:
    return Path(sys.argv[0]).stem == "cil"
