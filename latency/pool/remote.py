"""Phones on other hosts of a Ray cluster.

An actor on each host opens its phones and measures for the search.

A host joins with its phones as Ray resources, and must have the same versions of Python, Ray and mnas:

    ray start --address=HEAD:6379 --resources='{"phone:pixel6": 1}'

What the phones need (profiles, keys, leases) is looked up on their own host.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from contextlib import ExitStack, suppress
from typing import Any, TypeVar

from latency.errors import LatencyError, PhoneError, PhoneTimeoutError, PhoneUnknownError, ToolError
from latency.measurement.protocol import MeasurementSettings
from latency.measurement.record import LatencyRecord, PhoneIdentity
from latency.phone import PhoneBackend
from latency.phones import create_phones

_Result = TypeVar("_Result")
MakePhones = Callable[[str], list[PhoneBackend]]

OPEN_TIMEOUT_S = 120.0
CLOSE_TIMEOUT_S = 10.0
# How long a measurement may wait before it begins: for leases, for a push of the runtime.
WAITING_TIMEOUT_S = 1800.0
# Calls that one host serves at a time; each of its phones has one at most.
CALLS_AT_A_TIME = 32


def phones_in_cluster(
    name: str, make_phones: MakePhones = create_phones, skip_nodes: Collection[str] = ()
) -> list[PhoneBackend]:
    """Return the phones of that name on all hosts of the Ray cluster, by host.

    It is the cluster that this process has joined.

    A host offers them by the resource `phone:NAME`.

    Args:
        name: The name of the phones.
        make_phones: Opens the phones on their host; must be picklable.
        skip_nodes: Ids of Ray nodes to leave out.

    Raises:
        PhoneError: `phone_host_gone`: a host does not answer. What opening the phones raises.
    """
    addresses = sorted({node["NodeManagerAddress"] for node in _nodes_with(name) if node["NodeID"] not in skip_nodes})
    phones: list[PhoneBackend] = []
    with ExitStack() as opened:
        for address in addresses:
            host = _RemoteHost(name, address, make_phones)
            opened.callback(host.end)
            phones += [RemotePhone(host, index) for index in range(host.open())]
        opened.pop_all()  # All are ended only if one of them fails.
    return phones


class RemotePhone:
    """A phone on another host; see `PhoneBackend`.

    While its host or the actor there is gone, calls raise PhoneError (`phone_host_gone`). Every later call looks
    whether the host is back and starts a fresh actor on it.
    """

    def __init__(self, host: _RemoteHost, index: int) -> None:
        self.name = host.phone_name
        self._host = host
        self._index = index

    def identify(self) -> PhoneIdentity:
        """See `PhoneBackend`."""
        identity: PhoneIdentity = self._host.ask("identify", self._index, timeout_s=OPEN_TIMEOUT_S)
        return identity

    def measure(self, model: bytes, settings: MeasurementSettings) -> LatencyRecord:
        """See `PhoneBackend`."""
        # The phone keeps its own, shorter limits; this one is for a host that does not answer.
        attempt_s = settings.load_timeout_s + settings.window_timeout_s + settings.cooldown_s
        attempts = settings.sessions + settings.max_attempts
        timeout_s = WAITING_TIMEOUT_S + settings.thermal_timeout_s + attempts * attempt_s
        record: LatencyRecord = self._host.ask("measure", self._index, model, settings, timeout_s=timeout_s)
        return record

    def close(self) -> None:
        """See `PhoneBackend`."""
        self._host.close_phone(self._index)


class PhoneHost:
    """The actor on a host with phones.

    Errors of the phones come back as values, complete.
    """

    def __init__(self, name: str, make_phones: MakePhones) -> None:
        self._name = name
        self._make_phones = make_phones
        self._lock = threading.Lock()
        self._phones: list[PhoneBackend] | None = None

    def count(self) -> int | LatencyError:
        """Return how many phones of the name there are here."""
        return _answer(lambda: len(self._opened()))

    def identify(self, index: int) -> PhoneIdentity | LatencyError:
        """Return who a phone is."""
        return _answer(lambda: self._phone(index).identify())

    def measure(self, index: int, model: bytes, settings: MeasurementSettings) -> LatencyRecord | LatencyError:
        """Time a model on a phone."""
        return _answer(lambda: self._phone(index).measure(model, settings))

    def close(self, index: int) -> LatencyError | None:
        """Release a phone."""
        return _answer(lambda: self._phone(index).close())

    def _opened(self) -> list[PhoneBackend]:
        with self._lock:
            if self._phones is None:
                self._phones = self._make_phones(self._name)
            return self._phones

    def _phone(self, index: int) -> PhoneBackend:
        phones = self._opened()
        if index >= len(phones):
            raise PhoneUnknownError(
                f"this host now has {len(phones)} phones called {self._name!r}; start the search again"
            )
        return phones[index]


def _answer(function: Callable[[], _Result]) -> _Result | LatencyError:
    """Return the result, or the error as a value: raised, Ray would wrap it."""
    try:
        return function()
    except LatencyError as error:
        return error


class _RemoteHost:
    """The actor of one host as seen from the search; safe to share between threads."""

    def __init__(self, phone_name: str, address: str, make_phones: MakePhones) -> None:
        self.phone_name = phone_name
        self._address = address
        self._make_phones = make_phones
        self._lock = threading.Lock()
        self._actor: Any = None
        self._open: set[int] = set()

    def open(self) -> int:
        """Start the actor, and return how many phones its host has."""
        count: int = self.ask("count", timeout_s=OPEN_TIMEOUT_S)
        self._open = set(range(count))
        return count

    def ask(self, method: str, *arguments: object, timeout_s: float) -> Any:
        """Return the answer of the host's actor, which is started if there is none.

        An actor that does not answer in time is ended, with what it does for its other phones.

        Raises:
            LatencyError: What the phone raises.
            PhoneError: `phone_host_gone`, `timeout`.
            ToolError: `internal`: an error that nobody foresaw.
        """
        import ray
        from ray.exceptions import GetTimeoutError, RayError, RayTaskError

        actor = self._running_actor()
        try:
            answer = ray.get(getattr(actor, method).remote(*arguments), timeout=timeout_s)
        except GetTimeoutError as error:
            self._end(actor)
            raise PhoneTimeoutError(
                f"host {self._address} did not answer {method!r} for phone {self.phone_name!r} within {timeout_s:g} s; "
                "check whether it runs",
            ) from error
        except RayTaskError as error:
            last_line = str(error).strip().splitlines()[-1]
            raise ToolError("internal", f"host {self._address}, {method!r}: unexpected {last_line}") from error
        except RayError as error:
            self._end(actor)
            raise self._gone(str(error).strip().splitlines()[-1]) from error
        if isinstance(answer, LatencyError):
            raise answer
        return answer

    def close_phone(self, index: int) -> None:
        """Release a phone; the actor ends with the last one."""
        if index not in self._open:
            return
        self._open.remove(index)
        if self._actor is not None:
            with suppress(LatencyError):  # What cannot be closed ends with the actor.
                self.ask("close", index, timeout_s=CLOSE_TIMEOUT_S)
        if not self._open:
            self.end()

    def end(self) -> None:
        """End the actor, if there is one."""
        if (actor := self._actor) is not None:
            self._end(actor)

    def _running_actor(self) -> Any:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        with self._lock:
            if self._actor is None:
                node = next(
                    (node for node in _nodes_with(self.phone_name) if node["NodeManagerAddress"] == self._address), None
                )
                if node is None:
                    raise self._gone("it is not in the cluster")
                pinned = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                actor_class = ray.remote(num_cpus=0, max_concurrency=CALLS_AT_A_TIME)(PhoneHost)
                self._actor = actor_class.options(scheduling_strategy=pinned).remote(self.phone_name, self._make_phones)
            return self._actor

    def _end(self, actor: Any) -> None:
        """Give this actor up; another thread may have replaced it already."""
        import ray

        with self._lock:
            if self._actor is actor:
                self._actor = None
        ray.kill(actor)

    def _gone(self, reason: str) -> PhoneError:
        return PhoneError(
            "phone_host_gone",
            f"host {self._address} with phone {self.phone_name!r} is gone: {reason}. Bring it back with `ray start "
            f"--address=HEAD:6379 --resources='{{\"phone:{self.phone_name}\": 1}}'`",
        )


def _nodes_with(name: str) -> list[dict[str, Any]]:
    import ray

    return [node for node in ray.nodes() if node["Alive"] and f"phone:{name}" in node["Resources"]]
