"""The page of a report: what is in the file, and what a browser makes of it."""

import hashlib
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from mnas.cli import main
from mnas.documents.json_text import dump_json
from mnas.errors import Failure, FailureKind
from mnas.report.data import report_data
from mnas.report.page import asset, report_page
from mnas.search.run import Run
from mnas.search.run_directory import DATABASE
from mnas.search.store import Outcome, TrialStore
from tests.mnas.report.stand_in import stand_in_run
from tools.chromium import PROGRAM, Page, opened_browser

ASSETS = Path(__file__).parents[3] / "mnas" / "report" / "assets"
INJECTION = "</script><img src=x onerror=document.title='hit'><b>\x1b[31m\u202e&\"'"


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    if PROGRAM is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    with opened_browser() as page:
        yield page


@pytest.fixture(scope="module")
def url(two_phones: Run, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of the report of `two_phones`."""
    return two_phones.report(tmp_path_factory.mktemp("page") / "report.html").as_uri()


def embedded(page: str) -> Any:
    return json.loads(page.partition('id="data">')[2].partition("</script>")[0])


def test_the_page_holds_the_data(two_phones: Run) -> None:
    data = report_data([two_phones])
    assert embedded(report_page(data)) == json.loads(dump_json(data))


def test_vendored_files_are_unchanged() -> None:
    for one in yaml.safe_load((ASSETS / "vendored.yaml").read_text()):
        assert hashlib.sha256((ASSETS / one["file"]).read_bytes()).hexdigest() == one["sha256"]
        assert all((ASSETS / name).is_file() for name in [*one["licence_files"], one["notice_file"]])


def test_the_page_is_one_file_that_asks_for_nothing(two_phones: Run) -> None:
    page = report_page(report_data([two_phones]))
    assert "default-src 'none'" in page
    assert "src=" not in page.partition("<script>")[0]


def test_the_command_writes_the_file(searched_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "found.html"
    assert main(["report", str(searched_run), "--out", str(path)]) == 0
    assert capsys.readouterr().out == f"{path}\n"
    assert len(embedded(path.read_text())["runs"][0]["trials"]["id"]) == 3


def test_a_folder_is_no_report(searched_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(searched_run), "--out", str(tmp_path)]) == 2
    assert "name the HTML file" in capsys.readouterr().err


def test_a_run_writes_its_report(two_phones: Run, tmp_path: Path) -> None:
    assert embedded(two_phones.report(tmp_path / "report.html").read_text())["runs"][0]["name"] == "two phones"


def test_foreign_text_stays_inside_the_data(two_phones: Run) -> None:
    data = report_data([two_phones])
    data["runs"][0]["name"] = INJECTION
    page = report_page(data)
    scripts = page.count("</script>")
    assert scripts == report_page(report_data([two_phones])).count("</script>")
    assert "\x1b" not in page
    assert "<img src=x" not in page


@pytest.mark.parametrize(("width", "dark"), [(1440, False), (1440, True), (390, False), (390, True)])
def test_every_chart_is_drawn_without_a_complaint(browser: Page, url: str, width: int, dark: bool) -> None:
    browser.requests.clear()
    browser.open(url, width=width, dark=dark)
    assert browser.complaints == []
    assert [one for one in browser.requests if not one.startswith("data:")] == [url]
    charts = browser.evaluate(
        "[...document.querySelectorAll('.chart')].map((one) => [one.ariaLabel, +one.dataset.items])"
    )
    assert len(charts) > 15
    assert [label for label, items in charts if items == 0] == []
    blank = browser.evaluate(
        "[...document.querySelectorAll('.chart canvas')].filter((one) => one.width * one.height === 0).length"
    )
    assert blank == 0
    assert browser.evaluate("document.documentElement.scrollWidth") == width
    assert browser.evaluate("document.documentElement.dataset.theme") == ("dark" if dark else "light")


def test_the_table_shows_the_numbers_of_the_store(browser: Page, two_phones: Run, url: str) -> None:
    browser.open(url)
    first = browser.evaluate("[...document.querySelector('tbody tr[tabindex]').cells].map((one) => one.textContent)")
    best = two_phones.best()
    shown = [str(best.id), "complete", f"{best.accuracy:.4f}", f"{best.latency_ms:.4f}"]
    assert first[:4] == shown
    assert first[5] == f"{best.reward:.4f}"


def test_the_table_filters_and_sorts(browser: Page, two_phones: Run, url: str) -> None:
    browser.open(url)
    shown = browser.evaluate(
        "(() => { const box = document.querySelector('input[type=search]'); box.value = 'failed';"
        "box.dispatchEvent(new Event('input')); document.querySelector('th button').click();"
        "return [...document.querySelectorAll('tbody tr[tabindex]')].map((one) => +one.cells[0].textContent); })()"
    )
    failed = [trial.id for trial in two_phones.trials if trial.state == "failed"]
    assert shown == sorted(failed, reverse=True)[:20]


def test_foreign_text_is_shown_as_text(browser: Page, tmp_path: Path) -> None:
    failure = Failure(FailureKind.INTERNAL, INJECTION)
    run = Run.open(stand_in_run(tmp_path / "<b>run", 40, failure=failure))
    images = msgspec.structs.replace(run.images, class_names=tuple(f"{INJECTION}{label}" for label in range(10)))
    data = report_data([Run(run.directory, run.experiment, images, run.reward_images)])
    for text in ("name", "phone", "directory"):
        data["runs"][0][text] = INJECTION
    data["runs"][0]["phones"][0]["name"] = INJECTION
    data["runs"][0]["phones"][0]["serial"] = INJECTION
    data["runs"][0]["phones"][0]["rejected"] = [{"reason": INJECTION, "count": 1}]
    data["references"] = [{"network": INJECTION, "phone": INJECTION, "num_classes": 10, "latency_ms": 1, "accuracy": 1}]
    path = tmp_path / "report.html"
    path.write_text(report_page(data))
    browser.open(path.as_uri())
    assert browser.complaints == []
    assert browser.evaluate("document.title") != "hit"
    assert browser.evaluate("document.querySelectorAll('img, main b').length") == 0
    assert browser.evaluate("document.body.textContent.includes('onerror')")


def test_references_and_finalists_are_shown(browser: Page, tmp_path: Path) -> None:
    run = Run.open(stand_in_run(tmp_path / "run", 40, finalists=3))
    measured = {"width": 0.5, "image_size": 16, "latency_ms": 4.5, "top1": 0.97, "images": 300, "on": "test"}
    reference = tmp_path / "reference.json"
    reference.write_text(dump_json({"network": "net", "num_classes": 10, "phone": "host", "networks": [measured]}))
    browser.open(run.report(tmp_path / "report.html", references=[reference]).as_uri())
    assert browser.complaints == []
    chart = "echarts.getInstanceByDom(document.querySelector('[aria-label=\"Accuracy against latency\"]'))"
    series = browser.evaluate(f"{chart}.getOption().series.filter((one) => one.name === 'reference')")
    assert [(one["value"], one["one"]["network"]) for one in series[0]["data"]] == [([4.5, 0.97], "net x0.5")]
    winner = run.finalists()[0]
    cells = "[...[...document.querySelectorAll('h3')].find((one) => one.textContent === 'Finalists').parentNode"
    first = browser.evaluate(f"{cells}.querySelectorAll('tbody tr:first-child > *')].map((one) => one.textContent)")
    standing = winner.standing
    assert first[:3] == [str(winner.trial.id), f"{standing.probability_best:.3f}", f"{standing.mean:.4f}"]


def test_runs_on_one_phone_are_compared_by_accuracy_and_latency(browser: Page, tmp_path: Path) -> None:
    runs = [Run.open(stand_in_run(tmp_path / name, trials)) for name, trials in (("soft", 40), ("hard", 30))]
    data = report_data(runs)
    data["runs"][1] |= {"group": "another reward", "target_ms": 2 * data["runs"][0]["target_ms"]}
    path = tmp_path / "report.html"
    path.write_text(report_page(data))
    browser.open(path.as_uri())
    assert browser.complaints == []
    chart = "echarts.getInstanceByDom(document.querySelector('[aria-label=\"{}\"]')).getOption().series"
    sizes = f"{chart.format('Accuracy against latency of the runs')}.map((one) => [one.name, one.data.length])"
    networks = [sum(trial.state == "complete" and trial.repeat_of is None for trial in run.trials) for run in runs]
    assert browser.evaluate(sizes) == [["soft", networks[0]], ["hard", networks[1]], ["target", 2], ["target", 2]]
    counts = (
        f"{chart.format('Latencies that the runs tried')}.map((one) => one.data.reduce((sum, bin) => sum + bin[1], 0))"
    )
    assert browser.evaluate(counts) == networks


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of the live page of a run with pending trials, and the run's directory."""
    pytest.importorskip("starlette", reason="Starlette is not installed: pip install 'mnas[ui]'")
    uvicorn = pytest.importorskip("uvicorn", reason="uvicorn is not installed: pip install 'mnas[ui]'")
    from mnas.report.live import live_app

    directory = stand_in_run(tmp_path / "run", 20, pending=2)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(live_app(tmp_path), log_level="critical"))
        serving = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        serving.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/run/run", directory
        finally:
            server.should_exit = True
            serving.join()


