"""Variants that are found by the name of their file: methods, losses, distillations, sources of images.

Nothing registers a variant and nothing lists them: a file put into the package is a new name. A file may also hold
helpers alone. Files of one's own need no checkout: they lie in a folder of ``$CIL_PLUGINS`` with the package's name
(``methods``, ``losses``, ``distill``, ``sources``), or an installed distribution names them as entry points of the
group ``imbalanced_cil.KIND``.
"""

import functools
import importlib.metadata
import importlib.util
import inspect
import os
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from trainer.errors import ConfigError, shown

T = TypeVar("T")


def plugins(kind: str) -> list[str]:
    """The folder for files of one's own of a kind, if it is there, to be added to its package's ``__path__``.

    It is in ``$CIL_PLUGINS``, or in ``plugins`` in the working directory, which trials on a cluster have too.
    """
    folder = Path(os.environ.get("CIL_PLUGINS") or "plugins").expanduser().absolute() / kind
    return [str(folder)] if folder.is_dir() else []


def files(package: str) -> list[str]:
    """The names of the package's files and of its entry points, sorted, without ``base``. Imports the package alone.

    Raises ConfigError for a file of one's own with a name that is taken.
    """
    folders = importlib.import_module(package).__path__
    listed = _listed(tuple((folder, _changed_at(folder)) for folder in folders))
    return sorted({*listed, *_installed(package)} - {"base"})


@functools.lru_cache(maxsize=64)
def _listed(folders: tuple[tuple[str, int], ...]) -> dict[str, str]:
    """By name, the folders of the modules in these; listed anew when one has changed: every configuration asks."""
    seen: dict[str, str] = {}
    for folder, _ in folders:
        for module in pkgutil.iter_modules([folder]):
            if module.name in seen:
                raise ConfigError(f"{folder}/{module.name}.py: {seen[module.name]} has that name too: give it another")
            seen[module.name] = folder
    return seen


def _changed_at(folder: str) -> int:
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:  # in an archive, or gone
        return -1


def module(package: str, name: str) -> ModuleType:
    """The module of one of ``files``. Raises ConfigError for one that cannot be imported."""
    place = f"{package}.{name}"
    if importlib.util.find_spec(place) is None:
        place = _installed(package).get(name, place)
        if place.rpartition(".")[2] != name:  # results name a variant by its module
            raise ConfigError(f"the entry point {name} leads to {place}: both must have one name")
    try:
        return importlib.import_module(place)
    except ConfigError:
        raise
    except Exception as error:
        spec = importlib.util.find_spec(place)
        raise ConfigError(f"{spec.origin if spec else place}: {type(error).__name__}: {error}") from error


@functools.cache
def _installed(package: str) -> dict[str, str]:
    """By name, the modules that installed distributions offer."""
    group = f"imbalanced_cil.{package.rpartition('.')[2]}"
    return {point.name: point.value for point in importlib.metadata.entry_points(group=group)}


@dataclass(frozen=True)
class Registry(Generic[T]):
    """The variants of a package: the concrete subclasses of ``base`` that its files define, one a file."""

    package: str
    base: type[T]
    kind: str
    """what a variant is called in messages"""
    field: str
    """the field of a run file that names one"""

    def names(self) -> list[str]:
        """The names of all variants, sorted. Imports every file of the package."""
        return [name for name in files(self.package) if self._defined(name)]

    def find(self, name: object) -> type[T]:
        """The variant of that name. Raises ConfigError, with the nearest name, if there is none."""
        if isinstance(name, str) and name in files(self.package):
            found = self._defined(name)
            if len(found) != 1:
                file = f"{self.package.replace('.', '/')}/{name}.py"
                raise ConfigError(f"{file} must define one subclass of {self.base.__name__}, not {len(found)}")
            return found[0]
        raise ConfigError.unknown(f"no such {self.kind}: {shown(name)}", name, self.names(), field=self.field)

    def _defined(self, name: str) -> list[type[T]]:
        found = module(self.package, name)
        own = [value for value in vars(found).values() if getattr(value, "__module__", None) == found.__name__]
        return [c for c in own if isinstance(c, type) and issubclass(c, self.base) and not inspect.isabstract(c)]


@dataclass(frozen=True)
class OneOf:
    """Makes an ``Annotated[str, OneOf(names)]`` field a choice, whose names are looked up when a value is checked."""

    names: Callable[[], list[str]]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._check)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"enum": self.names(), "type": "string"}

    def _check(self, value: Any) -> str:
        known = self.names()
        if not isinstance(value, str) or value not in known:
            expected = ", ".join(f"'{name}'" for name in known)
            raise PydanticCustomError("literal_error", "Input should be {expected}", {"expected": expected})
        return value


def choices(field: FieldInfo) -> list[str] | None:
    """The names that a field annotated with ``OneOf`` takes; None for any other field."""
    return next((one.names() for one in field.metadata if isinstance(one, OneOf)), None)
