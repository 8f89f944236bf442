"""What ``import trainer`` and ``import sweeper`` offer, and the letters in which names say their shapes."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import sweeper
import trainer

ROOT = Path(__file__).parents[2]
SUFFIX = re.compile(r"[a-z0-9]_(?=[a-z0-9]*[A-Z])([A-Za-z0-9]{1,5})$")
"""a shape has an axis with a capital letter; names of one small letter alone may end in a unit"""


def legend() -> set[str]:
    assert trainer.__doc__ is not None
    rows = re.findall(r"^((?:[A-Za-z], )?[A-Za-z])  +\S", trainer.__doc__, re.MULTILINE)
    return {letter for row in rows for letter in row.split(", ")}


def shapes() -> Iterator[tuple[str, str]]:
    """Each name of the code with a shape, and its shape."""
    for path in [*(ROOT / "trainer").rglob("*.py"), *(ROOT / "sweeper").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            name = {ast.Name: "id", ast.arg: "arg", ast.Attribute: "attr", ast.keyword: "arg"}.get(type(node))
            found = SUFFIX.search(str(getattr(node, name))) if name else None
            if found:
                yield f"{path.relative_to(ROOT)}: {getattr(node, str(name))}", found[1]


def test_every_letter_of_a_shape_is_in_the_legend() -> None:
    known = legend() | set("0123456789")
    assert len(known) > 25
    found = list(shapes())
    assert len(found) > 500
    assert not [name for name, shape in found if not set(shape) <= known]


PACKAGES = (trainer, sweeper)
NAMES = [
    pytest.param(package, name, id=f"{package.__name__}.{name}") for package in PACKAGES for name in package.__all__
]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_names_are_sorted_and_complete(package: ModuleType) -> None:
    assert package.__all__ == sorted(package.__all__)
    assert dir(package) == package.__all__
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        package.trian  # noqa: B018


@pytest.mark.parametrize(("package", "name"), NAMES)
def test_every_name_is_there_and_documented(package: ModuleType, name: str) -> None:
    value = getattr(package, name)
    assert value.__module__.startswith(f"{package.__name__}.")
    assert value.__doc__
    assert not value.__doc__.startswith(f"{name}("), "written by dataclass"


def test_the_page_lists_every_name_of_the_service() -> None:
    page = (ROOT / "docs" / "programs.md").read_text()
    assert [name for name in sweeper.__all__ if f"| `{name}" not in page] == []


def test_importing_the_packages_imports_nothing_slow() -> None:
    code = "import sys, trainer, sweeper; print({'torch', 'ray', 'optuna', 'duckdb', 'pyarrow'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"
