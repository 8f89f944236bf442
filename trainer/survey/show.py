"""Print a survey of what a command is given: a file that says how images are read, or the images themselves."""

import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch

from trainer.config.files import override, parse_run, parse_sets
from trainer.config.run_config import RunConfig
from trainer.data import guess
from trainer.data.config import DataConfig
from trainer.data.images import Source
from trainer.survey.found import read_anyway, survey
from trainer.survey.text import lines

OfFile = Callable[[str, Sequence[str]], RunConfig]
"""from the path of a YAML file, and what ``--set`` says, to the configuration that is looked at"""


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


def show(given: str, sets: Sequence[str], out: str | None, of_file: OfFile | None) -> int:
    """Print the survey, and with ``out`` write its pictures there. Returns 2 if a run would be refused.

    ``of_file``: None where images themselves are given. Raises UserError for images that cannot be used.
    """
    looked = Looked.of(of_file(given, sets)) if of_file is not None else _images(given, sets)
    data = looked.config.data
    print(f"source: {data.source}" + (f", {data.path}" if data.path not in (None, given) else ""))
    if looked.chosen:
        print(f"chosen: {looked.chosen}")
    print()
    found = survey(looked.source, data, looked.config.protocol)
    for line in lines(found, shutil.get_terminal_size().columns):
        print(line)
    sys.stdout.flush()
    for line in found.errors:
        print(f"error: {line}", file=sys.stderr)
    if out:
        from trainer.survey.pictures import draw  # noqa: PLC0415  (matplotlib is slow to import)

        print(f"\nwritten: {', '.join(map(str, draw(found, Path(out))))}")
    return 2 if found.errors else 0


def _images(path: str, sets: Sequence[str]) -> Looked:
    """Images without a run file: with the settings that a first run of them would have."""
    overrides = parse_sets(sets)
    given = dict(overrides)
    column = given.get("data.image_column") or DataConfig().image_column
    source, side, uniform = guess.look(Path(path), given.get("data.source"), column)
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
