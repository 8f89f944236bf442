"""What ``python -m trainer.predict`` does with a model that it has loaded."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from trainer import tables
from trainer.data.file_types import readable
from trainer.data.images import first_ten
from trainer.errors import DataError, UserError, os_reason
from trainer.files import atomic_write
from trainer.model.evaluation import evaluate
from trainer.model.model import Model, Prediction, image_files, load_model
from trainer.training.options import DeviceOptions
from trainer.words import WARNING

_SCHEMA = pa.schema(
    [
        ("image", pa.string()),
        ("rank", pa.int64()),
        ("class_id", pa.int64()),
        ("class_name", pa.string()),
        ("probability", pa.float64()),
        ("score", pa.float64()),
    ]
)


def run(arguments: argparse.Namespace) -> int:
    """Classify, evaluate and export, as the arguments say. Returns the exit code. Raises UserError."""
    options = DeviceOptions(device=arguments.device, precision=arguments.precision)
    model = load_model(arguments.model, options, arguments.seed)
    if arguments.places:
        images, unreadable = image_files(arguments.places, readable()), list[str]()
        predicted = zip(images, model.predict(images, arguments.top, unreadable.append), strict=True)
        found = [(image, best) for image, best in predicted if best]
        if not found:
            raise DataError(f"no image can be read: {first_ten(unreadable, '; ')}")
        _show(found, arguments.format, arguments.parquet)
        for line in unreadable:
            print(f"{WARNING}left out: {line}", file=sys.stderr)
    out = arguments.out or (arguments.model if arguments.model.is_dir() else arguments.model.parent)
    if arguments.evaluate:
        _evaluate(model, out, arguments.format)
    if arguments.export:
        _export(model, arguments.export, out)
    return 0


def _evaluate(model: Model, out: Path, form: str) -> None:
    from trainer.model.figure import draw  # noqa: PLC0415  (slow to import)

    found = evaluate(model)
    for line in found.said:
        print(line, file=sys.stderr)
    if form == "table":
        tables.print_table(*found.table())
        print(found.summary())
    else:
        sys.stdout.buffer.write(tables.as_bytes(pa.Table.from_pylist(found.records()), form))
        sys.stdout.buffer.flush()
    picture = out / "evaluation.png"
    _write(picture, draw(found))
    print(f"picture: {picture}", file=sys.stdout if form == "table" else sys.stderr)


def _export(model: Model, form: str, out: Path) -> None:
    from trainer.model.export import TOLERANCE, graph  # noqa: PLC0415  (slow to import)

    path = out / {"torch": "export.pt2", "onnx": "export.onnx"}[form]
    _write(path, graph(model, form))
    print(f"graph: {path}, checked: its scores are the model's within {TOLERANCE}")


_Found = Sequence[tuple[Path, Sequence[Prediction]]]
"""images, each with its classes"""


def _show(found: _Found, form: str, parquet: Path | None) -> None:
    if parquet is not None:
        _write(parquet, tables.as_bytes(_table(found), "parquet"))
        print(f"predictions: {parquet}")
    elif form == "table":
        ranks = range(1, len(found[0][1]) + 1)
        tables.print_table(("image", *map(str, ranks)), [(str(image), *map(_cell, best)) for image, best in found])
    else:
        sys.stdout.buffer.write(tables.as_bytes(_table(found), form))
        sys.stdout.buffer.flush()


def _table(found: _Found) -> pa.Table:
    rows = [
        {"image": str(image), "rank": rank, **prediction._asdict()}
        for image, best in found
        for rank, prediction in enumerate(best, start=1)
    ]
    return pa.Table.from_pylist(rows, schema=_SCHEMA)


def _cell(prediction: Prediction) -> str:
    """The class with its probability; with its score, in brackets, where the method gives none."""
    if prediction.probability is None:
        return f"{prediction.class_name} [{prediction.score:.3f}]"
    return f"{prediction.class_name} {100 * prediction.probability:.1f} %"


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, content)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {os_reason(error)}") from None
