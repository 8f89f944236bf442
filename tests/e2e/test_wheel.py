"""The wheel, installed and used from an empty folder: its commands, its files, and one's own methods beside them."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from support.sweeps import OWN, ROOT

pytestmark = pytest.mark.slow

METHOD = '''"""Finetuning under another name."""

from trainer.methods.base import Method


class Mine(Method):
    """A method of one's own."""
'''


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    pip(["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT)])
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages that has the wheel, whose code differs from the checkout's by a comment.

    It lies in somebody's repository, whose commit is not the code's.
    """
    folder = tmp_path_factory.mktemp("site")
    author = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.com"]
    for words in (["init", "--quiet"], [*author, "commit", "--quiet", "--allow-empty", "--message", "theirs"]):
        subprocess.run(["git", *words], cwd=folder, check=True)
    pip(["install", "--no-deps", "--no-index", "--target", str(folder), str(wheel)])
    with (folder / "imbalanced_cil_sweeper" / "trainer" / "rng.py").open("a") as file:
        file.write("# a node with the checkout's code trains nothing of this\n")
    return folder


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    return tmp_path


def pip(arguments: list[str]) -> None:
    subprocess.run([sys.executable, "-m", "pip", "--quiet", *arguments], check=True, timeout=240)


def cil(site: Path, folder: Path, *arguments: str, code: int = 0, **environment: str) -> str:
    """What the command prints when it is called in the folder."""
    ended = subprocess.run(
        [sys.executable, str(site / "bin" / "cil"), *arguments],
        check=False,
        cwd=folder,
        env=os.environ | OWN | {"PYTHONPATH": str(site)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
    )
    assert ended.returncode == code, ended.stdout
    return ended.stdout


def test_a_wheel_has_one_name_at_its_top_and_all_that_commands_read(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.partition("/")[0].partition("-")[0].removesuffix(".pth") for name in names}
    assert top == {"imbalanced_cil_sweeper"}
    inside = {name.removeprefix("imbalanced_cil_sweeper/") for name in names}
    listed = subprocess.run(
        ["git", "ls-files", "trainer", "sweeper", "runs", "search_spaces", "cluster", "benchmarks/paper"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert "benchmarks/paper/numbers.yaml" in listed
    assert [name for name in listed if name not in inside and (ROOT / name).exists()] == []


def test_other_programs_find_the_packages_behind_their_own(site: Path, tmp_path: Path) -> None:
    """As ``site`` adds folders of packages: another package called trainer stays what it is."""
    without = f"import site, sys; sys.path[:] = [folder for folder in sys.path if folder != {str(ROOT)!r}]"  # editable
    code = f"{without}; site.addsitedir({str(site)!r}); import trainer; print(trainer.__file__)"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def found() -> str:
        run = subprocess.run(
            [sys.executable, "-I", "-c", code],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return run.stdout.strip()

    assert found() == str(site / "imbalanced_cil_sweeper" / "trainer" / "__init__.py")
    (site / "trainer.py").write_text("")
    try:
        assert found() == str(site / "trainer.py")
        assert "Launch a sweep" in cil(site, tmp_path, "launch", "--help").replace("\n", " ")
        assert "0 stored" not in cil(site, tmp_path, "run", "runs/none.yaml", code=2)
    finally:
        (site / "trainer.py").unlink()


def test_commands_work_in_an_empty_folder(site: Path, empty: Path) -> None:
    assert "launch" in cil(site, empty, "--help")
    assert cil(site, empty, "status") == "no sweeps in results\n"
    assert "no results" in cil(site, empty, "query", "FROM best", code=2)
    assert "no such file" in cil(site, empty, "launch", "search_spaces/none.yaml", code=2)
    assert "cells" in cil(site, empty, "paper", "table1", "--data", "digits", "--columns", "lfs5", "--dry-run")
    assert list(empty.iterdir()) == []


def test_a_sweep_of_ones_own_method_runs_on_a_cluster_from_an_empty_folder(site: Path, empty: Path) -> None:
    """Both what is installed and what is in the folder are sent: the nodes of this cluster have other code."""
    from support.clusters import running_cluster  # noqa: PLC0415  (Ray takes a second)

    (empty / "plugins" / "methods").mkdir(parents=True)
    (empty / "plugins" / "methods" / "mine.py").write_text(METHOD)
    (empty / "s.yaml").write_text(
        "base: runs/digits_lfs5.yaml\n"
        "set: {method: {name: mine}, optim.epochs: 1, optim.milestones: [], data.imbalance.max_per_class: 40}\n"
        "vary: {optim.lr: {type: float, low: 0.01, high: 0.1}}\n"
        "trials: 1\n"
        "resources: {pack: 1}\n"
    )
    with running_cluster(num_cpus=1) as cluster:
        printed = cil(
            site, empty, "launch", "s.yaml", RAY_ADDRESS=cluster.address, RAY_AUTH_TOKEN=os.environ["RAY_AUTH_TOKEN"]
        )
    assert "[1/1] trial 0" in printed
    assert "next: cil query" in printed
    found = cil(site, empty, "query", "SELECT method_name, git_commit FROM runs", "--format", "csv")
    assert found.splitlines()[1].startswith("mine,source-")
