"""The installed project: what a checkout has at its top, ``trainer``, ``sweeper`` and the rest, in one folder.

Those names are common ones. A wheel that had them at its top would overwrite, or be overwritten by, whatever else is
called so. So they are installed within this package, whose name is the distribution's own, and are found by way of
``sys.path``. ``imbalanced_cil_sweeper.pth`` puts the folder at its end for every program: ``import trainer`` works
as in a checkout, unless another package is called so. ``cil`` puts it in front, for itself and the processes that it
starts.
"""

import os
import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent


def enter() -> None:
    """Let this process, and those that it starts, import this project's packages before others of the same names."""
    home = str(_HERE if (_HERE / "trainer").is_dir() else _HERE.parent)  # a wheel, or a checkout
    sys.path[:] = [home, *(folder for folder in sys.path if folder != home)]
    inherited = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join([home, *(folder for folder in inherited if folder not in ("", home))])


def main() -> int:
    """The command ``cil``. Returns its exit code."""
    enter()
    from sweeper.cil import main as run  # noqa: PLC0415  (found from here on)

    return run()
