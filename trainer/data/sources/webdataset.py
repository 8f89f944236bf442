"""WebDataset's tar files: samples of an image and a label that share a name, ``000123.jpg`` with ``000123.cls``.

``data.path`` is a folder of tar files by split: ``train-000000.tar``, ``imagenet-val-00.tar``, ``test/0000.tar``; or
one tar file of training images. A label is a ``.cls`` file, a number or a name, or the field ``data.label_column`` of a
``.json`` file.
"""

import hashlib
import json
import re
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from numpy.typing import NDArray

from trainer.data import location
from trainer.data.config import DataConfig
from trainer.data.decode import Item, Listing, decoded_source
from trainer.data.file_types import readable
from trainer.data.files import digest
from trainer.data.images import Labels, Source, first_ten, numbered
from trainer.data.label_column import label_values
from trainer.data.layout import SPLITS, split_of
from trainer.errors import DataError
from trainer.words import NOTE, format_count

_Samples = tuple[list[Any], int]
"""labels of the images of a file, in their order, and the number of its other members"""


def read(config: DataConfig) -> Source:
    """Raises DataError for shards that are missing in a row of numbers, and for images without a label."""
    folder = location.found(config)
    shards = {"train": [folder]} if folder.is_file() else _shards(folder)
    kinds = readable()
    labels: dict[str, NDArray[Any]] = {}
    others = 0
    for split in (split for split in SPLITS if split in shards):
        samples = [_samples(shard, kinds, config.label_column) for shard in shards[split]]
        others += sum(count for _, count in samples)
        values = [label for found, _ in samples for label in found]
        if not values:
            raise DataError(f"{shards[split][0]}: no images")
        column = pa.chunked_array([pa.array(_alike(values))])
        labels[split] = label_values(column, None, f"{folder} ({split})")
    values_C, numbers = numbered(labels, lambda split: folder)
    listings = {split: _listing(folder, split, shards[split], labels_N, kinds) for split, labels_N in numbers.items()}
    line = f"{NOTE}{folder}: {format_count(others, 'member')} of tar files passed over, neither images nor labels"
    said = (line,) if others else ()
    return decoded_source(listings, [str(value) for value in values_C], config, config.resize, said)


def _shards(folder: Path) -> dict[str, list[Path]]:
    """The tar files of each split, by the words of their names, or by their folder's."""
    found: dict[str, list[Path]] = {}
    for file in sorted([*folder.glob("*.tar"), *folder.glob("*/*.tar")]):
        words = [*re.split(r"[^A-Za-z]+", file.stem), file.parent.name if file.parent != folder else ""]
        split = next((split for word in words if (split := split_of(word))), None)
        if split is None:
            raise DataError(f"{file}: neither its name nor its folder says train, test or validation")
        found.setdefault(split, []).append(file)
    if "train" not in found:
        raise DataError(f"data.path: {folder} has no train*.tar{location.hint(folder)}")
    for files in found.values():
        _check_numbers(files)
    return found


def _check_numbers(files: list[Path]) -> None:
    numbers = [int(match[1]) for file in files if (match := re.search(r"(\d+)$", file.stem))]
    missing = sorted(set(range(min(numbers, default=0), max(numbers, default=-1) + 1)) - set(numbers))
    if missing:
        raise DataError(
            f"{files[0].parent}: shards are missing between {files[0].name} and {files[-1].name}: {first_ten(missing)}"
        )


def _samples(shard: Path, kinds: frozenset[str], label_field: str) -> _Samples:
    images: list[str] = []
    labels: dict[str, Any] = {}
    others = 0
    for key, suffix, content in _members(shard, lambda suffix: suffix in (".cls", ".json")):
        if suffix in kinds:
            images.append(key)
        elif suffix == ".cls":
            labels[key] = content.decode(errors="replace").strip()
        elif suffix == ".json":
            labels.setdefault(key, _field(content, label_field))
        else:
            others += 1
    unlabelled = [key for key in images if labels.get(key) in (None, "")]
    if unlabelled:
        raise DataError(f"{shard}: {len(unlabelled)} of {len(images)} images have no label: {first_ten(unlabelled)}")
    return [labels[key] for key in images], others


def _field(content: bytes, name: str) -> Any:
    try:
        return json.loads(content)[name]
    except (ValueError, KeyError, TypeError):
        return None


def _alike(labels: list[Any]) -> list[Any]:
    """Whole numbers where all are, otherwise text."""
    text = [str(label) for label in labels]
    return [int(label) for label in text] if all(re.fullmatch(r"-?\d+", label) for label in text) else text


def _members(shard: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, str, bytes]]:
    """Key, suffix and, where the suffix is wanted, the content of each file."""
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                if member.isfile():
                    place, slash, name = member.name.rpartition("/")
                    key, _, suffix = name.partition(".")
                    suffix = f".{suffix.lower()}"
                    opened = tar.extractfile(member) if wanted(suffix) else None
                    yield f"{place}{slash}{key}", suffix, opened.read() if opened else b""
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(f"{shard}: not a readable tar file ({error})") from error


def _listing(folder: Path, split: str, shards: list[Path], labels_N: Labels, kinds: frozenset[str]) -> Listing:
    content = hashlib.sha256(split.encode() + labels_N.tobytes())
    for shard in shards:
        content.update((shard.name + digest(shard)).encode())
    return Listing(f"{folder} ({split})", labels_N, lambda: _items(shards, kinds), content.hexdigest())


def _items(shards: list[Path], kinds: frozenset[str]) -> Iterator[Item]:
    for shard in shards:
        for key, suffix, content in _members(shard, kinds.__contains__):
            if suffix in kinds:
                yield f"{shard} {key}{suffix}", content
