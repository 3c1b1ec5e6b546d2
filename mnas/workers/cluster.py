"""The Ray cluster that a search works on, and its resources for the training of children."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import ray

from mnas.errors import ConfigurationError
from mnas.experiment import SearchSettings
from mnas.mindspore_setup import Device
from mnas.workers.ray_text import check_ray_text

RESOURCE: Mapping[Device, str] = {"CPU": "CPU", "Ascend": "NPU"}
"""The name of a device in Ray's resources."""

LOG_OPTIONS: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}


@contextmanager
def ray_cluster(settings: SearchSettings) -> Iterator[None]:
    """Start Ray on this machine until the context ends, or join the cluster of `settings.ray_address`.

    A Ray that this process has initialised already is used as it is and left running.

    Raises:
        ConfigurationError: The cluster cannot be reached.
    """
    if ray.is_initialized():
        yield
        return
    check_ray_text()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray sends no statistics unless the user has set this
    on_termination = signal.getsignal(signal.SIGTERM)
    if settings.ray_address is None:
        # The user may want more workers than cores; Ray would let the surplus ones wait for ever.
        workers = settings.workers if isinstance(settings.workers, int) else 1
        cores = max(len(os.sched_getaffinity(0)), workers)
        ray.init(address="local", num_cpus=cores, include_dashboard=False, **LOG_OPTIONS)
    else:
        try:
            ray.init(address=settings.ray_address, **LOG_OPTIONS)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ConfigurationError(f"search.ray_address: {settings.ray_address}: {error}") from error
    if on_termination is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, on_termination)  # Ray has replaced it by one that exits without a word
    try:
        yield
    finally:
        ray.shutdown()


def worker_count(settings: SearchSettings, device: Device) -> int:
    """Return the number of workers; `auto` is as many as the running Ray cluster has room for.

    Raises:
        ConfigurationError: The cluster has no room for as many workers as the settings ask for.
    """
    resource = RESOURCE[device]
    found = int(ray.cluster_resources().get(resource, 0))
    room = found * settings.workers_per_npu
    wanted = room if settings.workers == "auto" else settings.workers
    if wanted > room or wanted < 1:
        raise ConfigurationError(
            f"search.workers: {settings.workers} workers on device {device}, {settings.workers_per_npu} to a "
            f"{resource} resource; Ray has {found} of those. Lower search.workers, choose another device, or join a "
            "cluster with search.ray_address"
        )
    return wanted
