from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.latency.adb.way import Way, open_way


@pytest.fixture(params=["tcp", "server"])
def way(request: pytest.FixtureRequest, adbd_root: Path, tmp_path: Path) -> Iterator[Way]:
    """For tests that break something."""
    with open_way(request.param, adbd_root, tmp_path) as way:
        yield way


@pytest.fixture(scope="module", params=["tcp", "server"])
def steady_way(
    request: pytest.FixtureRequest, adbd_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Way]:
    """Shared by the tests that leave it as it was."""
    with open_way(request.param, adbd_root, tmp_path_factory.mktemp(f"steady-{request.param}")) as way:
        yield way
