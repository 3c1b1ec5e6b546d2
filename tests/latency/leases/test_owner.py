from __future__ import annotations

import os
import platform
from types import SimpleNamespace
from typing import Any, cast

import pytest

from latency.errors import PhoneError
from latency.host.pause_guard import start_ticks
from latency.leases import on_phone
from latency.leases.on_phone import leased, own_name

DEAD = f"{platform.node()}/{os.getpid()}/1"
"""A process of this host's name and of a live process id, which started at another time."""


class Phone:
    """A phone whose lease others hold: it answers with the holder until that one is named as dead."""

    serial = "usb:1A"
    closed = True

    def __init__(self, holder: str) -> None:
        self.holder = holder

    def shell(self, command: list[str], timeout_s: float) -> Any:
        _, owner, seconds, dead, _ = command[4:]
        told = f"{owner} {seconds}" if dead == self.holder else f"{self.holder} 100"
        return SimpleNamespace(stdout=told, stderr="")


def take(holder: str) -> None:
    with leased(cast(Any, Phone(holder)), "/data/mnas", duration_s=60, wait_s=0):
        pass


def test_an_owner_is_named_by_process_and_place() -> None:
    host, pid, start, place = own_name().split("/")
    assert (host, int(pid), int(start)) == (platform.node(), os.getpid(), start_ticks(os.getpid()))
    assert len(place) == 16


def test_a_dead_process_of_this_place_is_taken_over() -> None:
    take(f"{DEAD}/{own_name().rpartition('/')[2]}")


@pytest.mark.parametrize("holder", [f"{DEAD}/0123456789abcdef", DEAD], ids=["another container", "an older mnas"])
def test_a_process_of_another_place_is_waited_for_whatever_its_host_is_called(holder: str) -> None:
    with pytest.raises(PhoneError, match="phone: adb shell rm /data/mnas/lease") as caught:
        take(holder)
    assert caught.value.kind == "phone_busy"


def test_two_places_have_two_names(monkeypatch: pytest.MonkeyPatch) -> None:
    here = own_name()
    monkeypatch.setattr(on_phone, "process_place", lambda: "boot pid:[4026531999]")
    assert own_name() != here
