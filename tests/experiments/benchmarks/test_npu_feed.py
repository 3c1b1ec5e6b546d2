import time

import pytest

from experiments.benchmarks.npu_feed import StandInDevice, cores_needed

STEP_S = 0.02


def test_an_asynchronous_step_is_waited_for_when_its_loss_is_read() -> None:
    device = StandInDevice(STEP_S, asynchronous=True)
    start = time.perf_counter()
    losses = [device() for _ in range(3)]
    assert device.waited_s == 0
    losses[-1].asnumpy()
    assert time.perf_counter() - start >= 3 * STEP_S
    assert 0 < device.waited_s <= 3 * STEP_S


def test_a_synchronous_step_is_waited_for_at_once() -> None:
    device = StandInDevice(STEP_S, asynchronous=False)
    start = time.perf_counter()
    device().asnumpy()
    assert time.perf_counter() - start >= STEP_S
    assert device.waited_s > 0


def test_eight_cards_need_the_cores_of_their_images() -> None:
    assert cores_needed(500.0) == pytest.approx({1: 11_663 / 8 / 500, 8: 11_663 / 500})
