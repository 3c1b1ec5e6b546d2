"""The live page: all runs below a folder, read from their stores while searches write them.

Nothing is locked and nothing is written. A run is read again when its database has changed, and at most so often that
reading takes `READING_SHARE` of the time, so that a large run does not take a core from the search.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from mnas.documents.foreign_text import html_text
from mnas.errors import Error
from mnas.report.data import report_data
from mnas.report.page import asset, embedded_json, report_page
from mnas.report.trials import trial_details
from mnas.search.run import Run
from mnas.search.run_directory import DATABASE

READING_SHARE = 0.05
LOCAL_HOSTS = ("127.0.0.1", "localhost", "[::1]")


class LiveRun:
    """The data of one run, and when it is read again."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._version: str | None = None
        self._data: Mapping[str, Any] = {}
        self._next_s = 0.0

    def data(self) -> tuple[str, Mapping[str, Any]]:
        """Return the version of the data, and the data: new ones if the run has changed and reading is due.

        Raises:
            Error: The run cannot be read.
        """
        with self._lock:
            version, now = self._stamp(), time.monotonic()
            if self._version is None or (version != self._version and now >= self._next_s):
                self._data = report_data([Run.open(self._directory)])
                self._next_s = time.monotonic() + (time.monotonic() - now) / READING_SHARE
                self._version = version
            return self._version, self._data

    def trial(self, number: int) -> dict[str, Any]:
        """Return the details of one trial. Raises Error if there is none."""
        return trial_details(Run.open(self._directory).trial(number))

    def _stamp(self) -> str:
        stamps = []
        for name in (DATABASE, f"{DATABASE}-wal"):
            try:
                found = (self._directory / name).stat()
                stamps.append(f"{found.st_mtime_ns:x}.{found.st_size:x}")
            except OSError:
                stamps.append("0")
        return "-".join(stamps)


class LiveFolder:
    """The runs below a folder, by their paths in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._runs: dict[str, LiveRun] = {}

    def names(self) -> list[str]:
        """Return the paths of the runs, found again at each call; the folder itself is `.`."""
        found = sorted(path.parent for path in self._folder.rglob(DATABASE))
        return [path.relative_to(self._folder).as_posix() for path in found]

    def run(self, name: str) -> LiveRun:
        """Return a run. Raises HTTPException (404) unless it is one of `names`."""
        if name not in self._runs:
            if name not in self.names():
                raise HTTPException(404, "no such run")
            self._runs[name] = LiveRun(self._folder / name)
        return self._runs[name]


def live_app(folder: Path, *, hosts: tuple[str, ...] = LOCAL_HOSTS) -> Starlette:
    """Return the application (ASGI) that shows the runs below a folder; it answers GET only.

    Args:
        folder: Where runs are looked for.
        hosts: The names by which the server may be asked. Others are refused: a page of elsewhere could take a name
            that leads here.
    """
    runs = LiveFolder(folder)

    def index(_: Request) -> Response:
        items = "".join(f'<li><a href="run/{quote(name)}">{html_text(name)}</a></li>' for name in runs.names())
        text = items or "<li>no run yet</li>"
        return _page(
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>mnas: runs</title><style>{asset("page.css")}'
            f"</style><header><h1>Runs in {html_text(folder)}</h1></header><main><ul>{text}</ul></main></html>"
        )

    def show(request: Request) -> Response:
        name = request.path_params["name"]
        version, data = _read(runs.run(name))
        place = quote(name)
        live = {"version": version, "data": f"/data/{place}", "trials": f"/trials/{place}"}
        return _page(report_page({**data, "live": live}, extra_scripts=("live.js",), connect="'self'"))

    def data(request: Request) -> Response:
        version, found = _read(runs.run(request.path_params["name"]))
        if request.query_params.get("version") == version:
            return Response(status_code=204)
        return Response(embedded_json({"version": version, "data": found}), media_type="application/json")

    def trial(request: Request) -> Response:
        try:
            found = runs.run(request.path_params["name"]).trial(request.path_params["number"])
        except Error as error:
            raise HTTPException(404, str(error)) from error
        return Response(embedded_json(found), media_type="application/json")

    def failed(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return JSONResponse({"error": error.detail}, error.status_code)

    return Starlette(
        routes=[
            Route("/", index),
            Route("/run/{name:path}", show),
            Route("/data/{name:path}", data),
            Route("/trials/{name:path}/{number:int}", trial),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))],
        exception_handlers={HTTPException: failed},
    )


def _page(text: str) -> Response:
    return HTMLResponse(text, headers={"X-Frame-Options": "DENY", "Cache-Control": "no-store"})


def _read(run: LiveRun) -> tuple[str, Mapping[str, Any]]:
    try:
        return run.data()
    except Error as error:
        raise HTTPException(503, str(error)) from error
