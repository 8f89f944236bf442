"""Labels as a data set writes them, numbered 0..C-1."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.errors import DataError

Labels = NDArray[np.int64]


def numbered(train_N: NDArray[Any], test_N: NDArray[Any], where: str) -> tuple[NDArray[Any], Labels, Labels]:
    """The labels that occur, sorted, and both splits as positions among them: unchanged where they are 0..C-1.

    Raises DataError, beginning with ``where``, for a test label that no training image has.
    """
    values_C = np.unique(train_N)
    strangers = np.setdiff1d(test_N, values_C)
    if len(strangers):
        raise DataError(f"{where}: label {strangers[0]} of the test images has no training images")
    return (
        values_C,
        np.searchsorted(values_C, train_N).astype(np.int64),
        np.searchsorted(values_C, test_N).astype(np.int64),
    )
