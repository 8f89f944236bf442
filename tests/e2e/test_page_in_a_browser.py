"""The page in a real browser: it draws without an error, sorts, brushes, picks, and shows texts of data as texts.

Skipped where there is no Chromium with its driver.
"""

import shlex
import shutil
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from support.commands import finish, start
from support.pages_of_sweeps import BEST, HOSTILE, PROMOTED, store_sweep
from support.results import result
from sweeper import report
from sweeper.search.space import Space
from sweeper.store.status_file import Status
from sweeper.store.store import Store
from trainer.config.files import load_run

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CHROMEDRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None or CHROMEDRIVER is None, reason="no Chromium with its driver"),
]
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1200,900"),
)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page") / "results"


@pytest.fixture(scope="module")
def space(results: Path) -> Space:
    return store_sweep(results)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(CHROMEDRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def page(browser: Any, results: Path, space: Space, tmp_path: Path) -> Any:
    """The browser on the page's file, freshly opened, with all figures drawn."""
    pytest.importorskip("plotly")
    assert report.main(["s", "--results", str(results), "--format", "html", "--out", str(tmp_path)]) == 0
    browser.get((tmp_path / "s.html").as_uri())
    browser.execute_script("drawAll()")
    yield browser
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def all_of(page: Any, css: str) -> list[Any]:
    return list(page.find_elements("css selector", css))


def trials(page: Any) -> list[int]:
    """The rows of the table, from above: at one moment, as a served page replaces them."""
    script = "return [...document.querySelectorAll('#rows tr[data-trial]')].map((row) => Number(row.dataset.trial))"
    return list(page.execute_script(script))


def test_a_reader_finds_everything_and_can_work_with_it(page: Any, space: Space) -> None:
    """One visit, as a page takes seconds to open."""
    sections = [one.text for one in all_of(page, "h2")]
    assert sections[0] == "Verdict"
    assert len(sections) == 11
    verdict = page.find_element("id", "verdict").text
    assert "60.00 ± 1.41" in verdict
    assert "+3.00" in verdict
    assert "[+1.00, +5.00]" in verdict
    undrawn = [one.get_attribute("id") for one in all_of(page, ".plot:not([data-ready])")]
    assert not undrawn
    alternatives = [one.get_attribute("aria-label") for one in all_of(page, "[role=img]")]
    assert len(alternatives) > 8
    assert all(alternatives)
    _texts_are_texts(page)
    _it_sorts(page)
    _it_brushes(page)
    _it_picks(page)
    _a_command_repeats_a_configuration(page, space)


def _texts_are_texts(page: Any) -> None:
    assert page.title == "s"
    assert HOSTILE in page.find_element("id", "failures").text
    assert HOSTILE in page.find_element("id", "verdict").text
    assert not all_of(page, "main img")


def _it_sorts(page: Any) -> None:
    assert trials(page)[0] == BEST
    assert trials(page)[10:] == [12, 11, 10]  # did not finish
    page.execute_script("document.getElementById('sort-trial').focus()")
    page.switch_to.active_element.send_keys("\ue007")  # the Enter key
    assert trials(page) == list(range(13))
    heads = {one.text: one.get_attribute("aria-sort") for one in all_of(page, "th[aria-sort]")}
    assert [name for name, direction in heads.items() if direction != "none"] == ["trial"]
    page.switch_to.active_element.send_keys("\ue007")  # it keeps the focus
    assert trials(page) == list(range(12, -1, -1))


def _it_brushes(page: Any) -> None:
    field = page.find_element("css selector", "input[aria-label='lambda from']")
    field.send_keys("0.65\t")
    assert sorted(trials(page)) == [6, 7, 8, 9]
    assert len(all_of(page, "#plot-parallel path:not(.out)")) == 4
    page.find_element("id", "clear").click()
    assert len(trials(page)) == 13
    zone = all_of(page, "#plot-parallel .zone")[-1]  # the objective's axis
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", zone)
    half = zone.rect["height"] / 2
    actions = pytest.importorskip("selenium.webdriver").ActionChains(page)
    actions.move_to_element_with_offset(zone, 0, 4 - int(half)).click_and_hold().move_by_offset(
        0, int(half) - 4
    ).release()
    actions.perform()
    assert sorted(trials(page)) == [5, 6, 7, 8, 9]
    assert field.get_attribute("value") == ""
    page.find_element("id", "clear").click()


def _it_picks(page: Any) -> None:
    def picked() -> list[str]:
        return [one.text.partition(":")[0] for one in all_of(page, ".chips button")]

    assert picked() == ["trial 0 (first)", f"trial {BEST} (best)", f"trial {PROMOTED} (led on fresh seeds)"]
    page.execute_script("document.querySelector('#rows [data-key=\"0:7\"]').click()")
    assert picked()[-1] == "trial 7"
    page.execute_script("drawAll()")
    assert "trial 7: " in page.find_element("id", "plot-tasks").get_attribute("aria-label")
    page.execute_script("document.querySelector('.chips button').click()")
    assert picked()[0] == f"trial {BEST} (best)"


def _a_command_repeats_a_configuration(page: Any, space: Space) -> None:
    row = page.find_element("css selector", f"#rows tr[data-trial='{BEST}'] button.row")
    page.execute_script("arguments[0].click()", row)
    words = shlex.split(page.find_element("css selector", "td.command code").text)
    sets = [word for before, word in pairwise(words) if before == "--set"]
    wanted = space.config({"method.kd": "none", "method.lambda": 0.1 * (1 + BEST), "method.temperature": 5.5})
    assert load_run(words[3], sets).config.config_id == wanted.config_id


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """Results, and the address of their page."""
    pytest.importorskip("plotly")
    results = tmp_path / "results"
    store_sweep(results)
    server = start("sweeper.report", "s", "--results", results, "--serve")
    assert server.stdout is not None
    yield results, server.stdout.readline().strip()
    server.send_signal(signal.SIGINT)
    finish(server)


def test_a_page_that_is_served_shows_what_comes_to_the_results(browser: Any, served: tuple[Path, str]) -> None:
    results, address = served
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{address.removesuffix('/')}x/", timeout=10)
    wait = pytest.importorskip("selenium.webdriver.support.wait").WebDriverWait(browser, 30)
    browser.get(address)
    wait.until(lambda page: trials(page)[:1] == [BEST])
    store = Store(results, "s")
    runs = [result(13, seed, 99.0 + seed / 10, method="gradient_reweighting") for seed in (0, 1)]
    params = {"method.kd": "none", "method.lambda": 0.3, "method.temperature": 3.0}
    store.finish_trial(13, runs, attempt="a", params=params)
    Status(total=20, done=14).write(store.folder)
    wait.until(lambda page: trials(page)[:1] == [13])
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    browser.get("about:blank")
