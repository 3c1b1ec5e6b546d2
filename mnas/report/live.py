"""The live page, as a web application (ASGI) over `mnas.report.live_runs`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

import mnas
from mnas.errors import Error
from mnas.report.data import differences
from mnas.report.live_runs import RUNS_KEPT, STANDING, LiveFolder, LiveRun
from mnas.report.page import embedded_json, report_page, runs_page

LOCAL_HOSTS = ("127.0.0.1", "localhost", "[::1]")
# The browser is on this machine, as a rule: more would take longer than it saves.
GZIP_LEVEL = 1


def live_app(
    folder: Path, *, hosts: tuple[str, ...] = LOCAL_HOSTS, references: Sequence[Mapping[str, Any]] = ()
) -> Starlette:
    """Return the application (ASGI) that shows the runs below a folder; it answers GET only.

    Args:
        folder: Where runs are looked for.
        hosts: The names by which the server may be asked. Others are refused: a page of elsewhere could take a name
            that leads here.
        references: Networks to compare with, see `mnas.report.references`.
    """
    runs = LiveFolder(folder)

    def named(name: str) -> LiveRun:
        # A browser leaves out the "." that stands for the folder itself.
        found = runs.run(name or ".")
        if found is None:
            raise HTTPException(404, "no such run")
        return found

    def index(_: Request) -> Response:
        return _page(runs_page(folder, STANDING, [(name, runs.standing(name)) for name in runs.names()]))

    def show(request: Request) -> Response:
        names = [request.path_params["name"]] if "name" in request.path_params else request.query_params.getlist("run")
        if not 0 < len(names) <= RUNS_KEPT:
            raise HTTPException(400, f"{len(names)} runs are ticked; tick 1 to {RUNS_KEPT}")
        live = {
            "runs": [quote(name, errors="replace") for name in names],
            "names": [named(name).name for name in names],
        }
        data = {"mnas_version": mnas.__version__, "runs": [], "references": references, "live": live}
        return _page(report_page(data, extra_scripts=("live.js",), connect="'self'"))

    def data(request: Request) -> Response:
        names, versions = (request.query_params.getlist(key) for key in ("run", "version"))
        if not names or len(names) != len(versions):
            raise HTTPException(400, "name each run with the version of it that is known")
        try:
            read = [named(name).read() for name in names]
        except Error as error:
            raise HTTPException(503, str(error)) from error
        if all(one.version == version for one, version in zip(read, versions, strict=True)):
            return Response(status_code=204)
        news = [
            "null" if one.version == version else f'{{"version":{embedded_json(one.version)},"data":{one.text}}}'
            for one, version in zip(read, versions, strict=True)
        ]
        rest = embedded_json({"differences": differences([one.experiment for one in read])})
        return _json_text(f'{{"runs":[{",".join(news)}],{rest[1:]}')

    def trial(request: Request) -> Response:
        try:
            found = named(request.path_params["name"]).trial(request.path_params["number"])
        except Error as error:
            raise HTTPException(404, str(error)) from error
        return _json_text(embedded_json(found))

    def failed(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return _json_text(embedded_json({"error": error.detail}), error.status_code)

    return Starlette(
        routes=[
            Route("/", index),
            Route("/compare", show),
            Route("/run/{name:path}", show),
            Route("/data", data),
            Route("/trials/{number:int}/{name:path}", trial),
        ],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts)),
            Middleware(GZipMiddleware, compresslevel=GZIP_LEVEL),
        ],
        exception_handlers={HTTPException: failed},
    )


def _page(text: str) -> Response:
    return HTMLResponse(text, headers={"X-Frame-Options": "DENY", "Cache-Control": "no-store"})


def _json_text(text: str, status_code: int = 200) -> Response:
    return Response(text, status_code, media_type="application/json")
