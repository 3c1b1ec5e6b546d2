"""Optuna's tree-structured Parzen estimator (TPE) with ask and tell, as a peer in benchmarks."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from controllers import Decisions

# Imported by name, so that type checkers do not need a package that only this peer uses.
optuna: Any = importlib.import_module("optuna")


class OptunaTpe:
    """TPE with Optuna's defaults; every decision is a categorical parameter."""

    def __init__(self, decision_sizes: tuple[int, ...], seed: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._sizes = decision_sizes
        self._study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
        self._outstanding: dict[Decisions, list[Any]] = {}

    def ask(self, count: int) -> list[Decisions]:
        """Return `count` proposals, which may repeat earlier ones."""
        proposals = []
        for _ in range(count):
            trial = self._study.ask()
            proposal = tuple(
                int(trial.suggest_categorical(f"decision_{decision}", range(size)))
                for decision, size in enumerate(self._sizes)
            )
            self._outstanding.setdefault(proposal, []).append(trial)
            proposals.append(proposal)
        return proposals

    def tell(self, proposals: Sequence[Decisions], rewards: Sequence[float]) -> None:
        """Report the rewards of proposals."""
        for decisions, reward in zip(proposals, rewards, strict=True):
            self._study.tell(self._outstanding[decisions].pop(), reward)
