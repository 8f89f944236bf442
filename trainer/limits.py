"""Values that arguments and fields may have, where those who parse arguments can look without importing torch."""

LARGEST_SEED = 2**31 - 1
MOST_THREADS = 1024
PRECISIONS = ("auto", "bfloat16", "float32", "float64")
