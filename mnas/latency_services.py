"""The latency side of a search: its phones found, one service for each phone model, and the meter over them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import ray

from latency import (
    LatencyService,
    LeasedPhone,
    Phone,
    PhoneError,
    PhoneLeases,
    RetryPolicy,
    create_phones,
    user_cache,
    user_leases,
)
from latency.host.quiet import Quiet
from latency.pool.remote import phones_in_cluster
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

    The phones of a name are those that this machine knows by it and those of all hosts in the Ray cluster that were
    started with the resource `phone:NAME`. Ray must be running. Raises PhoneError (`phone_unknown`) where there is no
    phone of a name.
    """
    leases = user_leases()
    cache = user_cache() if settings.cache else None
    with ExitStack() as stack:
        services = {}
        for name in (settings.phone, *settings.others):
            phones = find_phones(name, quiet, leases)
            for phone in phones:
                stack.callback(phone.close)
            services[name] = LatencyService(phones, settings.measurement_settings(name), cache, PATIENT)
            stack.callback(services[name].close)
        meter = OnnxLatencyMeter(services, settings.phone, input_form)
        stack.callback(meter.close)
        # Before the meter: what waits there for a phone or a lease is given up.
        for service in services.values():
            stack.callback(service.close)
        stack.callback(leases.close)
        yield meter


def find_phones(name: str, quiet: Quiet, leases: PhoneLeases) -> list[Phone]:
    """Return the phones of a name: those of this machine, and those of other hosts in the Ray cluster.

    Raises PhoneError (`phone_unknown`) where there is none.
    """
    try:
        here: list[Phone] = [LeasedPhone(phone, leases) for phone in create_phones(name, quiet)]
    except PhoneError as error:
        elsewhere = phones_in_cluster(name) if error.kind == "phone_unknown" else []
        if not elsewhere:
            raise
        return elsewhere
    # This machine may offer its phones to the cluster, too; they are the same ones.
    return here + phones_in_cluster(name, skip_nodes=[ray.get_runtime_context().get_node_id()])
