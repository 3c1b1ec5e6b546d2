"""Run adbd in a network of its own, with one loopback port that leads to it.

`Adbd` starts this by `unshare --net`.

adbd listens on every interface and gives a shell to every caller. Here its network holds nothing but a loopback. This
program carries bytes between adbd and a socket that was opened outside, on the host's loopback, and inherited. It
prints adbd's process id. It ends when adbd ends, or when its standard input ends because its parent is gone; adbd ends
with it in every case.

Arguments: the number of the inherited listening socket, then adbd's command line.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

PORT = 5555
PR_SET_PDEATHSIG = 1
SIOCSIFFLAGS = 0x8914
IFF_UP = 1


def die_with_cage(cage_pid: int) -> None:
    """Have the kernel kill this process when the cage dies."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != cage_pid:  # It died before the line above.
        os._exit(1)


def bring_loopback_up() -> None:
    """Switch the loopback interface of this network on."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", IFF_UP))


def connect_to_adbd() -> socket.socket:
    """Return a new connection to adbd."""
    return socket.create_connection(("127.0.0.1", PORT))


def wait_until_adbd_listens() -> None:
    """Wait until adbd takes connections; exit after 10 s."""
    for _ in range(1000):
        try:
            connect_to_adbd().close()
            return
        except ConnectionRefusedError:
            time.sleep(0.01)
    raise SystemExit("adbd does not listen after 10 s")


def carry(source: socket.socket, target: socket.socket) -> None:
    """Copy bytes until one side is done, then close both.

    adb knows no half-closed connections.
    """
    try:
        while data := source.recv(1 << 18):
            target.sendall(data)
    except OSError:
        pass  # The other direction has closed them.
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def serve(listener: socket.socket) -> None:
    """Carry every connection to adbd."""
    while True:
        outside, _ = listener.accept()
        inside = connect_to_adbd()
        for end in (outside, inside):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for pair in ((outside, inside), (inside, outside)):
            threading.Thread(target=carry, args=pair, daemon=True).start()


def end_with_parent() -> None:
    """End this process when its standard input ends."""
    sys.stdin.read()
    os._exit(0)


def main() -> None:
    """Start adbd and serve the socket until adbd ends."""
    listener = socket.socket(fileno=int(sys.argv[1]))
    bring_loopback_up()
    threading.Thread(target=end_with_parent, daemon=True).start()
    cage_pid = os.getpid()
    adbd = subprocess.Popen(
        sys.argv[2:],
        env={**os.environ, "ADBD_PORT": str(PORT)},
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        preexec_fn=lambda: die_with_cage(cage_pid),
    )
    wait_until_adbd_listens()
    threading.Thread(target=serve, args=(listener,), daemon=True).start()
    print(adbd.pid, flush=True)
    adbd.wait()


if __name__ == "__main__":
    main()
