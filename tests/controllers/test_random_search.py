from __future__ import annotations

from collections import Counter

from controllers import create_controller


def test_first_proposals_are_uniform() -> None:
    seeds = 3000
    counts = Counter(create_controller("random", (3, 1, 2), seed=seed).ask(1)[0] for seed in range(seeds))
    expected = seeds / 6
    chi_square = sum((count - expected) ** 2 / expected for count in counts.values())
    assert len(counts) == 6
    assert chi_square < 20.5  # 0.1% of fair samples exceed it at 5 degrees of freedom.


def test_rewards_do_not_change_the_proposals() -> None:
    told, untold = (create_controller("random", (4,) * 10, seed=0) for _ in range(2))
    told.tell(told.ask(20), [float(reward) for reward in range(20)])
    untold.ask(20)
    assert told.ask(20) == untold.ask(20)
