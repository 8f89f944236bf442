"""Values that arguments and fields may have, where those who parse arguments can look without importing torch."""

from typing import Literal, get_args

LARGEST_SEED = 2**31 - 1
LARGEST_WORLD = 2**32 - 1
MOST_THREADS = 1024
Precision = Literal["auto", "bfloat16", "float32", "float64"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
