"""The Ray cluster that a search works on, and its resources for the training of children."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Protocol

import psutil
import ray
from ray.exceptions import RayError

from mnas.errors import ClusterError, ClusterLostError, ConfigurationError
from mnas.experiment import SearchSettings
from mnas.mindspore_setup import Device
from mnas.signals import signals_held_back
from mnas.workers.join import check_address
from mnas.workers.ray_text import check_ray_text
from mnas.workers.surroundings import check_open_files, provide_token, session_folder

RESOURCE: Mapping[Device, str] = {"CPU": "CPU", "Ascend": "NPU"}
"""The name of a device in Ray's resources."""

LOG_OPTIONS: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
# The processes without which nothing of a local Ray works.
VITAL_PROCESSES = frozenset({"gcs_server", "raylet"})
# A cluster that is not ours may be restarted, or a network be down; Ray itself ends this process after 60 s.
WATCH_PERIOD_S, WATCH_PATIENCE_S, WATCH_CONNECT_S = 2.0, 15.0, 3.0
# How often it is looked whether the cluster is lost while workers end.
LEAVE_PERIOD_S = 0.1
# How often signals are held back again while Ray ends.
HOLD_PERIOD_S = 0.001


class Workers(Protocol):
    """Actors of Ray that are ended together."""

    def close(self) -> None:
        """End them and give back what they hold."""
        ...

    def give_up(self) -> None:
        """Leave them to a Ray that is gone."""
        ...


class Cluster:
    """A Ray that runs.

    Attributes:
        ours: Whether it was started here, and can be started again.
    """

    def __init__(self, missing: Callable[[], str | None], *, ours: bool) -> None:
        """Watch a cluster.

        Args:
            missing: Returns what of the cluster is gone, None while it is all there.
            ours: See the attribute.
        """
        self._missing = missing
        self.ours = ours

    def is_lost(self) -> bool:
        """Return whether a vital part of the cluster is gone."""
        return self._missing() is not None

    def check(self) -> None:
        """Raise ClusterLostError if a vital part of the cluster is gone."""
        if (gone := self._missing()) is not None:
            raise ClusterLostError(gone, restartable=self.ours)

    def leave(self, workers: Workers) -> None:
        """End workers, or give them up if the cluster is lost, even if that happens only now.

        A signal to a group of processes (`timeout`, a batch system) ends a Ray of our own a moment after it has come
        here, and Ray's calls wait a minute for a cluster that is gone; then Ray ends this process.
        """

        def close() -> None:
            with suppress(RayError):
                workers.close()

        closing = threading.Thread(target=close, name="close", daemon=True)
        if not self.is_lost():
            closing.start()
        while closing.is_alive() and not self.is_lost():
            closing.join(LEAVE_PERIOD_S)
        if self.is_lost():
            workers.give_up()


@contextmanager
def ray_cluster(settings: SearchSettings) -> Iterator[Cluster]:
    """Start Ray on this machine until the context ends, or join the cluster of `settings.ray_address`.

    A Ray that this process has initialised already is used as it is and left running.

    Raises:
        ClusterError: Ray cannot be started on this machine.
        ConfigurationError: The cluster cannot be reached.
    """
    with ExitStack() as stack:
        ours = settings.ray_address is None and not ray.is_initialized()
        started: list[psutil.Process] = []
        if not ray.is_initialized():
            check_ray_text()
            # Ray sends no statistics unless the user has set this.
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            check_open_files()
            if settings.ray_address is None:
                folder = stack.enter_context(session_folder())
                stack.callback(_end, started)
                stack.callback(_shut_down)
                _start(settings, folder, started)
            else:
                check_address(settings.ray_address)
                stack.callback(_shut_down)
                _join(settings.ray_address)
        if ours:
            watch = _processes_gone([process for process in started if _name(process) in VITAL_PROCESSES])
        else:
            ports = _PortWatch(_vital_ports())
            stack.callback(ports.close)
            watch = ports.missing
        yield Cluster(watch, ours=ours)


