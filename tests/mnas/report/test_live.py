"""The live page, asked without a network."""

from pathlib import Path
from typing import Any

import pytest

from mnas.cli import main
from mnas.report.live_runs import LiveRun
from mnas.search.run import Run
from mnas.search.run_directory import DATABASE
from tests.mnas.report.stand_in import stand_in_run

RUN = "deep/%3Cb%3Erun"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    stand_in_run(tmp_path / "deep" / "<b>run", 8, pending=2)
    return tmp_path


def opened(folder: Path, **options: Any) -> Any:
    """Return a client of the page of a folder."""
    pytest.importorskip("starlette", reason="Starlette is not installed: pip install 'mnas[ui]'")
    pytest.importorskip("httpx", reason="httpx is not installed, which Starlette's tests need")
    from starlette.testclient import TestClient

    from mnas.report.live import live_app

    return TestClient(live_app(folder, **options), base_url="http://localhost")


def news(client: Any, version: str) -> Any:
    """Return the answer to what the page asks once a second."""
    return client.get("/data", params={"run": "deep/<b>run", "version": version})


@pytest.fixture
def client(folder: Path) -> Any:
    return opened(folder)


def test_runs_are_listed_as_text(client: Any) -> None:
    page = client.get("/").text
    assert "deep/&lt;b&gt;run</a></td><td " in page
    assert "<b>" not in page


def test_a_page_opens_before_its_run_is_read(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(LiveRun, "read")
    answer = client.get(f"/run/{RUN}")
    assert answer.status_code == 200
    assert "connect-src 'self'" in answer.text


def test_only_news_are_sent(client: Any, folder: Path) -> None:
    (first,) = news(client, "").json()["runs"]
    stored = [trial.reward for trial in Run.open(folder / "deep" / "<b>run").trials]
    assert first["data"]["trials"]["reward"] == stored
    assert news(client, first["version"]).status_code == 204


def test_runs_are_compared_by_what_is_new_of_each(client: Any, folder: Path) -> None:
    stand_in_run(folder / "other", 8, seed=1)
    page = client.get(f"/compare?run={RUN}&run=other")
    assert '"live":{"runs":["deep/%3Cb%3Erun","other"]' in page.text
    ask = f"/data?run={RUN}&version={{}}&run=other&version="
    first, _ = client.get(ask.format("")).json()["runs"]
    again = client.get(ask.format(first["version"])).json()
    assert again["runs"][0] is None
    assert again["runs"][1]["data"]["verdict"]["counts"]["proposed"] == 0
    assert again["differences"] == [{"key": "seed", "values": ["0", "1"]}]


def test_networks_to_compare_with_are_in_the_page(folder: Path) -> None:
    assert '"references":[{"network":"net"' in opened(folder, references=[{"network": "net"}]).get(f"/run/{RUN}").text


@pytest.mark.parametrize("path", ["/compare", "/compare?" + "run=x&" * 25, "/data", f"/data?run={RUN}"])
def test_a_question_for_no_runs_or_too_many_is_refused(client: Any, path: str) -> None:
    assert client.get(path).status_code == 400


def test_a_trial_has_its_details(client: Any, folder: Path) -> None:
    stored = Run.open(folder / "deep" / "<b>run").trial(1)
    assert client.get(f"/trials/1/{RUN}").json()["architecture"] == stored.architecture
    assert client.get(f"/trials/99/{RUN}").status_code == 404


def test_a_run_that_cannot_be_read_says_why(client: Any, folder: Path) -> None:
    (folder / "deep" / "<b>run" / DATABASE).write_bytes(b"no database")
    answer = news(client, "")
    assert answer.status_code == 503
    assert "no database" in answer.json()["error"]


@pytest.mark.parametrize("path", ["/run/none", "/run/../../etc", "/data?run=..&version=", "/run/deep"])
def test_nothing_else_is_shown(client: Any, path: str) -> None:
    assert client.get(path).status_code == 404


def test_the_folder_itself_may_be_a_run(folder: Path) -> None:
    client = opened(folder / "deep" / "<b>run")
    assert 'href="run/."' in client.get("/").text
    assert [client.get(path).status_code for path in ("/run/", "/data?run=.&version=", "/trials/1/")] == [200, 200, 200]


def test_a_page_of_elsewhere_cannot_read_it(client: Any) -> None:
    assert client.get("/", headers={"host": "attacker.example"}).status_code == 400


def test_it_changes_nothing(client: Any) -> None:
    assert client.post(f"/data?run={RUN}&version=").status_code == 405


def test_a_missing_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ui", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err != ""
