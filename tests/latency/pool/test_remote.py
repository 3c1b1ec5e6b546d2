"""Phones on another node of a real Ray cluster of two nodes; the phones are this machine's cores."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from ray.cluster_utils import Cluster

from latency.errors import CandidateError, PhoneError, PhoneUnknownError, PhoneUnstableError, ToolError
from latency.host.phone import HostPhone
from latency.measurement.protocol import MeasurementSettings
from latency.measurement.record import LatencyRecord
from latency.phone import PhoneBackend
from latency.phones import create_phones
from latency.pool.health import RetryPolicy
from latency.pool.remote import phones_in_cluster
from latency.pool.service import LatencyService
from tests.ray_processes import processes_named

CORES = sorted(os.sched_getaffinity(0))


def a_phone_for_each_core(name: str) -> list[PhoneBackend]:
    return [HostPhone(name, core) for core in CORES]


def no_phone(name: str) -> list[PhoneBackend]:
    raise PhoneUnknownError(f"no phone is called {name!r} here")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        # Ray's own workers find this module and ours.
        patch.setenv("PYTHONPATH", os.pathsep.join((str(Path(__file__).parents[3]), str(Path(__file__).parent))))
        # Ray notices the death of a node in 2 s, not in 15.
        health = {"health_check_initial_delay_ms": 500, "health_check_period_ms": 500, "health_check_timeout_ms": 1500}
        head = {"num_cpus": 1, "include_dashboard": False, "_system_config": health}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        cluster.connect()
        yield cluster
        ray.shutdown()
        cluster.shutdown()


def desk_nodes() -> list[str]:
    return [node["NodeID"] for node in ray.nodes() if node["Alive"] and "phone:desk" in node["Resources"]]


@pytest.fixture
def node(cluster: Any) -> Any:
    """A second host, which has phones called `desk`; a fresh one if a test has killed it."""
    if not cluster.worker_nodes:
        cluster.add_node(num_cpus=1, resources={"phone:desk": 1})
    (node,) = cluster.worker_nodes
    return node


def kill_node(cluster: Any, node: Any) -> None:
    cluster.remove_node(node, allow_graceful=False)
    until(lambda: not desk_nodes())


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.1)


def actors() -> list[psutil.Process]:
    """The processes of all phone hosts."""
    return processes_named("PhoneHost")


@pytest.fixture
def desk(node: Any) -> Iterator[PhoneBackend]:
    phones = phones_in_cluster("desk", a_phone_for_each_core)
    yield phones[0]
    for phone in phones:
        phone.close()


def test_a_host_offers_all_its_phones_of_the_name(node: Any) -> None:
    phones = phones_in_cluster("desk", a_phone_for_each_core)
    identities = [phone.identify() for phone in phones]
    for phone in phones:
        phone.close()
    assert [(identity.name, identity.core) for identity in identities] == [("desk", core) for core in CORES]


def test_a_cluster_without_the_phone_has_none(cluster: Any) -> None:
    assert phones_in_cluster("nobody-has-this", a_phone_for_each_core) == []


def test_nodes_can_be_left_out(node: Any) -> None:
    assert phones_in_cluster("desk", a_phone_for_each_core, skip_nodes=desk_nodes()) == []


def test_a_remote_record_is_a_whole_record(
    desk: PhoneBackend, tiny_model: bytes, tolerant: MeasurementSettings
) -> None:
    record = desk.measure(tiny_model, tolerant)
    assert record.accepted
    assert (record.phone, record.settings) == (desk.identify(), tolerant)


def test_errors_keep_kind_stage_and_record(
    desk: PhoneBackend, failing_run_model: bytes, tiny_model: bytes, tolerant: MeasurementSettings
) -> None:
    with pytest.raises(CandidateError) as rejected:
        desk.measure(failing_run_model, tolerant)
    assert (rejected.value.kind, rejected.value.stage) == ("model_rejected", "run")
    with pytest.raises(PhoneUnstableError) as unstable:
        desk.measure(tiny_model, replace(tolerant, relative_mad_limit=0.0, runs=200, max_attempts=1))
    assert unstable.value.kind == "phone_unstable"
    assert isinstance(unstable.value.record, LatencyRecord)


def test_what_a_host_says_of_its_phones_is_heard(node: Any) -> None:
    with pytest.raises(PhoneError, match="'desk' here") as caught:
        phones_in_cluster("desk", no_phone)
    assert caught.value.kind == "phone_unknown"


def a_faulty_maker(name: str) -> list[PhoneBackend]:
    raise ZeroDivisionError("a bug")


def test_an_error_that_nobody_foresaw_is_not_taken_for_a_host_that_is_gone(node: Any) -> None:
    with pytest.raises(ToolError, match="ZeroDivisionError: a bug") as caught:
        phones_in_cluster("desk", a_faulty_maker)
    assert caught.value.kind == "internal"


def test_closed_phones_leave_no_actor_behind(node: Any) -> None:
    for phone in phones_in_cluster("desk", a_phone_for_each_core):
        phone.identify()
        phone.close()
        phone.close()
    until(lambda: not actors())


def measuring(phone: PhoneBackend, model: bytes, settings: MeasurementSettings) -> Future[LatencyRecord]:
    """Start a measurement of 20 s, and return when it is under way."""
    phone.measure(model, settings)
    executor = ThreadPoolExecutor(1)
    future = executor.submit(phone.measure, model, replace(settings, warmup_min_ms=20_000.0))
    executor.shutdown(wait=False)
    time.sleep(1.0)
    assert not future.done()
    return future


def test_a_host_that_dies_in_a_measurement_is_a_phone_error_and_its_return_is_noticed(
    cluster: Any, node: Any, desk: PhoneBackend, tiny_model: bytes, tolerant: MeasurementSettings
) -> None:
    future = measuring(desk, tiny_model, tolerant)
    kill_node(cluster, node)
    with pytest.raises(PhoneError) as while_measuring:
        future.result(60)
    with pytest.raises(PhoneError, match="not in the cluster") as afterwards:
        desk.identify()
    assert while_measuring.value.kind == afterwards.value.kind == "phone_host_gone"
    cluster.add_node(num_cpus=1, resources={"phone:desk": 1})
    assert desk.measure(tiny_model, tolerant).accepted


def test_a_killed_actor_is_a_phone_error_and_is_replaced(
    desk: PhoneBackend, tiny_model: bytes, tolerant: MeasurementSettings
) -> None:
    future = measuring(desk, tiny_model, tolerant)
    (actor,) = actors()
    actor.kill()
    with pytest.raises(PhoneError) as caught:
        future.result(60)
    assert caught.value.kind == "phone_host_gone"
    assert desk.measure(tiny_model, tolerant).accepted


def test_no_measurement_is_lost_with_a_host(
    cluster: Any, node: Any, desk: PhoneBackend, tiny_model: bytes, tolerant: MeasurementSettings
) -> None:
    here = HostPhone("desk")
    retry = RetryPolicy(first_delay_s=0.1, quarantine_after=2)
    with LatencyService([here, desk], replace(tolerant, warmup_min_ms=300.0), retry=retry) as service:
        futures = [service.submit(tiny_model) for _ in range(20)]
        until(lambda: min(status.measured for status in service.status()) >= 1)
        cluster.remove_node(node, allow_graceful=False)
        assert all(future.result(120).accepted for future in futures)
        assert service.status()[1].failures >= 1
    here.close()


def test_the_phones_of_a_host_are_leased_there(
    tiny_model: bytes, tolerant: MeasurementSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    (phone,) = create_phones("host")
    record = phone.measure(tiny_model, tolerant)
    phone.close()
    assert (tmp_path / "mnas" / "leases" / f"{record.phone.serial}.json").is_file()
