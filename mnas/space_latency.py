"""What a phone gives for the networks of a search space, so that a target latency can be chosen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from latency import LatencyRecord
from mnas.data import ImageForm
from mnas.network.onnx_graph import build_onnx
from mnas.phone import Phone
from search_space import Architecture, LoweredNetwork, SearchSpace, fingerprint

_DRAWS_PER_NETWORK = 100


def random_architectures(space: SearchSpace, count: int, seed: int) -> list[Architecture]:
    """Return up to `count` different networks of a space, drawn at random; fewer only if the space has fewer."""
    rng = np.random.default_rng(seed)
    found: dict[str, Architecture] = {}
    for _ in range(count * _DRAWS_PER_NETWORK):
        if len(found) == count:
            break
        architecture = space.decode(space.sample(rng))
        found.setdefault(fingerprint(architecture), architecture)
    return list(found.values())


def time_architectures(
    architectures: list[Architecture], phone: str, form: ImageForm, settings: Mapping[str, int | float] | None = None
) -> Iterator[LatencyRecord]:
    """Time networks on a phone, one after another, as a search does.

    Args:
        architectures: The networks.
        phone: A name given to `mnas phones add`, or `host`.
        form: The images that the networks take.
        settings: Fields of the measurement protocol to change.

    Raises:
        ConfigurationError: A setting is unknown or not allowed.
        LatencyError: The phone is unknown, or a network cannot be timed.
        SpaceError: The networks do not fit the image size.
    """
    yield from time_networks([form.lower(architecture) for architecture in architectures], phone, settings)


def time_networks(
    networks: list[LoweredNetwork], phone: str, settings: Mapping[str, int | float] | None = None
) -> Iterator[LatencyRecord]:
    """Time networks on a phone, one after another, as a search does.

    Args:
        networks: The networks.
        phone: A name given to `mnas phones add`, or `host`.
        settings: Fields of the measurement protocol to change.

    Raises:
        ConfigurationError: A setting is unknown or not allowed.
        LatencyError: The phone is unknown, or a network cannot be timed.
    """
    with Phone(phone) as opened:
        for network in networks:
            yield opened.measure(build_onnx(network), settings)
