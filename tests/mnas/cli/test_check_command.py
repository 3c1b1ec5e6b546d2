import json

import pytest

from mnas.cli import check, main
from mnas.machine.check import Finding

FOUND = [Finding("CANN", True, "9.1.0"), Finding("devices", False, "none; see `npu-smi info`")]


@pytest.mark.parametrize(("found", "code"), [(FOUND, 1), (FOUND[:1], 0)])
def test_it_prints_a_line_for_each_finding(
    found: list[Finding], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check, "check_machine", lambda device: found if device == "Ascend" else [])
    assert main(["check", "--device", "Ascend"]) == code
    lines = ["ok  CANN             9.1.0", "NO  devices          none; see `npu-smi info`"]
    assert capsys.readouterr().out.splitlines() == lines[: len(found)]


def test_json_has_the_same(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(check, "check_machine", lambda device: FOUND)
    main(["check", "--json"])
    assert json.loads(capsys.readouterr().out)[0] == {"subject": "CANN", "ok": True, "text": "9.1.0"}
