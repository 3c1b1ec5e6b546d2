from __future__ import annotations

import pytest

from latency import PhoneError, create_phone


def test_the_host_is_a_phone() -> None:
    phone = create_phone("host")
    try:
        identity = phone.identify()
    finally:
        phone.close()
    assert (identity.name, identity.kind, identity.engine) == ("host", "host", "onnxruntime")


def test_an_unknown_phone_is_refused_with_the_known_ones() -> None:
    with pytest.raises(PhoneError, match=r"'pixel'; known: host \(this machine\)") as caught:
        create_phone("pixel")
    assert caught.value.kind == "phone_unknown"
