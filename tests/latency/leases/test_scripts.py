"""What the scripts of a lease leave in the phone's folder, and how often the phone is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from latency.adb import AdbDevice
from latency.leases import on_phone
from latency.leases.on_phone import leased
from tests.latency.android.local_device import local_device


@pytest.fixture
def device() -> AdbDevice:
    return local_device()


def models(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("model*"))


def test_models_go_with_the_lease(device: AdbDevice, tmp_path: Path) -> None:
    with leased(device, str(tmp_path / "mnas"), duration_s=60, wait_s=0):
        for name in ("model-1.onnx", "model-2.onnx.part", "model.onnx"):
            (tmp_path / "mnas" / name).touch()
    assert models(tmp_path / "mnas") == ["model.onnx"]
    assert not (tmp_path / "mnas" / "lease").exists()


def test_the_models_of_another_owner_stay(device: AdbDevice, tmp_path: Path) -> None:
    with leased(device, str(tmp_path), duration_s=60, wait_s=0):
        (tmp_path / "lease").write_text("elsewhere/1/1 0\n")
        (tmp_path / "model-1.onnx").touch()
    assert models(tmp_path) == ["model-1.onnx"]


@pytest.mark.parametrize(("fresh_s", "exchanges"), [(60.0, 1), (0.0, 3)])
def test_a_fresh_lease_is_not_renewed(
    device: AdbDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_s: float, exchanges: int
) -> None:
    monkeypatch.setattr(on_phone, "FRESH_S", fresh_s)
    with leased(device, str(tmp_path), duration_s=60, wait_s=0) as renew:
        renew(60)
        renew(60)
        assert len(cast(Any, device).asked) == exchanges
