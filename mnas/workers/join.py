"""Joining a Ray cluster that somebody else has started: can it be reached, and does it want a token?

Ray itself tries an address for minutes, and cannot be interrupted meanwhile. So another process tries it first.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from importlib import import_module

import psutil

from mnas.errors import ConfigurationError
from mnas.workers.surroundings import has_token, ray_folder

CONNECT_TIMEOUT_S = 5.0
JOIN_TIMEOUT_S = 30.0
_JOIN = """
import sys, ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
print("joined", flush=True)
"""
_WRONG_TOKEN = ("Unauthenticated", "InvalidAuthToken", "AuthenticationError")


@dataclass(frozen=True)
class Answer:
    """What came of a try to join: whether it worked, whether a token was missing or wrong, and the last line said."""

    joined: bool
    wants_token: bool
    said: str


def check_address(address: str) -> None:
    """See that a cluster can be joined, and turn Ray's token mode on if it is needed.

    `auto` is RAY_ADDRESS if that is set, else a cluster that runs here, else the last one that ran here, as in Ray.

    Raises:
        ConfigurationError: Nothing answers there, or no Ray that lets us in.
    """
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS") or _last_address() or address
    key = f"search.ray_address: {address}"
    if address != "auto":
        _connect(key, *_host_and_port(key, address))
    token = has_token()
    answer = try_to_join(address, dict(os.environ))
    if answer.wants_token and token and "RAY_AUTH_MODE" not in os.environ:
        # Ray shows its token to an address that is given only if it is told to.
        answer = try_to_join(address, os.environ | {"RAY_AUTH_MODE": "token"})
        if answer.joined:
            turn_token_mode_on()
    if answer.wants_token:
        raise ConfigurationError(
            f"{key}: the cluster wants a token, and {'another one than ours' if token else 'there is none here'}; put "
            "the cluster's token (`ray get-auth-token` on its head) into ~/.ray/auth_token or RAY_AUTH_TOKEN, and set "
            "RAY_AUTH_MODE=token"
        )
    if not answer.joined:
        raise ConfigurationError(
            f"{key}: Ray cannot join it ({answer.said}); check that the head runs there (`ray status --address=...`), "
            "and that Python and Ray have the same versions on both sides"
        )


def try_to_join(address: str, environment: dict[str, str], timeout_s: float = JOIN_TIMEOUT_S) -> Answer:
    """Join a cluster in a process of its own, which ends again."""
    # A session of its own: Ctrl-C is for this process, which ends that one.
    process = subprocess.Popen(
        [sys.executable, "-c", _JOIN, address],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        env=environment,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    timer = threading.Timer(timeout_s, process.kill)
    timer.start()
    joined, wants_token, said = False, False, f"no answer within {timeout_s:g} s"
    try:
        for line in process.stdout or ():
            said = re.sub(r"^\[.*?\] (\S+:\d+: )?", "", line).strip() or said  # less the prefix of Ray's log
            joined = joined or said == "joined"
            wants_token = wants_token or any(word in line for word in _WRONG_TOKEN)
            if joined or wants_token:  # it would try for 20 s
                break
    finally:
        timer.cancel()
        process.kill()
        process.communicate()
    return Answer(joined, wants_token, said)


def turn_token_mode_on() -> None:
    """Let Ray show its token; Ray has read its environment when it was imported, and reads it again."""
    os.environ["RAY_AUTH_MODE"] = "token"
    import_module("ray._raylet").Config.initialize("")


def _last_address() -> str | None:
    """Return the address of the last cluster that `ray start` started here, None if one runs here now."""
    if any(process.info["name"] == "gcs_server" for process in psutil.process_iter(["name"])):
        return None
    try:
        return (ray_folder() / "ray_current_cluster").read_text().strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def _host_and_port(key: str, address: str) -> tuple[str, int]:
    host, colon, port = address.rpartition(":")
    if "://" in address or not (host and colon and port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        raise ConfigurationError(f"{key}: write HOST:PORT of the cluster's head (ray start --head), or auto")
    return host.strip("[]"), int(port)


def _connect(key: str, host: str, port: int) -> None:
    try:
        socket.create_connection((host, port), CONNECT_TIMEOUT_S).close()
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(
            f"{key}: nothing answers there ({error}); start the head with `ray start --head --port={port}`, or correct "
            "the address"
        ) from error
