"""A phone on this machine: Debian's real adb daemon.

It listens on one loopback port that no other machine reaches.

It stands in for a phone when none is at hand. What it times is this machine's processor.
"""

from latency.loopback.adbd import Adbd, check_machine
from latency.loopback.debian import unpack_adbd

__all__ = ["Adbd", "check_machine", "unpack_adbd"]
