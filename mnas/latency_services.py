"""The latency side of a search: its phones found, one service for each phone model, and the meter over them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from latency import LatencyService, LeasedPhone, Phone, PhoneLeases, RetryPolicy, create_phone, user_cache, user_leases
from latency.host import Quiet
from mnas.experiment import LatencySettings
from mnas.latency_meter import OnnxLatencyMeter

# A machine may be busy with something else for minutes; the children of a search take as long.
PATIENT = RetryPolicy(
    retries=12, max_delay_s=20.0, quarantine_after=6, quarantine_s=20.0, max_quarantine_s=60.0, patience_s=300.0
)


@contextmanager
def open_latency_meter(
    settings: LatencySettings, input_form: Mapping[str, int], quiet: Quiet
) -> Iterator[OnnxLatencyMeter]:
    """Open the phones of a search for as long as the context lasts; `quiet` holds this machine's other work back.

    Raises PhoneError (`phone_unknown`) where there is no phone of a name.
    """
    leases = user_leases()
    cache = user_cache() if settings.cache else None
    with ExitStack() as stack:
        services = {}
        for name in (settings.phone, *settings.others):
            phones = _find_phones(name, quiet, leases)
            for phone in phones:
                stack.callback(phone.close)
            services[name] = LatencyService(phones, settings.measurement_settings(), cache, PATIENT)
            stack.callback(services[name].close)
        meter = OnnxLatencyMeter(services, settings.phone, input_form)
        stack.callback(meter.close)
        # Before the meter: what waits there for a phone or a lease is given up.
        for service in services.values():
            stack.callback(service.close)
        stack.callback(leases.close)
        yield meter


def _find_phones(name: str, quiet: Quiet, leases: PhoneLeases) -> list[Phone]:
    return [LeasedPhone(create_phone(name, quiet), leases)]
