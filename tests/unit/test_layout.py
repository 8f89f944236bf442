"""The shape of the code: who may import whom, and what no file may do. Read from the source, nothing is run."""

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from trainer.methods.base import METHODS

REPO = Path(__file__).parents[2]
OURS = ("trainer", "sweeper")


class Import(NamedTuple):
    module: str  # a module of this project in full: "trainer.nets.heads" for `from trainer.nets import heads`
    names: tuple[str, ...]
    line: int


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(tree(path)))


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (REPO / folder).rglob("*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(REPO).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def is_module(name: str) -> bool:
    path = REPO.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


@cache
def imports(path: Path) -> tuple[Import, ...]:
    """What a file imports when it is imported, when its functions run, or for a type checker alone."""
    found = []
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found += [Import(alias.name, (), node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            module, names = node.module or "", tuple(alias.name for alias in node.names)
            modules = [name for name in names if is_module(f"{module}.{name}")]
            found += [Import(f"{module}.{name}", (), node.lineno) for name in modules]
            rest = tuple(name for name in names if name not in modules)
            found += [Import(module, rest, node.lineno)] if rest else []
    return tuple(found)


def within(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(package + ".") for package in packages)


def where(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(REPO)}:{getattr(node, 'lineno', 0)}"


def imported_outside(paths: list[Path], *allowed: str) -> list[str]:
    """Imports of anything but the standard library and these."""
    return [
        f"{path.relative_to(REPO)}:{found.line}: {found.module}"
        for path in paths
        for found in imports(path)
        if found.module.partition(".")[0] not in sys.stdlib_module_names and not within(found.module, *allowed)
    ]


# -- who imports whom -------------------------------------------------------------------------------

# From the ground up. A file may import its own floor and those below it; "" are the commands at the top of a package.
FLOORS = {
    "trainer": (
        ("command", "errors", "signals", "streams", "words", "limits", "rng", "section", "files", "registry", "tables"),
        ("losses", "distill"),
        ("data", "nets"),
        ("stages",),
        ("methods",),
        ("config",),
        ("results",),
        ("survey",),
        ("training",),
        ("model",),
        ("",),
    ),
    "sweeper": (("search", "store", "starting"), ("execution",), ("promotion", "reporting", "exports"), ("",)),
}


def floor(module: str) -> int:
    package, _, rest = module.partition(".")
    rows = FLOORS[package]
    return next((i for i, names in enumerate(rows) if within(rest, *names)), len(rows) - 1)


@pytest.mark.parametrize("package", OURS)
def test_imports_point_down(package: str) -> None:
    up = [
        f"{path.relative_to(REPO)}:{found.line}: {found.module}"
        for path in sources(package)
        for found in imports(path)
        if within(found.module, package) and floor(found.module) > floor(module_of(path))
    ]
    assert not up


def test_every_floor_is_a_part_of_its_package() -> None:
    missing = [
        name
        for package, rows in FLOORS.items()
        for names in rows
        for name in names
        if name and not is_module(f"{package}.{name}")
    ]
    assert not missing


@pytest.mark.parametrize("package", OURS)
def test_imports_form_no_circle(package: str) -> None:
    graph = {
        module_of(path): {i.module for i in imports(path) if within(i.module, package)} - {module_of(path)}
        for path in sources(package)
    }
    tuple(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, which shows the circle


def test_no_import_is_for_a_type_checker_alone() -> None:
    """Such an import is an arrow too; a type that needs one lives on the wrong floor."""
    found = [
        where(path, node)
        for path in sources(*OURS, "benchmarks", "tests")
        for node in nodes(path)
        if isinstance(node, ast.Name) and node.id == "TYPE_CHECKING"
    ]
    assert not found


def test_the_trainer_knows_nothing_of_the_sweeper() -> None:
    distant = ("sweeper", "ray", "optuna", "duckdb", "benchmarks")
    found = [(path.name, i) for path in sources("trainer") for i in imports(path) if within(i.module, *distant)]
    assert not found


@pytest.mark.parametrize(("library", "folder"), [("ray", "execution"), ("optuna", "search")])
def test_a_library_has_its_folder(library: str, folder: str) -> None:
    users = {path for path in sources(*OURS) for found in imports(path) if within(found.module, library)}
    assert users
    assert not users - set(sources(f"sweeper/{folder}"))


@pytest.mark.parametrize("package", ["losses", "distill"])
def test_losses_are_functions_of_tensors(package: str) -> None:
    assert not imported_outside(sources(f"trainer/{package}"), "torch", f"trainer.{package}", "trainer.registry")


def methods() -> list[Path]:
    return [path for path in sources("trainer/methods") if path.stem not in {"base", "__init__"}]


def test_a_method_imports_its_tools_and_no_other_method() -> None:
    own = ("methods.base", "stages", "losses", "distill", "nets", "data.samplers", "data.mix", "errors", "rng")
    tools = [f"trainer.{module}" for module in own]
    assert [path.stem for path in methods()] == METHODS.names()
    assert not imported_outside(methods(), "torch", "pydantic", *tools)


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def private_names_of_others(path: Path) -> list[str]:
    """Underscored names of this project that a file imports, or reads off a module of it."""
    mine = [found for found in imports(path) if within(found.module, *OURS, "benchmarks")]
    found = [
        f"{path.relative_to(REPO)}:{i.line}: {i.module} {i.names}"
        for i in mine
        if any(map(private, [*i.module.split("."), *i.names]))
    ]
    known = {i.module.rpartition(".")[2] for i in mine if not i.names} | {name for i in mine for name in i.names}
    return found + [
        f"{where(path, node)}: {ast.unparse(node)}"
        for node in nodes(path)
        if isinstance(node, ast.Attribute) and private(node.attr) and ast.unparse(node.value) in known
    ]


def test_no_file_uses_an_underscored_name_of_another() -> None:
    assert not [name for path in sources(*OURS, "benchmarks") for name in private_names_of_others(path)]


# -- what no file does --------------------------------------------------------------------------------


def places(*folders: str) -> Iterator[tuple[str, ast.AST]]:
    """Every node of the sources, with where it stands."""
    for path in sources(*folders):
        for node in nodes(path):
            yield where(path, node), node


def packages() -> list[Path]:
    return [path for path in sources(*OURS) if path.name == "__init__.py"]


@pytest.mark.parametrize("path", packages(), ids=module_of)
def test_a_package_says_in_a_sentence_what_idea_lives_there(path: Path) -> None:
    said = (ast.get_docstring(tree(path)) or "").partition("\n\n")[0]
    assert said.endswith(".")
    assert said.count(". ") <= 1


def test_every_folder_of_code_is_a_package() -> None:
    folders = {path.parent for path in sources(*OURS)}
    assert folders == {path.parent for path in packages()}


DECLARATIONS = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)
"""What a module may consist of, besides texts and what ``python -m`` runs."""

AT_IMPORT = {REPO / "sweeper" / "execution" / "__init__.py", REPO / "trainer" / "__init__.py"}
"""the one sets Ray's authentication mode, which Ray reads once, while it is imported; the other handles signals while
a command is imported, and ends it on Windows"""


def declares(node: ast.stmt) -> bool:
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    if isinstance(node, ast.If):
        return ast.unparse(node.test) == "__name__ == '__main__'"
    return isinstance(node, DECLARATIONS)


def test_importing_does_no_work() -> None:
    found = [
        where(path, node)
        for path in sources(*OURS)
        if path not in AT_IMPORT
        for node in tree(path).body
        if not declares(node)
    ]
    assert not found


def test_no_module_has_a_state() -> None:
    assert not [place for place, node in places(*OURS) if isinstance(node, ast.Global)]


def strings(node: ast.AST) -> set[str]:
    return {n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)}


def test_no_methods_name_is_compared() -> None:
    names = set(METHODS.names())
    compared = [
        place
        for place, node in places(*OURS, "benchmarks")
        if isinstance(node, ast.Compare | ast.MatchValue) and strings(node) & names
    ]
    assert not compared


def test_no_star_imports() -> None:
    stars = [
        place
        for place, node in places(*OURS, "benchmarks", "tests")
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names)
    ]
    assert not stars


# -- what tests do not hold -----------------------------------------------------------------------------

PATCHES = {"setattr", "delattr", "patch", "object"}
"""of pytest's monkeypatch and unittest.mock"""


def patched(call: ast.Call) -> list[str]:
    """The underscored names that a call patches, if it patches any: in its texts and in what it is given."""
    if not (isinstance(call.func, ast.Attribute | ast.Name) and ast.unparse(call.func).rpartition(".")[2] in PATCHES):
        return []
    names = [a.value if isinstance(a, ast.Constant) else ast.unparse(a) for a in call.args[:2]]
    return [part for name in names for part in str(name).split(".") if private(part)]


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("monkeypatch.setattr(loop._EpochLoop, 'step', f)", ["_EpochLoop"]),
        ("monkeypatch.setattr(launch, '_say', f)", ["_say"]),
        ("monkeypatch.setattr('sweeper.launch._say', f)", ["_say"]),
        ("patch('sweeper.launch._say')", ["_say"]),
        ("mock.patch.object(launch, '_say')", ["_say"]),
        ("monkeypatch.setattr(os, 'replace', f)", []),
        ("monkeypatch.setenv('_X', '1')", []),
        ("patch.object(fs, '__call__')", []),
        ("patch.object(fs, 'put', _f)", []),
    ],
)
def test_patches_are_recognised(code: str, found: list[str]) -> None:
    call = ast.parse(code, mode="eval").body
    assert isinstance(call, ast.Call)
    assert sorted(set(patched(call))) == found


def test_no_test_patches_an_underscored_name() -> None:
    found = [
        f"{place}: {ast.unparse(node)}"
        for place, node in places("tests")
        if isinstance(node, ast.Call) and node.args and patched(node)
    ]
    assert not found


def test_no_test_uses_an_underscored_name() -> None:
    assert not [name for path in sources("tests") for name in private_names_of_others(path)]


def calls_of_method(name: str, *paths: Path) -> list[str]:
    return [
        where(path, node)
        for path in paths
        for node in nodes(path)
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
    found = [place for place, node in places("trainer") if isinstance(node, ast.Call) and draws_from_global_state(node)]
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
