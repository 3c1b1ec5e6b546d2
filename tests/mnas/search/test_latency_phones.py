"""How a search finds its phones, in a real Ray cluster of two nodes that both offer this machine as a phone."""

import os
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from latency import PhoneBackend, PhoneError, PhoneLeases
from latency.host.phone import HostPhone
from latency.pool.remote import RemotePhone
from mnas.data import ImageForm
from mnas.experiment import LatencySettings, OtherPhone
from mnas.search.latency import find_phones, open_latency_meter
from search_space import Architecture, parse_block
from tests.ray_processes import processes_named

CORES = sorted(os.sched_getaffinity(0))


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))  # Ray's own workers find mnas.
        head = {"num_cpus": 1, "include_dashboard": False, "resources": {"phone:host": 1}}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        cluster.add_node(num_cpus=1, resources={"phone:host": 1, f"phone:host:{CORES[0]}": 1})
        cluster.connect()
        yield
        ray.shutdown()
        cluster.shutdown()


def found(name: str, folder: Path) -> list[PhoneBackend]:
    return find_phones(name, nullcontext, PhoneLeases(folder))


@pytest.mark.usefixtures("cluster")
def test_the_phones_here_come_first_and_are_not_found_again_in_the_cluster(tmp_path: Path) -> None:
    phones = found("host", tmp_path)
    for phone in phones:
        phone.close()
    assert [type(phone) for phone in phones] == [HostPhone, RemotePhone]


@pytest.mark.usefixtures("cluster")
def test_a_phone_that_nobody_has_is_unknown(tmp_path: Path) -> None:
    with pytest.raises(PhoneError, match="'galaxy'") as caught:
        found("galaxy", tmp_path)
    assert caught.value.kind == "phone_unknown"


@pytest.mark.usefixtures("cluster")
@pytest.mark.skipif(len(CORES) < 2, reason="needs a core that this process can do without")
def test_a_phone_that_only_another_host_knows_is_found_there(tmp_path: Path) -> None:
    os.sched_setaffinity(0, CORES[1:])  # From now on the first core is a phone that this process does not know.
    try:
        (phone,) = found(f"host:{CORES[0]}", tmp_path)
        identity = phone.identify()
        phone.close()
    finally:
        os.sched_setaffinity(0, CORES)
    assert isinstance(phone, RemotePhone)
    assert identity.core == CORES[0]


@pytest.mark.usefixtures("cluster")
def test_the_meter_has_every_phone_model_and_leaves_nothing_behind() -> None:
    other = f"host:{CORES[0]}"
    tolerant = {"warmup_min_ms": 0.0, "contention_limit": 10.0, "relative_mad_limit": 1.0, "switches_per_s_limit": 1e6}
    tolerant |= {"others_busy_limit": 1e3, "drift_limit": 1e3, "calibration_s": 0.0}
    settings = LatencySettings(target_ms=1.0, others={other: OtherPhone(target_ms=1.0)}, measurement=tolerant)
    architecture = Architecture((parse_block("r1_k3_s22_e3_i8_o16"),), stem_filters=8, head_filters=16)
    form = ImageForm(image_size=16, channels=1, num_classes=10)
    with open_latency_meter(settings, form, nullcontext) as meter:
        result = meter.submit(architecture).result(120)
    assert (result["phone"]["name"], list(result["others"])) == ("host", [other])
    deadline = time.monotonic() + 30
    while left := processes_named("PhoneHost"):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
