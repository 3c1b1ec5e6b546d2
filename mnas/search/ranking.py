"""How sure the order of a search's trials is, and the same trials under another question.

An accuracy is a share of the images of the reward set, so it has at least the binomial standard error. Trainings of one
network from several seeds differ by more; a store that holds such trainings tells by how much. Everything here is
computed from stored trials, and nothing is trained or measured.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mnas.errors import ConfigurationError
from mnas.experiment import Experiment
from mnas.reward import reward
from mnas.search.store import Trial

CHANCE_ERRORS = 2.0
"""An accuracy within this many standard errors of 1 / classes may be chance."""
_MOST_DIGITS = 4


@dataclass(frozen=True)
class Noise:
    """What is known of the noise of accuracies.

    Attributes:
        reward_images: Number of images that an accuracy is of; None if it is not known.
        repeated: Standard deviation between trainings of one network; None without a network that was trained twice.
        networks: How many networks were trained more than once.
    """

    reward_images: int | None
    repeated: float | None = None
    networks: int = 0

    def error(self, accuracy: float) -> float | None:
        """Return the standard error of an accuracy, None if nothing is known.

        Without repeated trainings it is that of `reward_images` independent images, which is a lower bound. Repeated
        trainings tell more, but no less: two that happen to agree make no accuracy exact.
        """
        if self.reward_images is None:
            return self.repeated
        # One image is the least that a set can tell: no accuracy of 0 or 1 is exact.
        sampling = max(math.sqrt(accuracy * (1 - accuracy) / self.reward_images), 1 / self.reward_images)
        return sampling if self.repeated is None else max(self.repeated, sampling)

    @property
    def is_lower_bound(self) -> bool:
        """Whether the true error is larger, because no network was trained twice."""
        return self.repeated is None


def noise_of(trials: Iterable[Trial], reward_images: int | None, second: Mapping[int, Mapping[str, Any]] = {}) -> Noise:
    """Return the noise of the accuracies of a run.

    A repeat that took over the accuracy of its network tells nothing; one with a training of its own does.

    Args:
        trials: The trials.
        reward_images: Number of images that an accuracy is of; None if it is not known.
        second: The records of second trainings by trial; those that have failed tell nothing.
    """
    by_network: dict[str, list[float]] = {}
    for trial in trials:
        if trial.state == "complete" and trial.training is not None and trial.accuracy is not None:
            accuracies = by_network.setdefault(trial.fingerprint, [])
            accuracies.append(trial.accuracy)
            if "accuracy" in (again := second.get(trial.id, {})):
                accuracies.append(again["accuracy"])
    groups = [group for group in by_network.values() if len(group) > 1]
    freedom = sum(len(group) - 1 for group in groups)
    if freedom == 0:
        return Noise(reward_images)
    squares = sum(statistics.variance(group) * (len(group) - 1) for group in groups)
    return Noise(reward_images, math.sqrt(squares / freedom) or None, len(groups))


def digits(error: float | None, most: int = _MOST_DIGITS) -> int:
    """Return how many decimal places of a number mean something: to the first place of its error, at most `most`.

    >>> digits(0.03), digits(0.004), digits(None)
    (2, 3, 4)
    """
    if error is None or not (math.isfinite(error) and error > 0):
        return _MOST_DIGITS
    return min(max(-math.floor(math.log10(error)), 0), most)


def with_target(trials: Iterable[Trial], experiment: Experiment, target_ms: float) -> list[Trial]:
    """Return trials with the rewards that they would have under another target of the experiment's own phone.

    Raises:
        ConfigurationError: The target is not a finite number above 0.
    """
    check_latency("target", target_ms)
    others = experiment.latency.rewarded_others()
    return [
        trial
        if trial.accuracy is None or trial.latency_ms is None
        else replace(trial, reward=_reward(trial, trial.accuracy, trial.latency_ms, experiment, target_ms, others))
        for trial in trials
    ]


def _reward(
    trial: Trial,
    accuracy: float,
    latency_ms: float,
    experiment: Experiment,
    target_ms: float,
    others_target_ms: Mapping[str, float],
) -> float:
    """Return the reward of a trial; the phone with the largest latency / target decides, as in the search."""
    pairs = [(latency_ms, target_ms)]
    pairs += [
        (trial.other_latencies_ms[name], other_ms)
        for name, other_ms in others_target_ms.items()
        if name in trial.other_latencies_ms
    ]
    return reward(accuracy, *max(pairs, key=lambda pair: pair[0] / pair[1]), experiment.reward)


def below(trials: Iterable[Trial], latency_ms: float) -> list[Trial]:
    """Return the trials whose latency is at most `latency_ms`.

    Raises:
        ConfigurationError: The limit is not a finite number above 0.
    """
    check_latency("limit", latency_ms)
    return [trial for trial in trials if trial.latency_ms is not None and trial.latency_ms <= latency_ms]


def ranked(trials: Iterable[Trial]) -> list[Trial]:
    """Return the complete trials by reward, the best first, without repeats; the earlier one of equals first."""
    complete = [trial for trial in trials if trial.state == "complete" and trial.repeat_of is None]
    return sorted(complete, key=lambda trial: (-(trial.reward or 0.0), trial.id))


def check_latency(what: str, latency_ms: float) -> None:
    """Raise ConfigurationError if a latency is not a finite number above 0."""
    if not (math.isfinite(latency_ms) and latency_ms > 0):
        raise ConfigurationError(f"the {what} is {latency_ms} ms; it must be a finite number above 0")


def warnings(leaders: Sequence[Trial], noise: Noise, classes: int, *, confirmed: bool = False) -> list[str]:
    """Return what must be said with the best trial.

    Args:
        leaders: The complete trials, the best first.
        noise: That of their accuracies.
        classes: Number of classes of the images.
        confirmed: Whether fresh trainings, not single rewards, have made the first one the best.
    """
    return _chance_warnings(leaders, noise, classes) + ([] if confirmed else _luck_warnings(leaders, noise))


def _chance_warnings(leaders: Sequence[Trial], noise: Noise, classes: int) -> list[str]:
    """Return what must be said of accuracies at chance; the arguments are those of `warnings`."""
    if not leaders:
        return []
    best = leaders[0]
    said = []
    if all(_at_chance(trial, noise, classes) for trial in leaders):
        said.append(
            f"Every accuracy is at chance (1 of {classes} classes is {1 / classes:.3f}), so this order tells nothing: "
            "train longer, on more images, or with a higher learning rate."
        )
    elif _at_chance(best, noise, classes):
        said.append(
            f"The accuracy of trial {best.id} is at chance (1 of {classes} classes is {1 / classes:.3f}); its latency "
            "alone made it the best."
        )
    return said


def _luck_warnings(leaders: Sequence[Trial], noise: Noise) -> list[str]:
    """Return what must be said of a best trial that no fresh training has confirmed; arguments as of `warnings`."""
    if not leaders:
        return []
    best = leaders[0]
    ties = sum(trial.reward == best.reward for trial in leaders) - 1
    said = []
    if ties:
        others = "1 other trial has" if ties == 1 else f"{ties} other trials have"
        said.append(f"{others} the same reward as trial {best.id}, which is only the earliest of them.")
    if close := close_to_best(leaders, noise):
        others = "1 other differs" if close == 1 else f"{close} others differ"
        said.append(
            f"Optimistic: trial {best.id} has the highest of {len(leaders)} single noisy rewards, and {others} from it "
            "by less than the standard error."
        )
    return said


def _at_chance(trial: Trial, noise: Noise, classes: int) -> bool:
    if trial.accuracy is None:
        return True
    chance = 1 / classes
    error = max(noise.error(trial.accuracy) or 0.0, noise.error(chance) or 0.0)
    return trial.accuracy <= chance + CHANCE_ERRORS * error


def close_to_best(leaders: Sequence[Trial], noise: Noise) -> int:
    """Return how many other trials differ from the best by no more than the error of two rewards; see `warnings`."""
    best, error = leaders[0], reward_error(leaders[0], noise)
    return 0 if error is None else sum(_within_error(best, error, other, noise) for other in leaders[1:])


def _within_error(best: Trial, error: float, other: Trial, noise: Noise) -> bool:
    """Return whether two rewards differ by no more than the error of their difference; `error` is that of the best."""
    other_error = reward_error(other, noise)
    return other_error is not None and (best.reward or 0.0) - (other.reward or 0.0) <= math.hypot(error, other_error)


def reward_error(trial: Trial, noise: Noise) -> float | None:
    """Return the standard error of a reward that comes from its accuracy; the latency counts as exact."""
    if not trial.accuracy or trial.reward is None:
        return None if trial.accuracy is None else noise.error(trial.accuracy)
    error = noise.error(trial.accuracy)
    return None if error is None else error * trial.reward / trial.accuracy
