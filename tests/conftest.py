"""What holds for all tests: they leave the user's own files alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def user_files_apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep leases in a folder of the test session, and no latencies beyond a test that asks for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        patch.setenv("MNAS_LATENCY_CACHE", "off")
        yield
