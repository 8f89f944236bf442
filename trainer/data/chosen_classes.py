"""``data.classes``: some classes of a data set alone, in an order of their own."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from trainer.data.images import ImageSet, Labels, Source, first_ten
from trainer.errors import ConfigError, Mistakes, nearest, shown
from trainer.words import NOTE

_FIELD = "data.classes"


def choose(source: Source, classes: Sequence[str]) -> Source:
    """These classes, labelled by their place in the list; images of all others have the label -1 and are not used.

    The images stay where they are: a copy of those that are used may not fit the memory. Raises ConfigError for a class
    that the data set does not have, and for one that is named twice.
    """
    labels = _labels(source.class_names, classes)
    place_C = np.full(len(source.class_names), -1, dtype=np.int64)
    place_C[labels] = np.arange(len(labels))
    said = f"{NOTE}data.classes: {len(labels)} of the data set's {len(source.class_names)} classes"
    return replace(
        source,
        train=_relabelled(source.train, place_C),
        test=None if source.test is None else _relabelled(source.test, place_C),
        validation=None if source.validation is None else _relabelled(source.validation, place_C),
        class_names=tuple(source.class_names[label] for label in labels),
        said=(*source.said, said),
    )


def _relabelled(images: ImageSet, place_C: Labels) -> ImageSet:
    return replace(images, labels_N=place_C[images.labels_N])


def _labels(names: Sequence[str], classes: Sequence[str]) -> list[int]:
    """The data set's label of each class, given by name, or by number where no class has a number for a name."""
    by_name = {name: label for label, name in enumerate(names)}
    allowed = first_ten(names)
    if not any(map(str.isdecimal, names)):
        by_name |= {str(label): label for label in range(len(names))}
        allowed += f"; or 0 to {len(names) - 1}"
    found: dict[int, str] = {}
    wrong = Mistakes()
    for given in classes:
        with wrong.noted():
            if given not in by_name:
                problem = f"the data set has no class {shown(given)}"
                raise ConfigError(problem, field=_FIELD, allowed=allowed, nearest=nearest(given, names))
            label = by_name[given]
            if label in found:
                names_of = " and ".join(dict.fromkeys((shown(found[label]), shown(given))))
                raise ConfigError(f"names a class twice: {names_of}", field=_FIELD)
            found[label] = given
    wrong.report()
    return list(found)
