"""What `mnas phones` commands say while they wait."""

from __future__ import annotations

import io
import json
import logging
import os
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console

from latency.leases.between_processes import user_leases
from latency.measurement.reference_network import reference_model
from mnas.cli import main
from mnas.cli.phones import waits as waits_module
from mnas.cli.phones.waits import Waits, said_waits


@pytest.fixture(autouse=True)
def short_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits_module, "SILENCE_S", 0.1)


def test_a_short_wait_is_not_worth_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    with said_waits() as waits:
        waits.begin("connecting")
        waits.over()
        time.sleep(0.3)
    assert capsys.readouterr() == ("", "")


def test_a_long_wait_is_told_once_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with said_waits() as waits:
        waits.begin("connecting")
        time.sleep(0.4)
        waits.begin("asking")
    assert capsys.readouterr() == ("", "mnas: connecting\n")


def test_a_terminal_shows_a_line_that_disappears() -> None:
    screen = io.StringIO()
    waits = Waits(Console(file=screen, force_terminal=True, width=80))
    waits.begin("connecting")
    time.sleep(0.4)
    waits.over()
    assert "connecting" in screen.getvalue()
    assert screen.getvalue().rstrip("\n").endswith("\x1b[2K")  # The line is erased.


def test_what_the_measurement_waits_for_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with said_waits():
        logging.getLogger("latency.android.thermal").info("%s: waiting up to %g s", "1A2B", 600.0)
    logging.getLogger("latency.android.thermal").info("said no more")
    assert capsys.readouterr().err == "mnas: 1A2B: waiting up to 600 s\n"


def test_measuring_on_a_phone_in_use_says_who_has_it_and_keeps_the_output_clean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("latency.leases.between_processes._SILENCE_S", 0.1)
    monkeypatch.setattr("latency.leases.between_processes._POLL_S", 0.01)
    model = tmp_path / "model.onnx"
    model.write_bytes(reference_model(16, 20))
    tolerant = ["contention_limit=10", "others_busy_limit=1000", "drift_limit=1000", "relative_mad_limit=1"]
    tolerant += ["switches_per_s_limit=1e6", "calibration_s=0", "warmup_min_ms=0"]
    options = [word for change in tolerant for word in ("--set", change)]
    serial = os.uname().nodename
    held = threading.Event()

    def hold_for_a_second() -> None:
        with user_leases().hold(serial):
            held.set()
            time.sleep(1.0)

    holder = threading.Thread(target=hold_for_a_second)
    holder.start()
    held.wait()
    assert main(["phones", "measure", str(model), *options, "--json"]) == 0
    holder.join()
    shown = capsys.readouterr()
    assert json.loads(shown.out)["latency_ms"] > 0
    assert f"phone {serial}: in use by process {os.getpid()}" in shown.err
