"""From an architecture to its latencies, on one phone model or several.

The ONNX graph is built and submitted to the latency services, one for each phone model. Latency needs structure, not
weights: the graph carries random ones and is timed while the child still trains.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any

import ray

from latency import (
    CandidateError,
    LatencyError,
    LatencyRecord,
    LatencyService,
    PhoneBackend,
    PhoneError,
    PhoneIdentity,
    PhoneLeases,
    PhoneUnknownError,
    RetryPolicy,
    create_phones,
    user_cache,
    user_leases,
)
from latency.host.quiet import Quiet
from latency.pool.remote import phones_in_cluster
from mnas.data import ImageForm
from mnas.errors import FailureKind, TrialError
from mnas.experiment import LatencySettings
from mnas.network.onnx_graph import build_onnx
from search_space import Architecture, SpaceError


class OnnxLatencyMeter:
    """Builds architectures and times each on every phone model.

    A result is the record (`LatencyRecord.to_dict`) of the phone called `named`, with the records of the other phones
    by name under `others`. If one phone fails there is no result; what the others have measured is in the cache.
    """

    def __init__(self, services: Mapping[str, LatencyService], named: str, form: ImageForm) -> None:
        """Share the services; they stay the caller's to close.

        Args:
            services: One service for each phone model, by name.
            named: The phone whose record is the result.
            form: The form of the images; architectures are lowered for it.

        Raises:
            ValueError: `named` has no service.
        """
        if named not in services:
            raise ValueError(f"no latency service is called {named!r}; there are {', '.join(services)}")
        self._services = services
        self._named = named
        self._form = form
        # One builds; the models wait in the queues of the services, whose jobs fail together if a phone is gone.
        self._builder = ThreadPoolExecutor(1, thread_name_prefix="latency-meter")

    def submit(self, architecture: Architecture) -> Future[Mapping[str, Any]]:
        """Queue one measurement; the future raises TrialError if there is no latency."""
        result: Future[Mapping[str, Any]] = Future()
        self._builder.submit(self._build, architecture, result)
        return result

    def close(self) -> None:
        """Drop what is queued, and wait for what runs."""
        self._builder.shutdown(wait=True, cancel_futures=True)

    def _build(self, architecture: Architecture, result: Future[Mapping[str, Any]]) -> None:
        """Build the model of an architecture and submit it to every service; `result` ends with the last of them."""
        try:
            model = build_onnx(self._form.lower(architecture)).SerializeToString()
            futures = {name: service.submit(model) for name, service in self._services.items()}
        except (SpaceError, ValueError) as error:
            result.set_exception(TrialError(FailureKind.EXPORT, str(error)))
        except LatencyError as error:  # the services are closed
            result.set_exception(TrialError(FailureKind.LATENCY_TOOL, str(error)))
        except Exception as error:
            result.set_exception(error)
        else:
            waiting = Countdown(len(futures), partial(self._finish, futures, result))
            for future in futures.values():
                future.add_done_callback(waiting.count)

    def _finish(self, futures: Mapping[str, Future[LatencyRecord]], result: Future[Mapping[str, Any]]) -> None:
        """Give the result once all phones have measured or failed: what has been measured is in the cache."""
        try:
            measured = {name: _measured(future) for name, future in futures.items()}
        except Exception as error:
            result.set_exception(error)
        else:
            named = measured.pop(self._named)
            result.set_result({**named, "others": measured} if measured else named)


class Countdown:
    """Calls a function when it has been counted down by so many threads."""

    def __init__(self, count: int, then: Callable[[], None]) -> None:
        self._left = count
        self._then = then
        self._lock = threading.Lock()

    def count(self, _: object) -> None:
        """Count down by one."""
        with self._lock:
            self._left -= 1
            last = self._left == 0
        if last:
            self._then()


def _measured(future: Future[LatencyRecord]) -> dict[str, Any]:
    try:
        record = future.result()
    except CandidateError as error:
        raise TrialError(FailureKind.MODEL_REJECTED, str(error)) from error
    except PhoneError as error:
        raise TrialError(FailureKind.PHONE, str(error)) from error
    except LatencyError as error:
        raise TrialError(FailureKind.LATENCY_TOOL, str(error)) from error
    return record.to_dict()


# A machine may be busy with something else for minutes; the children of a search take as long.
PATIENT = RetryPolicy(
    retries=12, max_delay_s=20.0, quarantine_after=6, quarantine_s=20.0, max_quarantine_s=60.0, patience_s=300.0
)


@contextmanager
def open_latency_meter(
    settings: LatencySettings,
    form: ImageForm,
    quiet: Quiet,
    check_phones: Callable[[Mapping[str, Collection[PhoneIdentity]]], None] = lambda phones: None,
) -> Iterator[OnnxLatencyMeter]:
    """Open the phones of a search for as long as the context lasts.

    The phones of a name are those that this machine knows by it, and those of all hosts in the Ray cluster that were
    started with the resource `phone:NAME`. Ray must be running.

    Args:
        settings: Which phones, and how they measure.
        form: The form of the images.
        quiet: Holds back this machine's other work while it times.
        check_phones: Called with the phones that can be reached, by name, before anything is measured. What it raises
            ends the opening.

    Raises:
        PhoneUnknownError: There is no phone of a name.
    """
    leases = user_leases()
    cache = user_cache() if settings.cache else None
    with ExitStack() as stack:
        phones_by_name = {}
        for name in (settings.phone, *settings.others):
            phones_by_name[name] = find_phones(name, quiet, leases)
            for phone in phones_by_name[name]:
                stack.callback(phone.close)
        check_phones({name: _reachable(phones) for name, phones in phones_by_name.items()})
        services = {}
        for name, phones in phones_by_name.items():
            services[name] = LatencyService(phones, settings.measurement_settings(name), cache, PATIENT)
            stack.callback(services[name].close)
        meter = OnnxLatencyMeter(services, settings.phone, form)
        stack.callback(meter.close)
        # Before the meter: measurements that wait for a phone or a lease are given up.
        for service in services.values():
            stack.callback(service.close)
        stack.callback(leases.close)
        yield meter


def _reachable(phones: Sequence[PhoneBackend]) -> list[PhoneIdentity]:
    """Return who the phones are; the service deals with those that cannot be reached."""
    identities = []
    for phone in phones:
        with suppress(LatencyError):
            identities.append(phone.identify())
    return identities


def find_phones(name: str, quiet: Quiet, leases: PhoneLeases) -> list[PhoneBackend]:
    """Return the phones of a name.

    Those of this machine come first, then those of other hosts in the Ray cluster.

    Raises:
        PhoneUnknownError: There is none.
    """
    try:
        here = create_phones(name, quiet, leases)
    except PhoneUnknownError:
        elsewhere = phones_in_cluster(name)
        if not elsewhere:
            raise
        return elsewhere
    # This machine may offer its phones to the cluster too; they are the same ones.
    return here + phones_in_cluster(name, skip_nodes=[ray.get_runtime_context().get_node_id()])
