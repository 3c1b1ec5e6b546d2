"""The Ray cluster that a search works on, and what it has for the training of children."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

from mnas.errors import ConfigurationError
from mnas.experiment import SearchSettings
from mnas.mindspore_setup import Device

RESOURCE = {"CPU": "CPU", "Ascend": "NPU"}
_QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}


@contextmanager
def ray_cluster(settings: SearchSettings) -> Iterator[None]:
    """Start Ray on this machine for as long as the context lasts, or join the cluster of `settings.ray_address`.

    A Ray that this process has initialised already is used as it is and left running.

    Raises:
        ConfigurationError: the cluster cannot be reached.
    """
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere unless the user says so
    if settings.ray_address is None:
        # Workers beyond the cores are the user's wish; Ray would let them wait for ever.
        workers = settings.workers if isinstance(settings.workers, int) else 1
        cores = max(len(os.sched_getaffinity(0)), workers)
        ray.init(address="local", num_cpus=cores, include_dashboard=False, **_QUIET)
    else:
        try:
            ray.init(address=settings.ray_address, **_QUIET)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ConfigurationError(f"search.ray_address: {settings.ray_address}: {error}") from error
    try:
        yield
    finally:
        ray.shutdown()


def worker_count(settings: SearchSettings, device: Device) -> int:
    """Return the number of workers, `auto` resolved by what the running Ray cluster has.

    Raises ConfigurationError where the cluster has no room for as many as are asked for.
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
