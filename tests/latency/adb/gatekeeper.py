"""Authorisation in front of a real adbd: Debian's lets everyone in, a phone only those whose key it knows.

Speaks adb's AUTH packets (Android's `protocol.txt`) and checks the signatures as a phone does.
"""

from __future__ import annotations

import base64
import secrets
import socket
import struct
import threading

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils

from latency.adb.address import Address
from tests.latency.adb.proxy import Proxy

TOKEN, SIGNATURE, RSA_PUBLIC_KEY = 1, 2, 3
_HEADER = struct.Struct("<6I")


class Gatekeeper(Proxy):
    """Lets in the holders of `known_keys` (as in adbkey.pub), and of keys that are accepted at the prompt."""

    def __init__(self, upstream: Address) -> None:
        super().__init__(upstream)
        self.known_keys: list[bytes] = []
        self.prompts = 0
        self.accept = threading.Event()
        """Set when the user taps on "allow"."""

    def _admit(self, outside: socket.socket) -> bytes:
        _, _, greeting = _receive(outside)
        while True:
            token = secrets.token_bytes(20)
            _send(outside, TOKEN, token)
            kind, payload, _ = _receive(outside)
            if kind == SIGNATURE and any(_signed(key, token, payload) for key in self.known_keys):
                return greeting
            if kind == RSA_PUBLIC_KEY:
                self.prompts += 1
                if not self.accept.wait(20):
                    raise OSError("nobody accepts the prompt")
                self.known_keys.append(payload.rstrip(b"\0"))
                return greeting


def _receive(connected: socket.socket) -> tuple[int, bytes, bytes]:
    """A packet's first argument and payload, and the whole packet."""
    header = _exactly(connected, _HEADER.size)
    payload = _exactly(connected, _HEADER.unpack(header)[3])
    return _HEADER.unpack(header)[1], payload, header + payload


def _exactly(connected: socket.socket, size: int) -> bytes:
    data = connected.recv(size, socket.MSG_WAITALL)
    if len(data) < size:
        raise OSError("the host hung up")
    return data


def _send(connected: socket.socket, kind: int, payload: bytes) -> None:
    code = int.from_bytes(b"AUTH", "little")
    connected.sendall(_HEADER.pack(code, kind, 0, len(payload), sum(payload), code ^ 0xFFFFFFFF) + payload)


def _signed(public_key: bytes, token: bytes, signature: bytes) -> bool:
    # Android's form: words, n0inv, modulus, rr (both little-endian, 256 bytes), exponent; in base64, then a name.
    _, _, modulus, _, exponent = struct.unpack("<2I256s256sI", base64.b64decode(public_key.split()[0]))
    key = rsa.RSAPublicNumbers(exponent, int.from_bytes(modulus, "little")).public_key()
    try:
        key.verify(signature, token, padding.PKCS1v15(), utils.Prehashed(hashes.SHA1()))
    except InvalidSignature:
        return False
    return True
