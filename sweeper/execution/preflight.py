"""Whether the images are there, and enough for every end of what a search varies: found before anything starts."""

from __future__ import annotations

from sweeper.search.space import Space
from trainer.data.tasks import TaskStream, build
from trainer.errors import ConfigError, DataError

_ON_IMAGES = ("data.", "protocol.")


def benchmark_of(space: Space) -> TaskStream:
    """What the base is trained on. Raises ConfigError for a dimension with an end that the images do not allow.

    Raises DataError for images that are missing or damaged.
    """
    base = space.configs({})[0]
    task_stream = build(base.data, base.protocol)
    for name, dimension in space.spec.vary.items():
        if not name.startswith(_ON_IMAGES):
            continue
        for value in dimension.corners():
            config = space.configs({name: value})[0]
            try:
                build(config.data, config.protocol)
            except (ConfigError, DataError) as error:
                raise ConfigError(f"{value!r}: {error}", file=space.file, field=f"vary.{name}") from None
    return task_stream
