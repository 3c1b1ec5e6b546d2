"""From a strategy's name and hyper-parameters to a controller."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from controllers import hyperparameters, local_search, ppo, random_search, regularized_evolution, reinforce
from controllers.controller import Controller, ControllerError, check_decision_sizes, check_seed
from controllers.hyperparameters import Hyperparameter
from mnas.documents.names import did_you_mean


@dataclass(frozen=True)
class Strategy:
    """A strategy as people read it."""

    name: str
    summary: str
    hyperparameters: tuple[Hyperparameter, ...]


def create(name: str, decision_sizes: Sequence[int], *, seed: int, **values: object) -> Controller:
    """Return a new controller.

    Args:
        name: of a strategy, see `strategies`.
        decision_sizes: number of choices of each decision, each >= 1.
        seed: integer >= 0 that all randomness comes from.
        **values: hyper-parameters of the strategy, see `strategies`. `ppo` also takes `preset`
            (`tuned` or `paper`); other hyper-parameters override the preset's.

    Raises:
        ControllerError: if the name or a hyper-parameter is unknown, or a value is not allowed.
    """
    sizes = check_decision_sizes(decision_sizes)
    check_seed(seed)
    if name == "random":
        return random_search.RandomSearch(
            sizes, seed, hyperparameters.build(name, random_search.RandomHyperparameters, values)
        )
    if name == "local_search":
        return local_search.LocalSearch(
            sizes, seed, hyperparameters.build(name, local_search.LocalSearchHyperparameters, values)
        )
    if name == "regularized_evolution":
        return regularized_evolution.RegularizedEvolution(
            sizes, seed, hyperparameters.build(name, regularized_evolution.EvolutionHyperparameters, values)
        )
    if name == "reinforce":
        return reinforce.Reinforce(sizes, seed, hyperparameters.build(name, reinforce.ReinforceHyperparameters, values))
    if name == "ppo":
        preset = values.pop("preset", "tuned")
        if not isinstance(preset, str) or preset not in ppo.PRESETS:
            raise ControllerError(
                f"preset of controller 'ppo' is {preset!r}{did_you_mean(str(preset), ppo.PRESETS)}; "
                f"it must be {' or '.join(ppo.PRESETS)}"
            )
        return ppo.Ppo(
            sizes,
            seed,
            hyperparameters.build(
                name, ppo.PpoHyperparameters, {**ppo.PRESETS[preset], **values}, also_allowed=["preset"]
            ),
        )
    names = [strategy.name for strategy in strategies()]
    raise ControllerError(
        f"there is no controller {name!r}{did_you_mean(str(name), names)}; choose one of {', '.join(names)}"
    )


def strategies() -> tuple[Strategy, ...]:
    """Return every strategy with its hyper-parameters; `ppo`'s defaults are those of its preset `tuned`."""
    paper = ", ".join(f"{name}={value}" for name, value in ppo.PRESETS["paper"].items())
    preset = Hyperparameter(
        "preset", "tuned", f"the defaults below, or NASNet's settings ({paper})", " or ".join(ppo.PRESETS)
    )
    return (
        Strategy(
            "random",
            "uniform sampling without replacement",
            hyperparameters.describe(random_search.RandomHyperparameters),
        ),
        Strategy(
            "local_search",
            "climbing from neighbour to better neighbour, with random restarts",
            hyperparameters.describe(local_search.LocalSearchHyperparameters),
        ),
        Strategy(
            "regularized_evolution",
            "mutation of good members of a population that forgets its oldest",
            hyperparameters.describe(regularized_evolution.EvolutionHyperparameters),
        ),
        Strategy(
            "reinforce",
            "RNN controller trained by the plain policy gradient",
            hyperparameters.describe(reinforce.ReinforceHyperparameters),
        ),
        Strategy(
            "ppo",
            "RNN controller trained by proximal policy optimization, with neighbours that a surrogate picks",
            (preset, *hyperparameters.describe(ppo.PpoHyperparameters)),
        ),
    )
