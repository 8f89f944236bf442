"""The shape of the code: who may import whom, and what no file may do. Read from the source, nothing is run."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from trainer.methods import base

REPO = Path(__file__).parents[2]


class Import(NamedTuple):
    module: str  # a module of this project in full: "trainer.nets.heads" for `from trainer.nets import heads`
    names: tuple[str, ...]
    line: int


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (REPO / folder).rglob("*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(REPO).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_module(name: str) -> bool:
    path = REPO.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def runtime_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only a type checker or `python -m` reads."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) in {"TYPE_CHECKING", "__name__ == '__main__'"}:
            continue
        yield child
        yield from runtime_nodes(child)


def imports(path: Path) -> list[Import]:
    """What a file imports when it is imported or its functions run."""
    found = []
    for node in runtime_nodes(tree(path)):
        if isinstance(node, ast.Import):
            found += [Import(alias.name, (), node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            module, names = node.module or "", tuple(alias.name for alias in node.names)
            modules = [name for name in names if is_module(f"{module}.{name}")]
            found += [Import(f"{module}.{name}", (), node.lineno) for name in modules]
            rest = tuple(name for name in names if name not in modules)
            found += [Import(module, rest, node.lineno)] if rest else []
    return found


def within(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(package + ".") for package in packages)


def imported_outside(paths: list[Path], *allowed: str) -> list[str]:
    """Imports of anything but the standard library and these."""
    return [
        f"{path.relative_to(REPO)}:{found.line}: {found.module}"
        for path in paths
        for found in imports(path)
        if found.module.partition(".")[0] not in sys.stdlib_module_names and not within(found.module, *allowed)
    ]


# -- who imports whom -------------------------------------------------------------------------------


def test_the_trainer_knows_nothing_of_the_sweeper() -> None:
    distant = ("sweeper", "ray", "optuna", "duckdb", "benchmarks")
    found = [(path.name, i) for path in sources("trainer") for i in imports(path) if within(i.module, *distant)]
    assert not found


@pytest.mark.parametrize("package", ["losses", "distill"])
def test_losses_are_functions_of_tensors(package: str) -> None:
    assert not imported_outside(sources(f"trainer/{package}"), "torch", f"trainer.{package}")


def methods() -> list[Path]:
    return [path for path in sources("trainer/methods") if path.stem not in {"base", "__init__"}]


def test_a_method_imports_its_tools_and_no_other_method() -> None:
    own = ("methods.base", "stages", "losses", "distill", "nets", "data.samplers", "data.mix", "errors", "rng")
    tools = [f"trainer.{module}" for module in own]
    assert [path.stem for path in methods()] == base.names()
    assert not imported_outside(methods(), "torch", "pydantic", *tools)


# From the bottom up. A file may import its own row and the rows before it.
ROWS = [
    ("errors", "rng"),
    ("stages.exemplars", "data", "nets"),
    ("stages.stage", "training.state", "results.metrics"),
    ("methods.base",),
    ("methods",),
    ("training.loop",),
    ("training.observer",),
    ("training.session",),
    ("run",),
]


def row(module: str) -> int | None:
    fits = [(len(name), i) for i, names in enumerate(ROWS) for name in names if within(module, f"trainer.{name}")]
    return max(fits)[1] if fits else None


def test_imports_point_down() -> None:
    up = []
    for path in sources("trainer"):
        here = row(module_of(path))
        for found in imports(path):
            there = row(found.module)
            # The package `trainer.methods` itself is only the list of its files.
            if here is not None and there is not None and there > here and found.module != "trainer.methods":
                up.append(f"{module_of(path)} imports {found.module}")
    assert not up


@pytest.mark.parametrize("package", ["trainer", "sweeper"])
def test_imports_form_no_circle(package: str) -> None:
    graph = {
        module_of(path): {i.module for i in imports(path) if within(i.module, package)} - {module_of(path), package}
        for path in sources(package)
    }
    tuple(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, which shows the circle


def test_the_sweeper_uses_what_the_trainer_shows() -> None:
    private = [
        f"{path.relative_to(REPO)}:{found.line}: {found.module} {found.names}"
        for path in sources("sweeper", "benchmarks")
        for found in imports(path)
        if within(found.module, "trainer")
        and any(part.startswith("_") for part in [*found.module.split("."), *found.names])
    ]
    assert not private


# -- what no file does --------------------------------------------------------------------------------


def places(*folders: str) -> Iterator[tuple[str, ast.AST]]:
    """Every node of the sources, with where it stands."""
    for path in sources(*folders):
        for node in ast.walk(tree(path)):
            yield f"{path.relative_to(REPO)}:{getattr(node, 'lineno', 0)}", node


def strings(node: ast.AST) -> set[str]:
    return {n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)}


def test_no_methods_name_is_compared() -> None:
    names = set(base.names())
    compared = [
        where
        for where, node in places("trainer", "sweeper", "benchmarks")
        if isinstance(node, ast.Compare | ast.MatchValue) and strings(node) & names
    ]
    assert not compared


def test_no_star_imports() -> None:
    stars = [
        where
        for where, node in places("trainer", "sweeper", "benchmarks", "tests")
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names)
    ]
    assert not stars


def calls_of_method(name: str, *paths: Path) -> list[str]:
    return [
        f"{path.relative_to(REPO)}:{node.lineno}"
        for path in paths
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == name
    ]


def test_the_device_is_a_choice() -> None:
    assert not calls_of_method("cuda", *sources("trainer", "sweeper"))


def test_a_step_does_not_wait_for_the_device() -> None:
    assert not calls_of_method("item", REPO / "trainer" / "training" / "loop.py", *sources("trainer/methods"))


# Makers of generators that belong to whoever made them.
OWN_GENERATORS = {"RandomState", "Generator", "SeedSequence", "PCG64", "Philox", "default_rng"}
TORCH_DRAWS = {"rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial", "poisson"}


def draws_from_global_state(call: ast.Call) -> bool:
    """Whether a call seeds, or draws from, a generator that the whole process shares."""
    module, _, name = ast.unparse(call.func).rpartition(".")
    if module in {"np.random", "numpy.random"}:
        return name not in OWN_GENERATORS
    if module == "random":
        return name != "Random"
    if module in {"torch", "torch.random", "torch.cuda"} and name in {"manual_seed", "manual_seed_all", "seed"}:
        return True
    return module == "torch" and name in TORCH_DRAWS and "generator" not in {k.arg for k in call.keywords}


@pytest.mark.parametrize(
    ("code", "shared"),
    [
        ("torch.manual_seed(0)", True),
        ("np.random.seed(0)", True),
        ("np.random.rand(3)", True),
        ("random.seed(0)", True),
        ("random.shuffle(x)", True),
        ("torch.randperm(3)", True),
        ("torch.randperm(3, generator=g)", False),
        ("np.random.RandomState(1993)", False),
        ("np.random.default_rng(0).random(3)", False),
    ],
)
def test_shared_generators_are_recognised(code: str, shared: bool) -> None:
    call = ast.parse(code, mode="eval").body
    assert isinstance(call, ast.Call)
    assert draws_from_global_state(call) == shared


def test_no_random_draw_is_global() -> None:
    found = [where for where, node in places("trainer") if isinstance(node, ast.Call) and draws_from_global_state(node)]
    assert not found


def test_no_file_names_this_machine_or_a_package_host() -> None:
    home = Path.home()
    needles = ["pypi" + ".org", "python" + "hosted.org", "npm" + "js.org", "debian" + ".org", str(REPO)]
    needles += [f"{home}/"] if len(home.parts) > 1 else []
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPO,
        capture_output=True,
        check=True,
    )
    files = [REPO / name for name in listed.stdout.decode().split("\0") if name and (REPO / name).is_file()]
    assert len(files) > 20
    found = [
        f"{path.relative_to(REPO)}: {needle}"
        for path in files
        for needle in needles
        if needle.encode() in path.read_bytes()
    ]
    assert not found
