from __future__ import annotations

import os

import pytest

from latency import PhoneError, create_phones


def test_the_host_is_a_phone() -> None:
    phone = create_phones("host")[0]
    try:
        identity = phone.identify()
    finally:
        phone.close()
    assert (identity.name, identity.kind, identity.engine) == ("host", "host", "onnxruntime")


def test_a_core_of_the_host_is_a_phone() -> None:
    core = min(os.sched_getaffinity(0))
    phone = create_phones(f"host:{core}")[0]
    try:
        identity = phone.identify()
    finally:
        phone.close()
    assert (identity.name, identity.core) == (f"host:{core}", core)


@pytest.mark.parametrize("name", ["host:100000", "host:", "host:big", "host:-1", "pixel:0"])
def test_what_is_no_core_of_the_host_is_refused(name: str) -> None:
    with pytest.raises(PhoneError, match=name) as caught:
        create_phones(name)
    assert caught.value.kind == "phone_unknown"


def test_an_unknown_phone_is_refused_with_the_known_ones() -> None:
    with pytest.raises(PhoneError, match=r"'pixel'; known: host \(this machine\)") as caught:
        create_phones("pixel")
    assert caught.value.kind == "phone_unknown"
