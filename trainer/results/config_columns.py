"""The columns of a configuration: every field has a typed one of its own, named by its path with underscores.

``method_alpha``, ``data_imbalance_ratio``.
"""

import functools
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from trainer.config.run_config import RunConfig
from trainer.methods.base import METHODS
from trainer.results.columns import Column, flatten

_OF_THE_RUN = ("seed", "world")
"""columns of a run itself"""


def config_columns() -> tuple[Column, ...]:
    """A column for every field of a run configuration, over all methods."""
    return _columns_over(tuple(METHODS.names()))


@functools.cache  # every run that is stored and every query needs them, and they take milliseconds
def _columns_over(methods: tuple[str, ...]) -> tuple[Column, ...]:
    columns = [*flatten(RunConfig, skip=("method", *_OF_THE_RUN)), Column("method_name", pa.string(), "the method")]
    seen: dict[str, Column] = {}
    for name in methods:
        for column in flatten(METHODS.find(name), "method_"):
            known = seen.setdefault(column.name, column)
            if known.type != column.type:
                raise TypeError(f"{name}: field {column.name} is {column.type}, in another method {known.type}")
    return (*columns, *sorted(seen.values()))


def config_values(config: RunConfig) -> dict[str, Any]:
    """The values of ``config_columns`` that one configuration has."""
    content = {name: value for name, value in config.as_dict().items() if name not in _OF_THE_RUN}
    return dict(_leaves({**content, "stage2": content["stage2"] or {}}))


def _leaves(section: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in section.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}_")
        else:
            yield prefix + name, value
