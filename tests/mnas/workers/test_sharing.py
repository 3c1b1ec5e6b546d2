"""How searches divide the devices of a cluster; Ray is a list of names."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnas.workers.sharing import NAMESPACE, ClusterShare, fair_shares

WANTS = st.lists(st.none() | st.integers(0, 20), max_size=6)


@pytest.mark.parametrize(
    ("devices", "wants", "shares"),
    [
        (8, [None], [8]),
        (8, [3], [3]),
        (8, [None, None], [4, 4]),
        (8, [None, None, None], [3, 3, 2]),
        (8, [None, 1, None], [4, 1, 3]),
        (8, [2, 3], [2, 3]),
        (2, [None, None, None], [1, 1, 0]),
        (0, [None], [0]),
        (8, [], []),
    ],
)
def test_devices_are_divided(devices: int, wants: list[int | None], shares: list[int]) -> None:
    assert fair_shares(devices, wants) == shares


@given(st.integers(0, 60), WANTS)
def test_shares_are_within_the_devices_and_the_wants_and_leave_no_device_that_is_wanted(
    devices: int, wants: list[int | None]
) -> None:
    shares = fair_shares(devices, wants)
    wanted = [devices if want is None else min(want, devices) for want in wants]
    assert all(0 <= share <= want for share, want in zip(shares, wanted, strict=True))
    assert sum(shares) == min(devices, sum(wanted))


@given(st.integers(0, 60), WANTS)
def test_only_a_search_that_wants_less_has_less_than_another_by_more_than_one(
    devices: int, wants: list[int | None]
) -> None:
    shares = fair_shares(devices, wants)
    assert all(share == want or share >= max(shares) - 1 for share, want in zip(shares, wants, strict=True))


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """The named actors that there are."""
    names: list[dict[str, str]] = []

    def named(**name: str) -> Any:
        names.append(name)
        return SimpleNamespace(remote=lambda: name)

    def remote(*, num_cpus: float, max_restarts: int) -> Callable[[type], Any]:
        assert num_cpus == 0
        return lambda actor_class: SimpleNamespace(options=named)

    monkeypatch.setattr("ray.remote", remote)
    monkeypatch.setattr("ray.kill", names.remove)
    monkeypatch.setattr("ray.util.list_named_actors", lambda all_namespaces: list(names))
    return names


def test_a_search_alone_has_all_that_it_wants_and_nothing_is_said(
    names: list[dict[str, str]], caplog: pytest.LogCaptureFixture
) -> None:
    assert ClusterShare("one", "CPU", None, 1).most_workers(8) == 8
    names.clear()
    assert ClusterShare("one", "CPU", 3, 1).most_workers(8) == 3
    assert caplog.messages == []


def test_the_share_follows_the_searches_and_each_change_is_said_once(
    names: list[dict[str, str]], caplog: pytest.LogCaptureFixture
) -> None:
    first, second = ClusterShare("one", "CPU", None, 1), ClusterShare("two\n", "CPU", None, 1)
    assert [first.most_workers(5) for _ in range(2)] == [3, 3]
    third = ClusterShare("three", "CPU", 1, 1)
    assert [share.most_workers(5) for share in (second, third)] == [2, 1]
    second.close()
    third.close()
    assert [first.most_workers(5) for _ in range(2)] == [5, 5]
    assert caplog.messages == [
        "mnas: the cluster's 5 CPU are shared by 2 searches: one (this search) 3, two\\x0a 2",
        "mnas: the cluster's 5 CPU are shared by 3 searches: one 2, two\\x0a (this search) 2, three 1",
        "mnas: the cluster's 5 CPU are shared by 3 searches: one 2, two\\x0a 2, three (this search) 1",
        "mnas: the cluster's 5 CPU are for this search alone again",
    ]


def test_each_resource_is_divided_among_those_that_use_it(names: list[dict[str, str]]) -> None:
    on_cores, on_npus = ClusterShare("one", "CPU", None, 1), ClusterShare("two", "Ascend", None, 1)
    assert (on_cores.most_workers(8), on_npus.most_workers(2)) == (8, 2)


def test_workers_that_share_a_device_are_counted_by_devices(names: list[dict[str, str]]) -> None:
    doubled, single = ClusterShare("one", "Ascend", 3, 2), ClusterShare("two", "Ascend", None, 1)
    assert (doubled.most_workers(2 * 8), single.most_workers(8)) == (3, 6)
    many = ClusterShare("three", "Ascend", None, 2)
    assert (doubled.most_workers(2 * 4), single.most_workers(4), many.most_workers(2 * 4)) == (3, 1, 2)


def test_other_actors_are_no_searches(names: list[dict[str, str]]) -> None:
    share = ClusterShare("one", "CPU", None, 1)
    names += [
        {"name": names[0]["name"].replace("one", "two"), "namespace": "elsewhere"},
        {"name": "a later form", "namespace": NAMESPACE},
        {"name": '{"run": "two"}', "namespace": NAMESPACE},
    ]
    assert share.most_workers(8) == 8
