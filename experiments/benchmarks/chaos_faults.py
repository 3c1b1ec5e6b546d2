"""What `chaos` does to a search, and the processes that it does it to."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from latency.loopback.adbd import Adbd
from latency.loopback.phone import runners

PHONE = "chaos-phone"
# A search that has just been started again has no workers yet.
TARGET_PATIENCE_S = 60.0
END_PATIENCE_S = 120.0
# A node or an adb daemon is away for a time between these.
AWAY_S = (1.0, 5.0)
# A quiet window lets a worker that was stopped in it go on.
STOP_STAYS_S = 0.5
_MARK = "MNAS_CHAOS_MARK"


class ChaosError(Exception):
    """The search did something that it must not do, or a fault found nothing to hit."""


class SearchCommand:
    """The command of one search, run again after each end."""

    def __init__(self, experiment: Path, run: Path, log: Path, environment: Mapping[str, str]) -> None:
        """Prepare the command; what it prints is appended to `log`."""
        # Signals may be ignored where this runs (`nohup`, a job in the background): not in the search.
        search = [sys.executable, "-m", "mnas", "search", str(experiment), "--run-dir", str(run)]
        self._words = ["env", "--default-signal", *search]
        self._environment = environment
        self._log = log
        self._processes: list[subprocess.Popen[bytes]] = []
        self._ended_s: dict[int, float] = {}

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The driver that was started last."""
        return self._processes[-1]

    def start(self, **environment: str) -> None:
        """Start the command, or start it again."""
        mark = _mark(len(self._processes))
        with self._log.open("ab") as log:
            self._processes.append(
                subprocess.Popen(
                    self._words,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    env={**os.environ, **self._environment, **environment, _MARK: mark},
                )
            )

    def log_size(self) -> int:
        """Return how many bytes the command has printed."""
        return self._log.stat().st_size

    def said(self, since: int) -> list[str]:
        """Return the lines after the first `since` bytes, without those of trials and of a start."""
        text = self._log.read_bytes()[since:].decode(errors="replace")
        return [line for line in text.splitlines() if "  trial " not in line and "mnas: loading the images" not in line]

    def left_behind(self) -> dict[psutil.Process, float]:
        """Return the processes that live on though their driver has ended, and for how many seconds it has."""
        now_s = time.monotonic()
        for number, each in enumerate(self._processes):
            if each.poll() is not None:
                self._ended_s.setdefault(number, now_s)
        left = {}
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                its_number = self._number_of(process.pid)
                if its_number is not None and its_number in self._ended_s and process.status() != psutil.STATUS_ZOMBIE:
                    left[process] = now_s - self._ended_s[its_number]
        return left

    def _number_of(self, pid: int) -> int | None:
        """Return which start of the command a process belongs to: by its session, or by its environment."""
        session = os.getsid(pid)
        for number, each in enumerate(self._processes):
            # Workers of Ray write their titles over their environment; the helpers of a phone have their own sessions.
            if each.pid == session or f"{_MARK}={_mark(number)}" in environment_of(pid):
                return number
        return None

    def end(self) -> None:
        """Kill whatever is left of it."""
        for process in self._processes:
            process.kill()
            process.wait()
        for left in self.left_behind():
            with suppress(psutil.Error):
                left.kill()


def _mark(number: int) -> str:
    return f"{os.getpid()}-{number}"


