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


def opened(folder: Path) -> Any:
    """Return a client of the page of a folder."""
    pytest.importorskip("starlette", reason="Starlette is not installed: pip install 'mnas[ui]'")
    pytest.importorskip("httpx", reason="httpx is not installed, which Starlette's tests need")
    from starlette.testclient import TestClient

    from mnas.report.live import live_app

    return TestClient(live_app(folder), base_url="http://localhost")


@pytest.fixture
def client(folder: Path) -> Any:
    return opened(folder)


def test_runs_are_listed_as_text(client: Any) -> None:
    page = client.get("/").text
    assert "deep/&lt;b&gt;run</a></td><td>" in page
    assert "<b>" not in page


def test_a_page_opens_before_its_run_is_read(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(LiveRun, "data")
    answer = client.get(f"/run/{RUN}")
    assert answer.status_code == 200
    assert "connect-src 'self'" in answer.text


def test_only_news_are_sent(client: Any, folder: Path) -> None:
    first = client.get(f"/data/{RUN}").json()
    stored = [trial.reward for trial in Run.open(folder / "deep" / "<b>run").trials]
    assert first["data"]["runs"][0]["trials"]["reward"] == stored
    assert client.get(f"/data/{RUN}", params={"version": first["version"]}).status_code == 204


def test_a_trial_has_its_details(client: Any, folder: Path) -> None:
    stored = Run.open(folder / "deep" / "<b>run").trial(1)
    assert client.get(f"/trials/1/{RUN}").json()["architecture"] == stored.architecture
    assert client.get(f"/trials/99/{RUN}").status_code == 404


def test_a_run_that_cannot_be_read_says_why(client: Any, folder: Path) -> None:
    (folder / "deep" / "<b>run" / DATABASE).write_bytes(b"no database")
    answer = client.get(f"/data/{RUN}")
    assert answer.status_code == 503
    assert "no database" in answer.json()["error"]


@pytest.mark.parametrize("path", ["/run/none", "/run/../../etc", "/data/%2e%2e", "/run/deep"])
def test_nothing_else_is_shown(client: Any, path: str) -> None:
    assert client.get(path).status_code == 404


def test_the_folder_itself_may_be_a_run(folder: Path) -> None:
    client = opened(folder / "deep" / "<b>run")
    assert 'href="run/."' in client.get("/").text
    assert [client.get(path).status_code for path in ("/run/", "/data/", "/trials/1/")] == [200, 200, 200]


def test_a_page_of_elsewhere_cannot_read_it(client: Any) -> None:
    assert client.get("/", headers={"host": "attacker.example"}).status_code == 400


def test_it_changes_nothing(client: Any) -> None:
    assert client.post(f"/data/{RUN}").status_code == 405


def test_a_missing_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ui", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err != ""
