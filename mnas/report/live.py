"""The live page, as a web application (ASGI) over `mnas.report.live_runs`."""

from __future__ import annotations

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
from mnas.report.live_runs import LiveFolder, LiveRun
from mnas.report.page import asset, embedded_json, report_page

LOCAL_HOSTS = ("127.0.0.1", "localhost", "[::1]")


def live_app(folder: Path, *, hosts: tuple[str, ...] = LOCAL_HOSTS) -> Starlette:
    """Return the application (ASGI) that shows the runs below a folder; it answers GET only.

    Args:
        folder: Where runs are looked for.
        hosts: The names by which the server may be asked. Others are refused: a page of elsewhere could take a name
            that leads here.
    """
    runs = LiveFolder(folder)

    def named(request: Request) -> LiveRun:
        found = runs.run(request.path_params["name"])
        if found is None:
            raise HTTPException(404, "no such run")
        return found

    def index(_: Request) -> Response:
        items = "".join(f'<li><a href="run/{quote(name)}">{html_text(name)}</a></li>' for name in runs.names())
        text = items or "<li>no run yet</li>"
        return _page(
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>mnas: runs</title><style>{asset("page.css")}'
            f"</style><header><h1>Runs in {html_text(folder)}</h1></header><main><ul>{text}</ul></main></html>"
        )

    def show(request: Request) -> Response:
        name = request.path_params["name"]
        version, data = _read(named(request))
        place = quote(name)
        live = {"version": version, "data": f"/data/{place}", "trials": f"/trials/{place}"}
        return _page(report_page({**data, "live": live}, extra_scripts=("live.js",), connect="'self'"))

    def data(request: Request) -> Response:
        version, found = _read(named(request))
        if request.query_params.get("version") == version:
            return Response(status_code=204)
        return Response(embedded_json({"version": version, "data": found}), media_type="application/json")

    def trial(request: Request) -> Response:
        try:
            found = named(request).trial(request.path_params["number"])
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
