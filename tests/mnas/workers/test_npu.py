"""A worker waits for the memory of its NPU; the NPU is made up."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mnas.errors import OutOfMemoryError
from mnas.machine.ascend import DeviceMemory, Probe, folder_variables
from mnas.mindspore_setup import Compute
from mnas.workers import npu
from mnas.workers.npu import prepare_npu, wait_for_memory, with_descendants


def npu_with(*free_gb: float) -> Callable[[], Probe]:
    """Return looks at an NPU of 64 GB, of which this much is free at each look."""
    looks = iter(free_gb)
    return lambda: Probe({}, (DeviceMemory(next(looks), 64.0),), None)


@pytest.mark.parametrize(
    ("memory_gb", "workers", "limit_gb"), [(None, 1, 60.0), (None, 2, 30.0), (None, 3, 20.0), (25.0, 2, 25.0)]
)
def test_a_worker_takes_its_share_of_the_card_unless_told(
    memory_gb: float | None, workers: int, limit_gb: float
) -> None:
    assert wait_for_memory(memory_gb, workers, look=npu_with(63.0)) == limit_gb


def test_it_waits_until_the_process_before_it_has_given_the_memory_back() -> None:
    assert wait_for_memory(None, 2, look=npu_with(3.0, 12.0, 31.0), poll_s=0.0) == 30.0


def test_a_neighbour_on_the_same_card_is_no_reason_to_wait() -> None:
    assert wait_for_memory(None, 2, look=npu_with(32.0)) == 30.0


def test_a_card_that_stays_full_is_an_error_with_the_numbers() -> None:
    with pytest.raises(OutOfMemoryError, match=r"3\.0 of 64\.0 GB are free .* takes 30\.0"):
        wait_for_memory(None, 2, look=npu_with(3.0), patience_s=0.0)


def test_a_worker_forgets_other_processes_and_keeps_cann_in_its_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "environ", {"RANK_TABLE_FILE": "/etc/ranks.json", "RANK_SIZE": "8"})
    monkeypatch.setattr(npu, "require_machine", lambda device: None)
    monkeypatch.setattr(npu, "wait_for_memory", lambda memory_gb, workers: 30.0)
    compute = prepare_npu(Compute("Ascend"), 2, tmp_path)
    assert compute.ascend.memory_gb == 30.0
    assert os.environ == folder_variables(tmp_path)


def test_processes_that_a_worker_has_started_belong_to_it() -> None:
    child = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'input()']).wait()"
    with subprocess.Popen([sys.executable, "-c", child], stdin=subprocess.PIPE) as parent:
        found = [parent.pid]
        while len(found) < 2:
            found = with_descendants(parent.pid)
        assert found[0] == parent.pid
        parent.communicate()
    assert with_descendants(parent.pid) == []
