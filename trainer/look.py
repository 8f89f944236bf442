"""Look at images before training: ``python -m trainer.look RUN_OR_FOLDER``.

What was found in each split and class, the tail, the tasks, and everything that is wrong, at once.
"""

import argparse
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch

from trainer.command import program
from trainer.config.files import load_run, override, parse_run, parse_sets
from trainer.config.run_config import RunConfig
from trainer.data import guess
from trainer.data.config import DataConfig
from trainer.data.images import Source
from trainer.errors import DataError, exit_code
from trainer.survey.found import read_anyway, survey
from trainer.survey.text import lines


class Looked(NamedTuple):
    """What is looked at."""

    config: RunConfig
    source: Source
    chosen: str = ""
    """the settings that nobody gave, in words"""

    @classmethod
    def of(cls, config: RunConfig) -> Self:
        """The images of a configuration."""
        return cls(config, read_anyway(config.data))


def main(argv: Sequence[str] | None = None, of_file: Callable[[str, Sequence[str]], RunConfig] | None = None) -> int:
    """Print the survey. ``of_file``: what reads a YAML file; default: run files.

    Returns 2 if a run would be refused.
    """
    arguments = parser().parse_args(argv)
    given, sets = arguments.images, arguments.set
    is_yaml = Path(given).suffix.lower() in (".yaml", ".yml") or not Path(given).exists()
    looked = Looked.of((of_file or _run_file)(given, sets)) if is_yaml else _images(given, sets)
    data = looked.config.data
    where = f" in {data.path}" if data.path else ""
    print(f"{given}: source {data.source}{where if data.path != given else ''}")
    if looked.chosen:
        print(f"chosen: {looked.chosen}")
    print(flush=True)
    found = survey(looked.source, data, looked.config.protocol)
    for line in lines(found, shutil.get_terminal_size().columns):
        print(line)
    if arguments.out:
        from trainer.survey.pictures import draw  # noqa: PLC0415  (matplotlib is slow to import)

        print(f"\nwritten: {', '.join(map(str, draw(found, Path(arguments.out))))}")
    for line in found.errors:
        print(f"error: {line}", file=sys.stderr)
    return 2 if found.errors else 0


def _run_file(file: str, sets: Sequence[str]) -> RunConfig:
    return load_run(file, sets).config


def _images(path: str, sets: Sequence[str]) -> Looked:
    """Images without a run file: with the settings that a first run of them would have."""
    overrides = parse_sets(sets)
    given = dict(overrides)
    source = given.get("data.source") or guess.source_of(Path(path))
    seen = guess.sizes(source, Path(path), given.get("data.image_column") or DataConfig().image_column)
    side, uniform = guess.short_side(seen), guess.uniform(seen)
    if side is None:
        raise DataError(f"{path}: no images were found that can be opened")
    size = guess.picked_size(side, uniform=uniform, gpu=torch.cuda.is_available())
    resize = guess.picked_resize(size, side, uniform=uniform)
    data: dict[str, Any] = {"source": source, "path": path, "resize": resize, "crop": size, "on_bad_image": "skip"}
    data |= {"imbalance": {"order": "balanced"}, "evaluation": {"split": "validation"}, "normalise": "half"}
    content: dict[str, Any] = {"data": data, "method": {"name": "finetune"}, "protocol": {"tasks": 1}}
    override(content, overrides)
    images = read_anyway(parse_run(content).data)
    if "protocol.tasks" not in given:
        content["protocol"]["tasks"] = guess.picked_tasks(len(images.class_names))
    config = parse_run(content)
    resized = "" if config.data.resize is None else f"data.resize {config.data.resize}, "
    chosen = f"{resized}data.crop {config.data.crop}, protocol.tasks {config.protocol.tasks}; no tail is cut"
    return Looked(config, images, f"{chosen} (a run file or --set says otherwise)")


def parser() -> argparse.ArgumentParser:
    """The arguments of this command."""
    made = argparse.ArgumentParser(prog=program("trainer.look"), description="Look at images before training.")
    add = made.add_argument
    add("images", metavar="RUN_OR_FOLDER", help="a run file, or a folder, table, Parquet or NumPy file of images")
    add("--set", action="append", default=[], metavar="FIELD=VALUE", help="override a field, e.g. data.crop=32")
    add("--out", metavar="DIR", help="write pictures there: tail.png and images.png")
    return made


if __name__ == "__main__":
    sys.exit(exit_code(main))
