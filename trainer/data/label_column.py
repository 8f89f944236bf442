"""A column of labels as a data set writes it: whole numbers or names, one an image, none hidden."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from trainer.errors import DataError


def value_type(kind: pa.DataType) -> pa.DataType:
    """The type of a column's values: pandas and Polars write categories as dictionaries, and text as one of three."""
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    if pa.types.is_boolean(value):
        return pa.int64()
    return pa.large_string() if value in (pa.string(), pa.string_view()) else value


def holds_labels(kind: pa.DataType) -> bool:
    """Whether a column of this type can be read by ``label_values``."""
    value = value_type(kind)
    return pa.types.is_integer(value) or pa.types.is_floating(value) or value == pa.large_string()


def label_values(column: pa.ChunkedArray, rows_n: NDArray[np.int64] | None, where: str) -> NDArray[Any]:
    """The labels of these rows (None: of all) as int64 or text.

    Raises DataError, beginning with ``where``, for a row without a label, a negative one, and a fraction.
    """
    if rows_n is None:
        rows_n = np.arange(len(column))
    column = column.cast(value_type(column.type)).take(pa.array(rows_n))
    if pa.types.is_floating(column.type):
        column = _whole(column, rows_n, where)
    missing = (
        pc.or_kleene(column.is_null(), pc.equal(column, "")) if column.type == pa.large_string() else column.is_null()
    )
    missing_n = np.flatnonzero(missing.to_numpy())
    if len(missing_n):
        raise DataError(f"{where}: row {rows_n[missing_n[0]]} has no label")
    if pa.types.is_integer(column.type):
        negative_n = np.flatnonzero(column.to_numpy() < 0)
        if len(negative_n):
            raise DataError(
                f"{where}: {len(negative_n)} of {len(column)} labels are negative, the first is "
                f"{column[int(negative_n[0])]} in row {rows_n[negative_n[0]]}: Hugging Face writes -1 for images "
                "without a label; leave them out"
            )
        return column.to_numpy().astype(np.int64)
    return column.to_numpy().astype(str)


def _whole(column: pa.ChunkedArray, rows_n: NDArray[np.int64], where: str) -> pa.ChunkedArray:
    """Fractions as integers, as data frames with missing values write them. Raises DataError for others."""
    column = pc.if_else(pc.is_nan(column), None, column)
    broken_n = np.flatnonzero(pc.fill_null(pc.not_equal(column, pc.floor(column)), False).to_numpy())
    if len(broken_n):
        value, row = column[int(broken_n[0])], rows_n[broken_n[0]]
        raise DataError(f"{where}: the label {value} in row {row} is no class: labels are whole numbers or names")
    return column.cast(pa.int64())
