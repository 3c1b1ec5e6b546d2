import time

import pytest

from mnas.training.phases import PhaseTime, timed


def test_waiting_costs_wall_time_but_hardly_any_cpu_time() -> None:
    phases: dict[str, PhaseTime] = {}
    with timed(phases, "wait"):
        time.sleep(0.05)
    assert phases["wait"].wall_s >= 0.05
    assert phases["wait"].cpu_s < phases["wait"].wall_s


def test_a_failed_phase_has_no_time() -> None:
    phases: dict[str, PhaseTime] = {}
    with pytest.raises(KeyError), timed(phases, "fail"):
        raise KeyError
    assert phases == {}
