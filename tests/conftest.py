"""What holds for all tests: they leave the user's own files alone; and a real adb daemon for those that ask."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from latency.errors import ToolError
from latency.loopback import Adbd, check_machine, unpack_adbd
from tests.latency.adb.debian import unpack_adb

# Tests that `make test-fast` leaves out: those that need a phone, a Ray cluster or a steady machine, or that train.
SLOW_FIXTURES = {"adbd", "adbd_root", "start_adbd", "bundle", "bundle_for"}
SLOW_PLACES = (
    "docs/test_blocks.py",
    "experiments/",
    "latency/host/",
    "latency/leases/",
    "latency/pool/test_remote.py",
    "latency/runner/",
    "latency/test_phone_contract.py",
    "mnas/ascend/test_compile.py",
    "mnas/ascend/test_kernels.py",
    "mnas/cli/test_describe.py",
    "mnas/cli/test_retrain_command.py",
    "mnas/cli/test_search_command.py",
    "mnas/cli/test_two_phones.py",
    "mnas/cli/test_validate_command.py",
    "mnas/data/test_own.py",
    "mnas/kernels/",
    "mnas/network/test_mindspore_cell.py",
    "mnas/network/test_operators.py",
    "mnas/report/test_page.py",
    "mnas/retrain/test_recipe_steps.py",
    "mnas/retrain/test_top_workers.py",
    "mnas/search/test_latency_phones.py",
    "mnas/search/test_notebooks.py",
    "mnas/search/test_old_runs.py",
    "mnas/test_full_training.py",
    "mnas/test_phone.py",
    "mnas/training/test_sinking.py",
    "mnas/training/test_step.py",
    "mnas/training/test_trainer.py",
    "mnas/workers/",
    "tools/",
)
# Tests that need the machine to themselves: they time models, or count the cores that a search may use. `make test`
# runs the others before them, on both cores.
ALONE_PLACES = (
    "docs/test_blocks.py",
    "experiments/",
    "latency/android/",
    "latency/host/",
    "latency/leases/",
    "latency/pool/test_remote.py",
    "latency/test_phone_contract.py",
    "mnas/cli/test_describe.py",
    "mnas/cli/test_phones_on_adb.py",
    "mnas/cli/test_search_command.py",
    "mnas/cli/test_two_phones.py",
    "mnas/data/test_own.py",
    "mnas/search/test_latency_phones.py",
    "mnas/search/test_notebooks.py",
    "mnas/search/test_old_runs.py",
    "mnas/test_phone.py",
    "mnas/workers/",
)
_TESTS = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the slow tests and those that run alone, by their place and by what they ask for."""
    for item in items:
        place = item.path.relative_to(_TESTS).as_posix()
        if place.startswith(SLOW_PLACES) or SLOW_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
        if place.startswith(ALONE_PLACES):
            item.add_marker(pytest.mark.alone)


@pytest.fixture(scope="session", autouse=True)
def user_files_apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep leases in a folder of the test session, and no latencies beyond a test that asks for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        patch.setenv("MNAS_LATENCY_CACHE", "off")
        yield


@pytest.fixture(scope="session")
def adbd_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Debian's adbd and adb with their libraries, unpacked."""
    root = tmp_path_factory.mktemp("debian")
    try:
        check_machine()
        unpack_adbd(root)
        unpack_adb(root)
    except ToolError as error:
        pytest.skip(f"Debian's adbd cannot be had: {error}")
    return root


@pytest.fixture
def start_adbd(adbd_root: Path, tmp_path: Path) -> Iterator[Callable[[], Adbd]]:
    """Starts an adbd with a folder of its own, each time it is called; they end with the test."""
    with ExitStack() as running:
        count = 0

        def start() -> Adbd:
            nonlocal count
            count += 1
            return running.enter_context(Adbd(adbd_root, tmp_path / f"adbd-{count}"))

        yield start


@pytest.fixture
def adbd(start_adbd: Callable[[], Adbd]) -> Adbd:
    """One adbd that runs; its `folder` plays a phone's /data/local/tmp."""
    return start_adbd()
