"""Phones over adb: over TCP, over USB, or through an adb server of this host.

No Android SDK is needed.

    with connect(Address.parse("tcp:192.168.1.7")) as phone:
        print(phone.shell(["uname", "-m"], timeout_s=5).stdout)

A connection (`connection`) carries streams. `direct` makes one over TCP or USB, `server` through an adb server. `shell`
and `sync` are the two services that run in a stream. `device` combines them.
"""

from latency.adb.address import Address
from latency.adb.connect import connect
from latency.adb.device import AdbDevice
from latency.adb.discovery import Attached, discover
from latency.adb.shell import ShellResult

__all__ = ["AdbDevice", "Address", "Attached", "ShellResult", "connect", "discover"]
