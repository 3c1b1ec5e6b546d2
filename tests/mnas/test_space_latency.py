import pytest

from latency import PhoneError
from mnas.data import ImageForm
from mnas.errors import ConfigurationError
from mnas.space_latency import random_architectures, time_architectures
from search_space import SearchSpace, fingerprint

SPACE = SearchSpace.load("tiny16")


def test_networks_are_different() -> None:
    found = random_architectures(SPACE, 20, seed=0)
    assert len({fingerprint(architecture) for architecture in found}) == 20


def test_a_seed_gives_the_same_networks() -> None:
    assert random_architectures(SPACE, 3, seed=1) == random_architectures(SPACE, 3, seed=1)
    assert random_architectures(SPACE, 3, seed=1) != random_architectures(SPACE, 3, seed=2)


def test_an_unknown_phone_is_refused() -> None:
    architectures = random_architectures(SPACE, 1, seed=0)
    with pytest.raises(PhoneError, match="pixel"):
        list(time_architectures(architectures, "pixel", ImageForm(16, 1, 10)))


def test_an_unknown_setting_is_refused() -> None:
    architectures = random_architectures(SPACE, 1, seed=0)
    with pytest.raises(ConfigurationError, match="session"):
        list(time_architectures(architectures, "host", ImageForm(16, 1, 10), {"session": 3}))
