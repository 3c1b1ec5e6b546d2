"""What stands in the way on machines that are made up: no NPU and no CANN is needed."""

import dataclasses

import pytest

from mnas.errors import ConfigurationError
from mnas.machine import check
from mnas.machine.ascend import AscendMachine, DeviceMemory
from mnas.machine.check import Finding, check_ascend, check_cpu, require_machine

GOOD = AscendMachine(
    variables={"ASCEND_HOME_PATH": "/usr/local/Ascend/ascend-toolkit/latest"},
    mindspore="2.10.0",
    cann="9.1.0",
    driver="25.2.0",
    missing_packages=(),
    import_errors={"te": None, "acl": None, "hccl": None},
    devices=(DeviceMemory(free_gb=61.0, total_gb=65.5),),
    device_error=None,
)
SET = GOOD.variables


def problems(**changes: object) -> list[Finding]:
    machine = dataclasses.replace(GOOD, **changes)  # type: ignore[arg-type]  # the names vary
    return [each for each in check_ascend(machine) if not each.ok]


def test_nothing_stands_in_the_way_of_a_machine_that_has_everything() -> None:
    assert problems() == []


@pytest.mark.parametrize(
    ("changes", "subject", "remedy"),
    [
        ({"variables": {}}, "CANN", "set_env.sh"),
        ({"cann": "8.0.0"}, "CANN", "8.2, 8.3, 8.5, 9.0, 9.1"),
        ({"driver": "24.1.rc3"}, "driver", "25.2 or newer"),
        ({"mindspore": None}, "MindSpore", "pip install"),
        ({"missing_packages": ("decorator", "absl-py")}, "Python packages", "pip install decorator absl-py"),
        ({"import_errors": {**GOOD.import_errors, "te": "ImportError: no tbe"}}, "te", "no tbe"),
        ({"import_errors": {**GOOD.import_errors, "hccl": "ImportError: no hccl"}}, "hccl", "set_env.sh"),
        ({"devices": ()}, "devices", "npu-smi info"),
        ({"device_error": "acl.init returned 507008"}, "devices", "507008"),
        ({"variables": {**SET, "MS_SIMULATION_LEVEL": "0"}}, "MS_SIMULATION_LEVEL", "unset it"),
        (
            {"variables": {**SET, "RAY_EXPERIMENTAL_NOSET_ASCEND_RT_VISIBLE_DEVICES": "1"}},
            "RAY_EXPERIMENTAL_NOSET_ASCEND_RT_VISIBLE_DEVICES",
            "first NPU",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_remedy(changes: dict[str, object], subject: str, remedy: str) -> None:
    (problem,) = problems(**changes)
    assert problem.subject == subject
    assert remedy in problem.text


@pytest.mark.parametrize("changes", [{"cann": None}, {"driver": None}, {"mindspore": "2.11.0", "cann": "99.1"}])
def test_what_is_not_known_stops_nothing(changes: dict[str, object]) -> None:
    assert problems(**changes) == []


def test_a_rank_table_is_mentioned_and_stops_nothing() -> None:
    machine = dataclasses.replace(GOOD, variables={**SET, "RANK_TABLE_FILE": "/etc/ranks.json"})
    assert Finding("RANK_TABLE_FILE", True, "is set; workers of a search and `mnas retrain --cards` ignore it") in (
        check_ascend(machine)
    )


def test_a_start_on_ascend_says_all_reasons_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = dataclasses.replace(GOOD, devices=(), missing_packages=("sympy",))
    monkeypatch.setattr(check, "look_at_ascend", lambda: machine)
    with pytest.raises(ConfigurationError, match=r"(?s)Python packages: .*sympy.*devices: none.*mnas check"):
        require_machine("Ascend")


def test_a_start_on_a_cpu_asks_for_nothing_of_ascend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "look_at_ascend", lambda: pytest.fail("looked"))
    require_machine("CPU")


def test_this_machine_can_run_the_tests() -> None:
    assert {each.subject for each in check_cpu() if not each.ok} <= {"memory"}