def _start(settings: SearchSettings, folder: os.PathLike[str] | None, started: list[psutil.Process]) -> None:
    """Start Ray on this machine; its processes are added to `started`, also if it fails half-way."""
    # The user may want more workers than cores; Ray would let the surplus ones wait for ever.
    workers = settings.workers if isinstance(settings.workers, int) else 1
    cores = max(len(os.sched_getaffinity(0)), workers)
    provide_token()
    before = set(psutil.Process().children(recursive=True))
    place = {} if folder is None else {"_temp_dir": os.fspath(folder)}
    try:
        _init(address="local", num_cpus=cores, include_dashboard=False, **place)
    except (OSError, RuntimeError, ValueError, RayError) as error:
        raise ClusterError(
            f"Ray cannot be started on this machine: {_first_line(error)}; its logs are in session_latest of /tmp/ray, "
            "or of the folder ray in RAY_TMPDIR or TMPDIR"
        ) from error
    finally:
        started += [process for process in psutil.Process().children(recursive=True) if process not in before]


def _join(address: str) -> None:
    try:
        _init(address=address)
    except (OSError, RuntimeError, ValueError, RayError) as error:
        raise ConfigurationError(f"search.ray_address: {address}: {_first_line(error)}") from error


def _init(**options: Any) -> None:
    """Start or join Ray as one step; it installs a handler of SIGTERM that exits without a word, which is undone."""
    with signals_held_back() as held:
        try:
            ray.init(**options, **LOG_OPTIONS)
        except SystemExit:  # that handler's, during the start
            held.arrived.append(signal.SIGTERM)


def _shut_down() -> None:
    """Leave Ray as one step; early in it, Ray's logging gives SIGTERM back its default action, which ends a process."""
    with signals_held_back() as held, ThreadPoolExecutor(1, thread_name_prefix="ray-shutdown") as thread:
        ended = thread.submit(ray.shutdown)
        while not ended.done():
            held.hold()
            wait([ended], HOLD_PERIOD_S)
        ended.result()


def _end(processes: Iterable[psutil.Process]) -> None:
    """End what is left of a Ray: the agents of a raylet stay for a while if the GCS ended before them."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _processes_gone(processes: list[psutil.Process]) -> Callable[[], str | None]:
    names = {process: _name(process) for process in processes}

    def missing() -> str | None:
        gone = [name for process, name in names.items() if not _runs(process)]
        return f"Ray's {' and '.join(sorted(gone))} ended unexpectedly" if gone else None

    return missing


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.NoSuchProcess:
        return ""


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _vital_ports() -> dict[str, tuple[str, int]]:
    """Return where the cluster's head and the raylet of this process listen, by name."""
    context = ray.get_runtime_context()
    host, _, port = context.gcs_address.rpartition(":")
    node = next(node for node in ray.nodes() if node["NodeID"] == context.get_node_id())
    return {
        "head (GCS)": (host.strip("[]"), int(port)),
        "raylet": (node["NodeManagerAddress"], int(node["NodeManagerPort"])),
    }


class _PortWatch:
    """Knows, from a thread of its own, which ports have not answered for a while."""

    def __init__(
        self,
        ports: Mapping[str, tuple[str, int]],
        period_s: float = WATCH_PERIOD_S,
        patience_s: float = WATCH_PATIENCE_S,
    ) -> None:
        self._ports = ports
        self._period_s, self._patience_s = period_s, patience_s
        self._closing = threading.Event()
        self._gone: str | None = None
        threading.Thread(target=self._watch, name="ray-watch", daemon=True).start()

    def missing(self) -> str | None:
        return self._gone

    def close(self) -> None:
        self._closing.set()

    def _watch(self) -> None:
        answered_s = dict.fromkeys(self._ports, time.monotonic())
        while self._gone is None and not self._closing.wait(self._period_s):
            for name, place in self._ports.items():
                try:
                    socket.create_connection(place, WATCH_CONNECT_S).close()
                except OSError as error:
                    if time.monotonic() - answered_s[name] >= self._patience_s:
                        self._gone = f"Ray's {name} at {place[0]}:{place[1]} does not answer any more ({error})"
                else:
                    answered_s[name] = time.monotonic()


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def worker_count(settings: SearchSettings, device: Device) -> int:
    """Return the number of workers at first; `auto` is as many as the running Ray cluster has room for.

    Raises:
        ConfigurationError: The cluster has no room for as many workers as the settings ask for.
    """
    resource = RESOURCE[device]
    found = int(ray.cluster_resources().get(resource, 0))
    room = found * (settings.workers_per_npu if device == "Ascend" else 1)
    wanted = room if settings.workers == "auto" else settings.workers
    if wanted > room or wanted < 1:
        raise ConfigurationError(
            f"search.workers: {settings.workers} workers on device {device}, {settings.workers_per_npu} to a "
            f"{resource} resource; Ray has {found} of those. Lower search.workers, choose another device, or join a "
            "cluster with search.ray_address"
        )
    return wanted
