"""The page of a sweep: its numbers are those of SQL, its texts are texts, and it asks no network for anything."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from support.pages_of_sweeps import BEST, HOSTILE, PROMOTED, store_sweep
from sweeper import report
from sweeper.reporting.page import as_json, page_content, sweep_content
from sweeper.reporting.repeat import repeat, sets_of
from sweeper.search.space import Space
from sweeper.search.space_file import load_space
from sweeper.search.study import Study
from sweeper.store.results import open_results
from sweeper.store.sweep_file import read_space
from sweeper.store.sweeps import find_sweep
from trainer.config.files import load_run
from trainer.errors import exit_code


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page") / "results"
    store_sweep(folder)
    return folder


@pytest.fixture(scope="module")
def space(results: Path) -> Space:
    return read_space(find_sweep(results, "s"))


@pytest.fixture(scope="module")
def content(results: Path, space: Space) -> dict[str, Any]:
    with open_results(results).snapshot() as snapshot:
        return sweep_content(space, None, "running", snapshot)


def test_the_verdict_is_what_sql_says(results: Path, content: dict[str, Any]) -> None:
    (best,) = open_results(results).sql("FROM best WHERE sweep = 's'").rows()
    own, place = content["configurations"], content["configurations"]["trial"].index(content["best"])
    assert content["best"] == best["trial"] == BEST
    assert own["value"][place] == pytest.approx(best["mean"], abs=1e-4)
    assert own["std"][place] == pytest.approx(best["std"], abs=1e-4)
    assert own["n"][place] == best["n"] == 2
    assert content["promotion"]["trial"] == PROMOTED
    assert [curve["label"] for curve in content["promotion"]["curves"]] == [f"trial {PROMOTED}", "incumbent"]


def test_every_configuration_is_there_and_the_unfinished_ones_are_not_best(content: dict[str, Any]) -> None:
    assert content["done"] == len(content["configurations"]["trial"]) == 13
    assert content["configurations"]["status"].count("finished") == 10
    assert content["first"] == 0
    assert content["configurations"]["order"] == list(range(13))
    assert all(len(column) == 13 for name, column in content["configurations"].items() if name != "params")


def test_curves_and_classes_are_those_of_the_rows(results: Path, content: dict[str, Any]) -> None:
    rows = open_results(results).sql(
        "SELECT task, avg(phase_acc_task_mean_pct) AS mean FROM tasks WHERE sweep = 's' AND trial = 9 GROUP BY 1"
    )
    assert content["tasks"][str(BEST)]["mean"] == [row["mean"] for row in sorted(rows.rows(), key=lambda r: r["task"])]
    classes = content["classes"]
    assert [one["name"] for one in classes["about"]] == [f"class {k}" for k in range(20)]
    assert classes["trials"][str(BEST)]["mean"][7] == pytest.approx(50.0 + 7 / 7 + 1, abs=1e-4)  # after the last task


def test_failures_have_their_reasons_and_pruned_ones_are_none(content: dict[str, Any]) -> None:
    found = {one["status"]: (one["reason"], one["trials"]) for one in content["failures"]}
    assert found == {"failed": (HOSTILE, [12]), "diverged": ("the loss is not finite", [11])}


def test_nothing_of_the_data_ends_the_script_that_holds_it(content: dict[str, Any]) -> None:
    text = as_json(page_content([content]))
    assert HOSTILE in {one["reason"] for one in json.loads(text)["sweeps"][0]["failures"]}
    assert not re.search("[<>&]", text)


def test_a_configuration_is_repeated_by_a_command(space: Space) -> None:
    params = {"method.kd": "none", "method.lambda": 1e-7, "method.temperature": 2.0}
    found = repeat(space, [params])
    assert found is not None
    assert found["start"] == ["python", "-m", "trainer.run", "runs/digits_lfs5.yaml"]
    assert found["end"] == ["--seeds", "0,1", "--threads", "1"]
    wanted = space.config(params)
    assert load_run(found["start"][-1], sets_of(found, params)).config.config_id == wanted.config_id
    assert shlex.join(sets_of(found, params)).startswith("data.evaluation.split=validation ")


def test_the_file_holds_all_it_needs(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("plotly")
    arguments = ["s", "--results", str(results), "--format", "html", "--out", str(tmp_path)]
    assert report.main(arguments) == 0
    assert capsys.readouterr().out == f"{tmp_path}/s.html\n"
    page = (tmp_path / "s.html").read_text()
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=.?(https?:)?//", page)
    assert "default-src 'none'" in page
    assert page.count("</script>") == 3
    assert not re.search(r"\{\{ \w+ \}\}", page)


def test_a_format_that_there_is_not(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        exit_code(lambda: report.main(["s", "--results", str(results), "--format", "htm"]))
    assert "'htm' is none of png, svg, pdf, tex, html" in capsys.readouterr().err


def test_details_of_a_few_trials_are_read_of_their_files_alone(results: Path, tmp_path: Path) -> None:
    def count(where: str, table: str = "classes") -> int:
        (row,) = open_results(results).sql(f"SELECT count(*) AS n FROM {table} WHERE {where}").rows()
        return int(row["n"])

    assert count("sweep = 's' AND trial = 3") == count("sweep = 's' AND trial % 100 = 3") == 60
    assert count("trial IN (3, 5) AND sweep = 's'") == 120
    assert count("trial IS NULL") == 0
    assert count("trial > 11", "tasks") == count("trial % 100 > 11", "tasks") == 4


@pytest.mark.parametrize("name", ["methods", "methods/lucir_2stage"])
def test_a_method_or_stage_that_no_run_file_has_is_set(name: str) -> None:
    """``methods`` varies the method; the other has a method and a second stage that no run file has."""
    space = load_space(f"search_spaces/{name}.yaml")
    study = Study(space)
    tried = [found.params for _ in range(4) if (found := study.ask()) is not None]
    found = repeat(space, tried)
    assert found is not None
    for params in tried:
        wanted = space.config(params)
        assert load_run(found["start"][-1], sets_of(found, params)).config.config_id == wanted.config_id