def environment_of(pid: int) -> set[str]:
    """Return the environment with which a process was started, unless its title lies over it."""
    return set(Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0"))


class TwoNodes:
    """A Ray of two nodes on this machine, one worker on each; the first has the phone, behind a `PhoneHost`."""

    def __init__(self) -> None:
        """Start it."""
        self.start()

    @property
    def address(self) -> str:
        """Where its head listens."""
        return str(self._cluster.address)

    def start(self) -> None:
        """Start both nodes."""
        from ray.cluster_utils import Cluster

        # Ray notices the death of a node in 2 s, not in 15.
        health = {"health_check_initial_delay_ms": 500, "health_check_period_ms": 500, "health_check_timeout_ms": 1500}
        head = {"num_cpus": 1, "include_dashboard": False, "resources": {f"phone:{PHONE}": 1}, "_system_config": health}
        self._cluster: Any = Cluster(initialize_head=True, head_node_args=head)
        self.add_node()

    def add_node(self) -> None:
        """Start the second node."""
        self._cluster.add_node(num_cpus=1)

    def lose_node(self) -> None:
        """Kill every process of the second node."""
        (node,) = self._cluster.worker_nodes
        self._cluster.remove_node(node, allow_graceful=False)

    def stop(self) -> None:
        """End both nodes."""
        self._cluster.shutdown()


@dataclass
class Scene:
    """A search that runs, and what it runs on.

    Attributes:
        command: The search.
        adbd: Plays the phone.
        disk: The small file system with the run directory; None if none can be mounted.
        cluster: The Ray that the search joins; None if it starts its own.
    """

    command: SearchCommand
    adbd: Adbd
    disk: Path | None = None
    cluster: TwoNodes | None = None

    def start(self) -> None:
        """Start the command, or start it again."""
        self.command.start(**({} if self.cluster is None else {"RAY_ADDRESS": self.cluster.address}))

    def still_working(self) -> list[psutil.Process]:
        """Return the processes in a cluster and on the phone that work for a search."""
        actors = [] if self.cluster is None else [*named("ChildWorker"), *named("PhoneHost")]
        return [*actors, *runners(self.adbd.folder)]


def named(name: str) -> list[psutil.Process]:
    """Return the processes below this one that have this in their name."""
    return _below(lambda process: name in process.name())


def guards() -> list[psutil.Process]:
    """Return the processes that end the quiet windows."""
    return _below(lambda process: any(word.endswith("pause_guard.py") for word in process.cmdline()))


def _below(condition: Callable[[psutil.Process], bool]) -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE and condition(process):
                found.append(process)
    return found


@dataclass(frozen=True)
class Fault:
    """A way to disturb a search.

    Attributes:
        strike: Does it to a scene as soon as there is something to hit; returns when it was hit, and what.
        ends: Whether the search ends of it, and the same command must go on.
    """

    strike: Callable[[Scene, random.Random], tuple[float, str]]
    ends: bool = False


def _kill(find: Callable[[Scene], list[psutil.Process]]) -> Fault:
    def strike(scene: Scene, chance: random.Random) -> tuple[float, str]:
        process = chance.choice(_awaited(scene, lambda: find(scene)))
        return _killed(process), f"process {process.pid}"

    return Fault(strike)


def _awaited(scene: Scene, find: Callable[[], list[psutil.Process]]) -> list[psutil.Process]:
    deadline = time.monotonic() + TARGET_PATIENCE_S
    while not (found := find()):
        if time.monotonic() > deadline or scene.command.process.poll() is not None:
            raise ChaosError(f"there was nothing to hit for {TARGET_PATIENCE_S:g} s, or until the search ended")
        time.sleep(0.005)
    return found


def _killed(*processes: psutil.Process) -> float:
    at = time.time()
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # it may have ended just now
            process.kill()
    return at


def _stop_worker(scene: Scene, chance: random.Random) -> tuple[float, str]:
    while True:
        process = chance.choice(_awaited(scene, lambda: named("ChildWorker")))
        at = time.time()
        with suppress(psutil.NoSuchProcess):
            process.suspend()
            time.sleep(STOP_STAYS_S)
            if process.status() == psutil.STATUS_STOPPED:
                return at, f"process {process.pid}"


def _kill_driver(scene: Scene, chance: random.Random) -> tuple[float, str]:
    driver = scene.command.process
    return _killed(psutil.Process(driver.pid)), f"process {driver.pid}"


def _kill_driver_and_guard(scene: Scene, chance: random.Random) -> tuple[float, str]:
    """Kill both inside a quiet window, after which nothing is left that would let the workers go on."""
    driver = psutil.Process(scene.command.process.pid)
    _awaited(scene, lambda: _below(lambda one: one.status() == psutil.STATUS_STOPPED and "ChildWorker" in one.name()))
    return _killed(*guards(), driver), f"processes {driver.pid} and its guard, in a quiet window"


def _kill_all(scene: Scene, chance: random.Random) -> tuple[float, str]:
    driver = psutil.Process(scene.command.process.pid)
    everything = [driver, *driver.children(recursive=True)]
    return _killed(*everything), f"{len(everything)} processes"


def _lose_adbd(scene: Scene, chance: random.Random) -> tuple[float, str]:
    at, away_s = time.time(), chance.uniform(*AWAY_S)
    scene.adbd.kill()
    time.sleep(away_s)
    scene.adbd.restart()
    return at, f"away for {away_s:.1f} s"


def _fill_disk(scene: Scene, chance: random.Random) -> tuple[float, str]:
    """Fill the disk until the search ends of it."""
    assert scene.disk is not None
    at, file = time.time(), scene.disk / "full"
    with file.open("wb", buffering=0) as full:
        for size in (1 << 20, 1 << 12, 1):  # to the last byte
            with suppress(OSError):
                while full.write(bytes(size)):
                    pass
    megabytes = file.stat().st_size / 1e6
    try:
        await_end(scene.command)
    finally:
        file.unlink()
    return at, f"{megabytes:.0f} MB written"


def _lose_node(scene: Scene, chance: random.Random) -> tuple[float, str]:
    assert scene.cluster is not None
    at, away_s = time.time(), chance.uniform(*AWAY_S)
    scene.cluster.lose_node()
    time.sleep(away_s)
    scene.cluster.add_node()
    return at, f"away for {away_s:.1f} s"


def _lose_head(scene: Scene, chance: random.Random) -> tuple[float, str]:
    """Kill the GCS of the cluster, and start the cluster again when the search has ended of it."""
    assert scene.cluster is not None
    at = _killed(*_awaited(scene, lambda: named("gcs_server")))
    try:
        await_end(scene.command)
    finally:
        scene.cluster.stop()
        scene.cluster.start()
    return at, "the cluster is started again when the search has ended"


def await_end(command: SearchCommand) -> int:
    """Return the exit code of a search that ends."""
    try:
        return command.process.wait(END_PATIENCE_S)
    except subprocess.TimeoutExpired as error:
        raise ChaosError(f"the search did not end within {END_PATIENCE_S:g} s") from error


_ANYWHERE: Mapping[str, Fault] = {
    "worker killed": _kill(lambda scene: named("ChildWorker")),
    "worker stopped": Fault(_stop_worker),
    "driver killed": Fault(_kill_driver, ends=True),
    "adbd killed": Fault(_lose_adbd),
    "runner on the phone killed": _kill(lambda scene: list(runners(scene.adbd.folder))),
}
ON_ITS_OWN: Mapping[str, Fault] = {
    **_ANYWHERE,
    "raylet killed": _kill(lambda scene: named("raylet")),
    "GCS killed": _kill(lambda scene: named("gcs_server")),
    "guard killed": _kill(lambda scene: guards()),
    "driver and guard killed": Fault(_kill_driver_and_guard, ends=True),
    "all processes killed": Fault(_kill_all, ends=True),
    "disk filled": Fault(_fill_disk, ends=True),
}
"""The faults of a search that starts Ray itself."""
IN_A_CLUSTER: Mapping[str, Fault] = {
    **_ANYWHERE,
    "PhoneHost killed": _kill(lambda scene: named("PhoneHost")),
    "node lost": Fault(_lose_node),
    "GCS of the cluster killed": Fault(_lose_head, ends=True),
}
"""The faults of a search that joins a Ray."""


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """Mount a file system of so many 10^6 bytes at a folder for as long as the context lasts.

    Raises:
        PermissionError: This user may not mount one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise PermissionError("there is no `mount`") from error
    if mounted.returncode != 0:
        raise PermissionError(mounted.stderr.strip())
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
