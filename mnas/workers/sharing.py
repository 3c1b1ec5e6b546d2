"""The fair share of a search in the devices of a Ray cluster that several searches use.

Every search on a cluster has an actor there that does nothing: its name says what the search wants. Each search reads
the names of all, and computes the same shares from them. The actors end with the searches that have started them, also
if these are killed, and their names with them.
"""

from __future__ import annotations

import logging
import math
import secrets
import time
from collections.abc import Iterator, Sequence

import msgspec
import ray

from mnas.documents.foreign_text import one_line
from mnas.mindspore_setup import Device
from mnas.workers.cluster import RESOURCE

_LOG = logging.getLogger(__name__)
# Ray's namespace of the actors.
NAMESPACE = "mnas searches"


class Claim(msgspec.Struct, frozen=True, order=True):
    """What a search wants of a cluster; its JSON is the name of the actor.

    Attributes:
        began_ns: When the search came, by the clock of its machine. The order of claims is that of their beginnings.
        key: Tells claims of the same time apart.
        run: The search, for people.
        resource: Ray's name of the devices.
        devices: The most that the search can use; None is no bound.
    """

    began_ns: int
    key: str
    run: str
    resource: str
    devices: int | None


def fair_shares(devices: int, wants: Sequence[int | None]) -> list[int]:
    """Divide the devices of a cluster among searches.

    Each search in turn gets one more until it has what it wants. So none has less than another by more than one, unless
    it wants less; what cannot be divided goes to the first.

    Args:
        devices: How many there are.
        wants: How many each search can use; None is no bound.

    >>> fair_shares(8, [None, 2, None])
    [3, 2, 3]
    """
    shares = [0] * len(wants)
    while hungry := [index for index, want in enumerate(wants) if want is None or shares[index] < want][:devices]:
        for index in hungry:
            shares[index] += 1
        devices -= len(hungry)
    return shares


class ClusterShare:
    """The share of one search, which is known to the others from here to `close`."""

    def __init__(self, run: str, device: Device, workers: int | None, workers_per_device: int) -> None:
        """Make the search known.

        Args:
            run: The name of its run directory.
            device: What its workers need.
            workers: The most workers that it wants; None takes every device.
            workers_per_device: How many workers have one device.
        """
        self._workers, self._workers_per_device = workers, workers_per_device
        self._claim = Claim(
            time.time_ns(),
            secrets.token_hex(4),
            one_line(run),
            RESOURCE[device],
            None if workers is None else math.ceil(workers / workers_per_device),
        )
        name = msgspec.json.encode(self._claim).decode()
        # A plain `object`: the node that has the actor need not have mnas.
        actor_class = ray.remote(num_cpus=0, max_restarts=-1)(object)
        self._actor = actor_class.options(name=name, namespace=NAMESPACE).remote()
        self._said: dict[Claim, int] = {}

    def most_workers(self, room: int) -> int:
        """Return how many workers the search may have now; say who has how many devices if that has changed.

        Args:
            room: How many workers it could have alone on the cluster.
        """
        devices = room // self._workers_per_device
        claims = sorted({self._claim, *_claims(self._claim.resource)})
        shares = dict(zip(claims, fair_shares(devices, [claim.devices for claim in claims]), strict=True))
        if shares != self._said and max(len(shares), len(self._said)) > 1:
            self._say(shares, devices)
        self._said = shares
        workers = shares[self._claim] * self._workers_per_device
        return workers if self._workers is None else min(workers, self._workers)

    def close(self) -> None:
        """Leave the share to the others."""
        ray.kill(self._actor)

    def _say(self, shares: dict[Claim, int], devices: int) -> None:
        all_devices = f"the cluster's {devices} {self._claim.resource}"
        if len(shares) == 1:
            _LOG.warning("mnas: %s are for this search alone again", all_devices)
            return
        each = (
            f"{claim.run}{' (this search)' if claim == self._claim else ''} {share}" for claim, share in shares.items()
        )
        _LOG.warning("mnas: %s are shared by %d searches: %s", all_devices, len(shares), one_line(", ".join(each)))


def _claims(resource: str) -> Iterator[Claim]:
    """Yield what the searches that are on the cluster now want of a resource."""
    for actor in ray.util.list_named_actors(all_namespaces=True):
        if actor["namespace"] == NAMESPACE:
            try:
                claim = msgspec.json.decode(actor["name"], type=Claim)
            except msgspec.MsgspecError:  # of another version of mnas
                continue
            if claim.resource == resource:
                yield claim
