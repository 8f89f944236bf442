"""Variants that are found by the name of their file: methods, losses, distillations, sources of images.

Nothing registers a variant and nothing lists them: a file put into the package, or into a folder added to its
``__path__``, is a new name. A file may also hold helpers alone.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from trainer.errors import ConfigError, shown

T = TypeVar("T")


def files(package: str) -> list[str]:
    """The names of the package's files, sorted, without ``base``. Nothing is imported but the package."""
    found = pkgutil.iter_modules(importlib.import_module(package).__path__)
    return sorted(module.name for module in found if module.name != "base")


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
        module = importlib.import_module(f"{self.package}.{name}")
        own = [value for value in vars(module).values() if getattr(value, "__module__", None) == module.__name__]
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