def test_a_live_page_shows_what_is_new_and_keeps_what_was_chosen(browser: Page, served: tuple[str, Path]) -> None:
    url, directory = served
    browser.open(url)
    browser.evaluate(
        "(() => { const box = document.querySelector('input[type=search]'); box.focus(); box.value = 'complete';"
        "box.dispatchEvent(new Event('input')); document.querySelector('details').open = true; })()"
    )
    chart = "echarts.getInstanceByDom(document.querySelector('[aria-label=\"Reward of each trial\"]'))"
    browser.evaluate(f"{chart}.dispatchAction({{type: 'dataZoom', startValue: 5, endValue: 10}})")
    browser.evaluate(f"{chart}.dispatchAction({{type: 'legendToggleSelect', name: 'median of 25'}})")
    with closing(TrialStore(directory / DATABASE, create=True)) as store:
        store.finish([Outcome(19, 0.99, 0.5, 0.99)])
    browser.wait_until("document.querySelector('tbody tr[tabindex]').cells[0].textContent === '19'")
    assert browser.evaluate("document.activeElement.value") == "complete"
    assert browser.evaluate("document.querySelector('details').open")
    browser.evaluate("window.scrollTo(0, 0)")  # the chart was out of sight, so it is drawn now
    best = f"{chart}.getOption().series.find((one) => one.name === 'best so far')"
    browser.wait_until(f"{best}.data.at(-1)[0] === 19")
    zoom = browser.evaluate(f"{chart}.getOption().dataZoom[0]")
    assert [zoom["startValue"], zoom["endValue"]] == pytest.approx([5, 10])
    assert browser.evaluate(f"{chart}.getOption().legend[0].selected['median of 25']") is False
    assert browser.complaints == []


def test_scripts_are_allowed_by_their_hashes_only() -> None:
    policy = report_page({"runs": [{"name": ""}]}).partition("Content-Security-Policy")[2].partition(">")[0]
    assert policy.count("sha256-") == 4
    assert "unsafe-inline" not in policy.partition("script-src")[2].partition(";")[0]
    assert "innerHTML" not in asset("dom.js") + asset("charts.js") + asset("page.js")
