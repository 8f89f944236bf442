"""Public names of a package that are imported when they are first used, so that the package itself costs nothing."""

import importlib
from collections.abc import Callable, Collection, Mapping
from typing import Any


def on_first_use(package: str, homes: Mapping[str, Collection[str]]) -> Callable[[str], Any]:
    """The ``__getattr__`` of a package, whose public names are those in ``homes``, by the module that has them."""

    def find(name: str) -> Any:
        for module, names in homes.items():
            if name in names:
                return getattr(importlib.import_module(module), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return find
