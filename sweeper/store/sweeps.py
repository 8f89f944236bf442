"""Which folders of a results folder are sweeps, and what they are called."""

import shlex
from pathlib import Path

from sweeper.store.folder import Folder
from trainer.command import words
from trainer.errors import StoreError, did_you_mean
from trainer.results.columns import VERSION


def sweeps(results: str | Path | Folder) -> list[str]:
    """Names of the sweeps in a results folder, sorted."""
    root = Folder.at(results)
    return [name for name in root.folders() if is_sweep(root.child(name))]


def promotion_of(sweep: str) -> str:
    """The name under which a sweep's promotions store what they train."""
    return f"{sweep}-promotion"


def is_promotion(name: str) -> bool:
    """Whether it is such a name."""
    return name.endswith(promotion_of(""))


def find_sweep(results: str | Path | Folder, name: str) -> Folder:
    """The folder of a sweep. Raises StoreError, with the nearest name, if there is none of this name."""
    root = Folder.at(results)
    if name not in sweeps(root):
        raise no_sweep(root, name)
    return root.child(name)


def no_sweep(root: Folder, name: str) -> StoreError:
    """The error for a name that no sweep in this results folder has: a file's, that of one not launched, or wrong."""
    known, file = sweeps(root), Path(name if name.endswith((".yaml", ".yml")) else f"search_spaces/{name}.yaml")
    if file.stem in known:
        return StoreError(f"{root}: no sweep {name!r}; did you mean {file.stem!r}?")
    if file.is_file():
        return StoreError(
            f"{root}: {file.stem!r} is not launched yet: {shlex.join([*words('sweeper.launch'), str(file)])}"
        )
    return StoreError(f"{root}: no sweep {name!r}{did_you_mean(name, known)}")


def is_sweep(folder: Folder) -> bool:
    """Whether the folder is a sweep's, or that of a single run."""
    return "space.yaml" in folder.names() or not {"runs", "trials"}.isdisjoint(folder.folders())


def outdated(folder: Folder) -> str | None:
    """Why the folder of an older schema is refused; None for any other folder."""
    if not any(name.startswith("part-") for name in folder.child("trials").names()):
        return None
    return f"written with schema version 1, and this version of the code reads {VERSION}; use another results folder"
