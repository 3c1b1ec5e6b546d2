"""The table of strategies, and controllers made from a name and hyper-parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from controllers.controller import Controller, ControllerError, check_decision_sizes, check_seed
from controllers.hyperparameters import Hyperparameter, build_hyperparameters, describe_hyperparameters
from controllers.local_search import LocalSearch, LocalSearchHyperparameters
from controllers.ppo import PRESETS, Ppo, PpoHyperparameters
from controllers.random_search import RandomHyperparameters, RandomSearch
from controllers.regularized_evolution import EvolutionHyperparameters, RegularizedEvolution
from controllers.reinforce import Reinforce, ReinforceHyperparameters
from mnas.documents.errors import DocumentError
from mnas.documents.names import did_you_mean
from mnas.documents.own_parts import load_own_part

_METHODS = ("ask", "tell", "state", "restore")


@dataclass(frozen=True)
class Strategy:
    """A search strategy: its description and how its controller is made.

    Attributes:
        name: Name by which users choose it.
        summary: One line that says what it does.
        controller: Class, called with decision sizes, seed and hyper-parameters.
        hyperparameters: Dataclass of the hyper-parameters.
        presets: Named changes to the defaults of the hyper-parameters; the first is used if none is named.
    """

    name: str
    summary: str
    controller: Callable[[tuple[int, ...], int, Any], Controller]
    hyperparameters: type[Any]
    presets: Mapping[str, Mapping[str, object]] = field(default_factory=dict)

    def described_hyperparameters(self) -> tuple[Hyperparameter, ...]:
        """Return what users may set: the preset if there are any, then each hyper-parameter."""
        described = describe_hyperparameters(self.hyperparameters)
        if not self.presets:
            return described
        texts = [
            f"{name} ({', '.join(f'{key}={value}' for key, value in changes.items()) or 'the defaults below'})"
            for name, changes in self.presets.items()
        ]
        default = next(iter(self.presets))
        return (Hyperparameter("preset", default, "; ".join(texts), " or ".join(self.presets)), *described)

    def create(self, decision_sizes: tuple[int, ...], seed: int, values: Mapping[str, object]) -> Controller:
        """Return a new controller with `values` in place of the preset's hyper-parameters.

        Raises:
            ControllerError: A hyper-parameter is unknown or a value is not allowed.
        """
        chosen = dict(values)
        if self.presets:
            preset = chosen.pop("preset", next(iter(self.presets)))
            chosen = {**self._changes(preset), **chosen}
        also_allowed = ["preset"] if self.presets else []
        hyperparameters = build_hyperparameters(self.name, self.hyperparameters, chosen, also_allowed)
        return self.controller(decision_sizes, seed, hyperparameters)

    def _changes(self, preset: object) -> Mapping[str, object]:
        if not isinstance(preset, str) or preset not in self.presets:
            raise ControllerError(
                f"preset of controller {self.name!r} is {preset!r}{did_you_mean(str(preset), self.presets)}; "
                f"it must be {' or '.join(self.presets)}"
            )
        return self.presets[preset]


STRATEGIES: Mapping[str, Strategy] = MappingProxyType(
    {
        strategy.name: strategy
        for strategy in (
            Strategy("random", "uniform sampling without replacement", RandomSearch, RandomHyperparameters),
            Strategy(
                "local_search",
                "climbing from neighbour to better neighbour, with random restarts",
                LocalSearch,
                LocalSearchHyperparameters,
            ),
            Strategy(
                "regularized_evolution",
                "mutation of good members of a population that loses its oldest",
                RegularizedEvolution,
                EvolutionHyperparameters,
            ),
            Strategy(
                "reinforce",
                "RNN controller trained by the plain policy gradient",
                Reinforce,
                ReinforceHyperparameters,
            ),
            Strategy(
                "ppo",
                "RNN controller trained by proximal policy optimization, with neighbours chosen by a surrogate",
                Ppo,
                PpoHyperparameters,
                PRESETS,
            ),
        )
    }
)
"""Every strategy by its name."""


def create_controller(name: str, decision_sizes: Sequence[int], /, *, seed: int, **values: object) -> Controller:
    """Return a new controller.

    >>> create_controller("random", (2, 3), seed=0).ask(2)
    [(0, 2), (0, 1)]

    Args:
        name: Name of a strategy in `STRATEGIES`, or `package.module:Name` for a controller of your own. `Name` is
            called as `Name(decision_sizes, seed=seed, **values)` and returns a `Controller`.
        decision_sizes: Number of choices of each decision, each >= 1.
        seed: Integer >= 0 that determines all random numbers.
        **values: Hyper-parameters, see `Strategy.described_hyperparameters`. `ppo` also takes `preset`; other
            values replace those of the preset.

    Raises:
        ControllerError: The name or a hyper-parameter is unknown, a value is not allowed, or a controller of your
            own cannot be made or lacks a method.
    """
    sizes, seed = check_decision_sizes(decision_sizes), check_seed(seed)
    if ":" in name:
        return _create_own(name, sizes, seed, values)
    if name not in STRATEGIES:
        raise ControllerError(
            f"there is no controller {name!r}{did_you_mean(name, STRATEGIES)}; choose one of "
            f"{', '.join(STRATEGIES)}, or give one of your own as package.module:Name"
        )
    return STRATEGIES[name].create(sizes, seed, values)


def _create_own(name: str, decision_sizes: tuple[int, ...], seed: int, values: Mapping[str, object]) -> Controller:
    try:
        part: Any = load_own_part(name)
    except DocumentError as error:
        raise ControllerError(f"controller {error}") from error
    try:
        controller: Controller = part(decision_sizes, seed=seed, **values)
    except (TypeError, ValueError) as error:
        arguments = ", ".join(
            ["decision_sizes", f"seed={seed}", *(f"{key}={value!r}" for key, value in values.items())]
        )
        raise ControllerError(
            f"controller {name} cannot be made: {error}. It is called with ({arguments}); check its parameters"
        ) from error
    missing = [method for method in _METHODS if not callable(getattr(controller, method, None))]
    if missing:
        raise ControllerError(
            f"controller {name} gives a {type(controller).__name__} without {', '.join(missing)}; "
            f"a controller has the methods {', '.join(_METHODS)}"
        )
    return controller
