"""What an audit recommends, in words."""

from __future__ import annotations

import math
from collections.abc import Iterator

from mnas.audit.findings import Findings, RewardEffect
from mnas.audit.statistics import optimism
from mnas.experiment import Experiment
from mnas.search.forecast import hours_text
from mnas.search.ranking import CHANCE_ERRORS

POOR_RELIABILITY = 0.5
HIGH_RELIABILITY = 0.95
NOISY_LATENCY = 0.03


def advice(found: Findings, experiment: Experiment) -> tuple[str, ...]:
    """Return what the findings say about the search of an experiment, one subject a sentence or two."""
    if _at_chance(found):
        return (
            f"Every accuracy is at chance (1 of {found.classes} classes is {1 / found.classes:.3f}), so a search would "
            "learn nothing: train longer, on more images, or with a higher learning rate, and audit again.",
        )
    return (*_of_noise(found, experiment), *_of_proxies(found), *_of_reward(found), _of_time(found))


def _at_chance(found: Findings) -> bool:
    chance = 1 / found.classes
    error = max(math.sqrt(chance * (1 - chance) / found.reward_images), found.accuracy.noise)
    return max(network.accuracy for network in found.networks) <= chance + CHANCE_ERRORS * error


def _of_noise(found: Findings, experiment: Experiment) -> Iterator[str]:
    spread = found.accuracy
    if spread.reliability < POOR_RELIABILITY:
        yield (
            f"The noise is larger than the differences: {1 - spread.reliability:.0%} of the variance of single "
            "accuracies is luck. Train longer or on more images, hold out more reward images, or widen the space."
        )
    else:
        yield f"{spread.reliability:.0%} of the variance of single accuracies is the networks'; the rest is luck."
    if spread.reliability < HIGH_RELIABILITY and experiment.search.finalists is None:
        yield (
            f"The best of {found.forecast.trials} single accuracies would be overstated by about "
            f"{optimism(spread, found.forecast.trials):.3f}: let search.finalists train the best again."
        )
    if found.latency.noise > NOISY_LATENCY:
        yield (
            f"Latencies of one network differ by {found.latency.noise:.1%} between measurements: give the phone rest, "
            "or more latency.measurement.sessions."
        )


def _of_proxies(found: Findings) -> Iterator[str]:
    whole = found.full_training
    if whole.low <= 0:
        yield (
            f"With {len(found.networks)} networks, the order by one full training cannot be told from a random one "
            f"(tau {whole.tau:.2f}, {whole.low:.2f} to {whole.high:.2f}): audit more networks or seeds before "
            "you trust a cheaper training."
        )
        return
    if (proxy := found.best_proxy) is None:
        yield "No cheaper training ranks the networks nearly as well as the full one: keep it."
        return
    yield (
        f"Cheaper: `{proxy.change}` ranks the networks about as well (tau {proxy.order.tau:.2f}, "
        f"{proxy.order.low:.2f} to {proxy.order.high:.2f}; another full training has {whole.tau:.2f}) "
        f"in {proxy.cost:.0%} of the time."
    )


def _of_reward(found: Findings) -> Iterator[str]:
    count = len(found.networks)
    if found.within_target in (0, count):
        which = "All" if found.within_target else "None"
        fastest, slowest = (pick(one.latency_ms for one in found.networks) for pick in (min, max))
        yield (
            f"{which} of the {count} networks meet latency.target_ms = {found.target_ms:g}: they take {fastest:.4g} to "
            f"{slowest:.4g} ms. A target between them tells them apart."
        )
    own = next(effect for effect in found.reward_effects if effect.own)
    if own.tau_speed > own.tau_accuracy:
        yield (
            f"With {exponents(own)} the reward orders the networks rather by speed (tau {own.tau_speed:.2f}) than by "
            f"accuracy (tau {own.tau_accuracy:.2f}); an exponent nearer to 0 weighs accuracy more."
        )
    else:
        yield (
            f"With {exponents(own)} the reward orders the networks rather by accuracy (tau {own.tau_accuracy:.2f}) "
            f"than by speed (tau {own.tau_speed:.2f}); an exponent further from 0 weighs speed more."
        )


def exponents(effect: RewardEffect) -> str:
    """Return the exponents of a reward for people."""
    if effect.alpha == effect.beta:
        return f"w = {effect.alpha:g}"
    return f"w = {effect.alpha:g} up to the target and {effect.beta:g} above it"


def _of_time(found: Findings) -> str:
    search = found.forecast
    return (
        f"The whole search of {search.trials} trials will take about {hours_text(search.hours)} with {search.workers} "
        f"workers ({hours_text(search.device_hours)} of training), {found.children_per_hour:.0f} children an hour."
    )
