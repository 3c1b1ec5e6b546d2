"""What goes wrong in the field, done to a real adbd: each fault has its kind, and the next measurement works."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from latency.android.phone import AdbPhone
from latency.errors import (
    LatencyError,
    PhoneError,
    PhoneTimeoutError,
    PhoneUnstableError,
    RunnerCrashedError,
    ToolError,
)
from latency.loopback.adbd import Adbd
from latency.loopback.phone import phone_profile, runners
from latency.measurement.protocol import MeasurementSettings
from latency.pool.health import RetryPolicy
from latency.pool.service import LatencyService
from tests.latency.adb.proxy import Proxy


@pytest.fixture
def proxy(adbd: Adbd) -> Iterator[Proxy]:
    with Proxy(adbd.address) as proxy:
        yield proxy


@pytest.fixture
def far_phone(adbd: Adbd, proxy: Proxy) -> Iterator[AdbPhone]:
    """A phone behind a connection that can fail."""
    phone = AdbPhone(*phone_profile(adbd, address=proxy.address))
    yield phone
    phone.close()


def failure(phone: AdbPhone, model: bytes, settings: MeasurementSettings) -> LatencyError:
    with pytest.raises(LatencyError) as caught:
        phone.measure(model, settings)
    return caught.value


def while_running(adbd: Adbd, action: Callable[[], None]) -> threading.Thread:
    """Do something as soon as the runner works on the phone."""

    def wait() -> None:
        while not any(runners(adbd.folder)):
            pass
        action()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


@pytest.mark.parametrize("fault", ["killed", "cut"])
def test_a_phone_that_goes_in_mid_push_is_gone_and_works_when_it_is_back(
    far_phone: AdbPhone, adbd: Adbd, proxy: Proxy, slow_model: bytes, tolerant: MeasurementSettings, fault: str
) -> None:
    far_phone.identify()  # Everything but the model is there.
    proxy.after(8000, adbd.kill if fault == "killed" else proxy.cut)
    assert failure(far_phone, slow_model, tolerant).kind == "phone_gone"
    if fault == "killed":
        adbd.restart()
    assert far_phone.measure(slow_model, tolerant).accepted


@pytest.mark.parametrize("fault", ["killed", "cut"])
def test_a_phone_that_goes_in_mid_run_is_gone_and_works_when_it_is_back(
    far_phone: AdbPhone, adbd: Adbd, proxy: Proxy, tiny_model: bytes, tolerant: MeasurementSettings, fault: str
) -> None:
    far_phone.measure(tiny_model, tolerant)
    saboteur = while_running(adbd, adbd.kill if fault == "killed" else proxy.cut)
    assert failure(far_phone, tiny_model, replace(tolerant, warmup_min_ms=20_000.0)).kind == "phone_gone"
    saboteur.join()
    if fault == "killed":
        adbd.restart()
    assert far_phone.measure(tiny_model, tolerant).accepted


def test_a_phone_that_restarts_between_two_measurements_is_connected_anew(
    phone: AdbPhone, adbd: Adbd, tiny_model: bytes, tolerant: MeasurementSettings
) -> None:
    phone.measure(tiny_model, tolerant)
    adbd.restart()
    with LatencyService([phone], tolerant, retry=RetryPolicy(first_delay_s=0.0)) as service:
        assert service.submit(tiny_model).result(60).accepted


def test_a_frozen_phone_is_a_timeout_and_works_when_it_thaws(
    phone: AdbPhone, adbd: Adbd, tiny_model: bytes, tolerant: MeasurementSettings
) -> None:
    phone.measure(tiny_model, tolerant)
    saboteur = while_running(adbd, adbd.freeze)
    frozen = replace(tolerant, warmup_min_ms=20_000.0, load_timeout_s=1.0, window_timeout_s=1.0)
    assert failure(phone, tiny_model, frozen).kind == "timeout"
    saboteur.join()
    adbd.thaw()
    assert phone.measure(tiny_model, tolerant).accepted


def test_a_runner_whose_connection_was_cut_does_not_disturb_the_next_one(
    far_phone: AdbPhone, adbd: Adbd, proxy: Proxy, tiny_model: bytes, tolerant: MeasurementSettings
) -> None:
    saboteur = while_running(adbd, proxy.cut)
    failure(far_phone, tiny_model, replace(tolerant, warmup_min_ms=20_000.0))
    saboteur.join()
    far_phone.measure(tiny_model, tolerant)
    assert not list(runners(adbd.folder))


@pytest.fixture
def small_disk(adbd: Adbd) -> Iterator[Path]:
    """The phone's folder, on a disk of 8 MB, until it is unmounted."""
    folder = adbd.folder / "mnas"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small disk here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=False, capture_output=True)


