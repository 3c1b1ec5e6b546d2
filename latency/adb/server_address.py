"""Where this host's adb server listens: the environment variables that adb itself reads.

ADB_SERVER_SOCKET comes first (`tcp:HOST:PORT`, `tcp:PORT`, `localfilesystem:PATH`, `localabstract:NAME`), as WSL2 and
containers use it. Without it: ANDROID_ADB_SERVER_ADDRESS and ANDROID_ADB_SERVER_PORT, by default 127.0.0.1 and 5037.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

from latency.errors import ToolError

_DEFAULT_HOST = "127.0.0.1"
_DEFAULT_PORT = "5037"
_FORMS = "tcp:HOST:PORT, tcp:PORT, localfilesystem:PATH or localabstract:NAME"


@dataclass(frozen=True)
class ServerAddress:
    """Where an adb server listens.

    Attributes:
        place: Host and port of TCP, or the path of a Unix socket (which starts with NUL if it is abstract).
    """

    place: tuple[str, int] | str

    def connect(self, timeout_s: float) -> socket.socket:
        """Return a connection to the server.

        Raises:
            OSError: Nothing listens, or not in time.
        """
        if not isinstance(self.place, str):
            connected = socket.create_connection(self.place, timeout=timeout_s)
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connected
        connected = socket.socket(socket.AF_UNIX)
        try:
            connected.settimeout(timeout_s)
            connected.connect(self.place)
        except OSError:
            connected.close()
            raise
        return connected

    def __str__(self) -> str:
        if isinstance(self.place, str):
            return self.place.replace("\0", "@", 1)
        host, port = self.place
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def server_address() -> ServerAddress:
    """Return where the adb server of this environment listens.

    Raises:
        ToolError: `adb_protocol`: a variable has no usable value.
    """
    if text := os.environ.get("ADB_SERVER_SOCKET"):
        return _from_socket(text)
    host = os.environ.get("ANDROID_ADB_SERVER_ADDRESS") or _DEFAULT_HOST
    port = os.environ.get("ANDROID_ADB_SERVER_PORT") or _DEFAULT_PORT
    return ServerAddress((host, _port(port, "ANDROID_ADB_SERVER_PORT", port)))


def _from_socket(text: str) -> ServerAddress:
    kind, _, rest = text.partition(":")
    if kind == "tcp" and rest:
        host, _, port = rest.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        return ServerAddress((host or _DEFAULT_HOST, _port(port, "ADB_SERVER_SOCKET", text)))
    if kind == "localfilesystem" and rest and "\0" not in rest:
        return ServerAddress(rest)
    if kind == "localabstract" and rest:
        return ServerAddress(f"\0{rest}")
    raise ToolError("adb_protocol", f"ADB_SERVER_SOCKET is {text!r}; it must have one of the forms {_FORMS}")


def _port(port: str, variable: str, text: str) -> int:
    if not (port.isascii() and port.isdigit() and len(port) < 6 and 0 < int(port) < 65536):
        raise ToolError("adb_protocol", f"{variable} is {text!r}; it must have a port number from 1 to 65535")
    return int(port)
