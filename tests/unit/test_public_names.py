"""What ``import trainer`` offers, and the letters in which names say their shapes."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

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


def test_names_are_sorted_and_complete() -> None:
    assert trainer.__all__ == sorted(trainer.__all__)
    assert dir(trainer) == trainer.__all__
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        trainer.trian  # noqa: B018


@pytest.mark.parametrize("name", trainer.__all__)
def test_every_name_is_there_and_documented(name: str) -> None:
    value = getattr(trainer, name)
    assert value.__module__.startswith("trainer.")
    assert value.__doc__
    assert not value.__doc__.startswith(f"{name}("), "written by dataclass"


def test_importing_the_package_imports_no_torch() -> None:
    code = "import sys, trainer; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"
