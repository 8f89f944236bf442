"""The starting set of files for images of one's own: a run file, a search of it, and a comparison of methods.

What is picked is a start that trains in minutes, not the best: the search is for that. Every field that is not written
has its default.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from trainer.data.guess import picked_resize
from trainer.data.location import as_stated


@dataclass(frozen=True)
class Images:
    """What is known of the images, and what is picked for them."""

    name: str
    """of the sweep"""
    source: str
    path: Path
    short_side: int
    """of the images as they are, in pixels"""
    uniform: bool
    """whether all are squares of that size"""
    size: int
    """pixels of a side as the network gets them"""
    grey: bool
    counts_C: tuple[int, ...]
    """training images of each class, before any are taken out"""
    tasks: int
    gpu: bool

    @property
    def total(self) -> int:
        """Training images."""
        return sum(self.counts_C)

    @property
    def net(self) -> str:
        """The network: its depth by the size of the images, and a small one without a GPU."""
        return "resnet18" if self.size >= 128 else "resnet32" if self.gpu else "small"

    @property
    def resize(self) -> int | None:
        """The short side that images are stored at; None: as they are."""
        return picked_resize(self.size, self.short_side, uniform=self.uniform)

    @property
    def natural_tail(self) -> bool:
        """Whether the largest class has several times the images of the smallest."""
        return max(self.counts_C) >= 3 * min(self.counts_C)


def run_file(images: Images, file: Path) -> str:
    """The base run file, to be written to ``file``."""
    epochs = 60 if images.gpu else 10
    batch = 32 if images.total < 2000 else 128
    kept = max(1, min(20, sorted(images.counts_C)[len(images.counts_C) // 2] // 5))
    largest, smallest = max(images.counts_C), min(images.counts_C)
    tail = (
        "order: balanced # the tail that they have; nothing is cut"
        if images.natural_tail
        else "order: balanced # as they are; to cut a long tail: {ratio: 10, order: shuffled}"
    )
    resize = "null" if images.resize is None else str(images.resize)
    return _aligned(f"""# A start for {images.name}: {images.total} training images of {len(images.counts_C)} classes, \
{smallest} to {largest} each.
# Fields that are not here have their defaults; docs/images.md and docs/runs.md explain all of them.
data:
  source: {images.source}
  path: {_text(as_stated(str(images.path), file))}
  resize: {resize} # short side in pixels that images are stored at; null: as they are
  crop: {images.size} # side of what the network gets; larger is slower, by its square
  augment: random_crop
  pad: {max(1, images.size // 8)}
  flip: {"false" if images.grey else "true"} # whether a mirrored image is still of its class
  normalise: {"half" if images.grey else "imagenet"}
  on_bad_image: skip # name a file that cannot be read and go on; error: stop
  imbalance:
    {tail}
protocol:
  kind: lfs # equal tasks from scratch; lfh: half of the classes first
  tasks: {images.tasks}
net:
  name: {images.net} # small, resnet32 (up to 64 pixels), resnet18 (larger)
method:
  name: gradient_reweighting # the paper's; docs/methods.md has the others
memory:
  per_class: {kept} # images kept of each class that was learnt
optim:
  epochs: {epochs} # of each task
  lr: 0.05
  schedule: cosine
  batch_size: {batch}
""")


def search_file(images: Images) -> str:
    """The search space: the paper's three hyperparameters and the learning rate."""
    return _aligned(f"""# Search the method's hyperparameters for {images.name}.
base: {_text(f"../runs/{images.name}_start.yaml")}
vary:
  method.alpha:       {{type: float, low: 0.05, high: 10, log: true}} # how strongly new classes are attenuated
  method.lambda:      {{type: float, low: 0.05, high: 5, log: true}} # weight of the distillation
  method.temperature: {{type: float, low: 1, high: 8}} # softens teacher and student
first: [{{method.alpha: 1.0, method.lambda: 0.7, method.temperature: 2.0}}] # the paper's
{_rest(images, trials=32 if images.gpu else 8)}""")


def methods_file(images: Images) -> str:
    """A comparison of methods, each first with its own defaults."""
    return _aligned(f"""# Compare methods on {images.name}, each first with its own defaults.
base: {_text(f"../runs/{images.name}_start.yaml")}
vary:
  method.name:   [finetune, icarl, bic, wa, gradient_reweighting]
  method.lambda: {{type: float, low: 0.05, high: 10, log: true, when: {{method.name: [bic, wa, gradient_reweighting]}}}}
first:
  - {{method.name: finetune}}
  - {{method.name: icarl}}
  - {{method.name: bic, method.lambda: 1.0}}
  - {{method.name: wa, method.lambda: 1.0}}
  - {{method.name: gradient_reweighting, method.lambda: 0.7}}
{_rest(images, trials=30 if images.gpu else 10)}""")


def _rest(images: Images, trials: int) -> str:
    resources = "{gpu: 1}" if images.gpu else "{cpu: 1}"
    return f"""seeds: [0, 1] # every configuration is trained with each
search: {{sampler: TPESampler, seed: 0}}
trials: {trials} # configurations in all; more: raise it and launch again
resources: {resources} # of one trial
"""


def _aligned(text: str) -> str:
    """With the comments behind fields one below the other, as far as the fields are short."""
    lines = (re.fullmatch(r"(\s*[\w.]+: .*?) +(# .*)", line) or line for line in text.splitlines())
    return "".join(f"{line if isinstance(line, str) else f'{line[1]:<28} {line[2]}'}\n" for line in lines)


def _text(value: str) -> str:
    """A string of YAML, in quotes where it needs them."""
    plain = value.replace("/", "").replace("_", "").replace("-", "").replace(".", "")
    return value if plain.isascii() and plain.isalnum() else json.dumps(value)
