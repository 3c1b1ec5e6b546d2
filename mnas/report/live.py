"""The live page, as a web application (ASGI) over `mnas.report.live_runs`."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from mnas.documents.foreign_text import html_text
from mnas.errors import Error
from mnas.report.live_runs import STANDING, LiveFolder, LiveRun
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
        # A browser leaves out the "." that stands for the folder itself.
        found = runs.run(request.path_params["name"] or ".")
        if found is None:
            raise HTTPException(404, "no such run")
        return found

    def index(_: Request) -> Response:
        head = "".join(f"<th>{title}</th>" for title in ("run", *STANDING))
        rows = "".join(
            f'<tr><td><a href="run/{quote(name, errors="replace")}">{html_text(name)}</a></td>'
            f"{''.join(f'<td>{html_text(cell)}</td>' for cell in runs.standing(name))}</tr>"
            for name in runs.names()
        )
        table = f"<table><tr>{head}</tr>{rows}</table>" if rows else "<p>no run yet</p>"
        return _page(
            '<!doctype html><html lang="en"><meta charset="utf-8"><link rel="icon" href="data:,">'
            '<meta name="viewport" content="width=device-width, initial-scale=1"><title>mnas: runs</title>'
            f"<style>{asset('page.css')}</style><header><h1>Runs in {html_text(folder)}</h1></header>"
            f'<main class="scroll">{table}</main></html>'
        )

    def show(request: Request) -> Response:
        named(request)
        live = {"run": quote(request.path_params["name"], errors="replace")}
        return _page(report_page({"runs": [], "live": live}, extra_scripts=("live.js",), connect="'self'"))

    def data(request: Request) -> Response:
        try:
            version, found = named(request).data()
        except Error as error:
            raise HTTPException(503, str(error)) from error
        if request.query_params.get("version") == version:
            return Response(status_code=204)
        return _json({"version": version, "data": found})

    def trial(request: Request) -> Response:
        try:
            found = named(request).trial(request.path_params["number"])
        except Error as error:
            raise HTTPException(404, str(error)) from error
        return _json(found)

    def failed(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return _json({"error": error.detail}, error.status_code)

    return Starlette(
        routes=[
            Route("/", index),
            Route("/run/{name:path}", show),
            Route("/data/{name:path}", data),
            Route("/trials/{number:int}/{name:path}", trial),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))],
        exception_handlers={HTTPException: failed},
    )


def _page(text: str) -> Response:
    return HTMLResponse(text, headers={"X-Frame-Options": "DENY", "Cache-Control": "no-store"})


def _json(value: object, status_code: int = 200) -> Response:
    return Response(embedded_json(value), status_code, media_type="application/json")