def test_a_full_phone_says_how_much_it_needs_and_works_when_there_is_room(
    phone: AdbPhone, small_disk: Path, tiny_model: bytes, tolerant: MeasurementSettings
) -> None:
    error = failure(phone, tiny_model, tolerant)
    assert (error.kind, "make room" in str(error)) == ("phone_full", True)
    subprocess.run(["umount", str(small_disk)], check=True)
    assert phone.measure(tiny_model, tolerant).accepted


CRASH = "kill -SEGV $$"
HANG = "exec sleep 1000"
GARBAGE = "echo 'Segmentation fault? {\"schema\": 1'"
SILENCE = "exit 0"
WRONG_OUTPUT = """./true-loader "$@" | sed -E 's/"output_sums": ?.[^,]*/"output_sums":[1.5/'"""


@pytest.mark.parametrize(
    ("script", "error", "kind"),
    [
        (CRASH, RunnerCrashedError, "runner_died"),
        (HANG, PhoneTimeoutError, "timeout"),
        (GARBAGE, ToolError, "runner_protocol"),
        (SILENCE, ToolError, "runner_protocol"),
        (WRONG_OUTPUT, PhoneError, "wrong_output"),
    ],
    ids=["crash", "hang", "garbage", "silence", "wrong output"],
)
def test_a_runner_that_fails_gives_no_latency_and_is_replaced_by_the_next_connection(
    phone: AdbPhone,
    adbd: Adbd,
    tiny_model: bytes,
    tolerant: MeasurementSettings,
    script: str,
    error: type[LatencyError],
    kind: str,
) -> None:
    phone.measure(tiny_model, tolerant)
    (loader,) = (adbd.folder / "mnas").glob("runtime-*/ld-linux-*")
    loader.rename(loader.with_name("true-loader"))
    loader.write_text(f"#!/bin/sh\n{script}\n")
    loader.chmod(0o755)
    caught = failure(phone, tiny_model, replace(tolerant, load_timeout_s=2.0, window_timeout_s=1.0))
    assert (type(caught), caught.kind) == (error, kind)
    assert phone.measure(tiny_model, tolerant).accepted


def test_work_on_the_timed_core_gives_no_latency(phone: AdbPhone, slow_model: bytes, adbd: Adbd) -> None:
    core = max(os.sched_getaffinity(0))
    noise = subprocess.Popen(
        [sys.executable, "-c", f"import os; os.sched_setaffinity(0, [{core}])\nwhile True: pass"],
    )
    try:
        settings = MeasurementSettings(max_attempts=2, runs=10, faster_limit=1.0)
        error = failure(phone, slow_model, settings)
    finally:
        noise.kill()
        noise.wait()
    assert isinstance(error, PhoneUnstableError)
    assert error.record is not None
    assert not error.record.sessions


def test_a_broken_phone_beside_a_healthy_one_costs_no_measurement(
    start_adbd: Callable[[], Adbd], tiny_model: bytes, tolerant: MeasurementSettings
) -> None:
    healthy, broken = start_adbd(), start_adbd()
    broken.kill()
    phones = [AdbPhone(*phone_profile(adbd, name=name)) for adbd, name in ((broken, "broken"), (healthy, "healthy"))]
    with LatencyService(phones, tolerant) as service:
        records = [future.result(60) for future in [service.submit(tiny_model + b"") for _ in range(6)]]
    for phone in phones:
        phone.close()
    assert {record.phone.name for record in records} == {"healthy"}
