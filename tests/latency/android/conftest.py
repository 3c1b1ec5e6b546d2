from __future__ import annotations

from collections.abc import Iterator

import pytest

from latency.android.phone import AdbPhone
from latency.loopback.adbd import Adbd
from latency.loopback.phone import phone_profile


@pytest.fixture
def phone(adbd: Adbd) -> Iterator[AdbPhone]:
    phone = AdbPhone(*phone_profile(adbd))
    yield phone
    phone.close()
