"""What an audit trains: networks spread over the costs of the space, fully with several seeds and more cheaply once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from controllers import Decisions
from mnas.audit.statistics import FEWEST_NETWORKS
from mnas.data import ImageForm
from mnas.data.settings import ImageSettings
from mnas.errors import ConfigurationError
from mnas.experiment import Experiment
from mnas.search.forecast import GivenTimes, estimated_workload, planned_workers
from mnas.training.settings import Cosine
from search_space import SearchSpace, fingerprint, multiply_adds

NETWORKS, SEEDS = 12, 3
FEWEST_SEEDS = 2
MOST_NETWORKS, MOST_SEEDS = 1000, 100
SHARES = (0.5, 0.25)
"""Of the epochs, and of the training images, in cheaper trainings."""
SIZES = (0.75, 0.5)
"""Of the height and width of the images."""
SMALLEST_SIZE = 8
# Networks that are drawn for each one that is audited.
_DRAWN = 50


@dataclass(frozen=True)
class Cheaper:
    """A training that costs less than the experiment's, by one of its keys.

    Attributes:
        key: The key of the experiment.
        value: Its value here.
        work: Its share of the multiply-adds of the experiment's training.
    """

    key: str
    value: int
    work: float

    def __str__(self) -> str:
        return f"{self.key}: {self.value}"


@dataclass(frozen=True)
class Part:
    """One search of an audit: every network once, trained in one way with one seed.

    Attributes:
        name: Its folder in the directory of the audit.
        experiment: What the search is started with.
        cheaper: What is cheaper than in the audited experiment; None for the full training.
        device_hours: Hours of training, by a rough estimate.
    """

    name: str
    experiment: Experiment
    cheaper: Cheaper | None
    device_hours: float


@dataclass(frozen=True)
class AuditPlan:
    """What an audit does.

    Attributes:
        experiment: What is audited.
        networks: The decisions of the networks, by their multiply-adds.
        parts: The searches: the full trainings first, a search for each seed. A cheaper training has the seed of the
            first of them.
        workers: Children that train at a time.
        form: The form of the images.
        reward_images: Number of images that accuracies are of.
    """

    experiment: Experiment
    networks: tuple[Decisions, ...]
    parts: tuple[Part, ...]
    workers: int
    form: ImageForm
    reward_images: int

    @property
    def trainings(self) -> int:
        """Trainings in all."""
        return len(self.networks) * len(self.parts)

    @property
    def device_hours(self) -> float:
        """Hours of training, summed over the workers, by a rough estimate."""
        return sum(part.device_hours for part in self.parts)


def audit_plan(experiment: Experiment, networks: int = NETWORKS, seeds: int = SEEDS) -> AuditPlan:
    """Return what an audit of an experiment does; the images are loaded for it.

    Raises:
        ConfigurationError: There are too few networks or seeds, or the experiment cannot be carried out.
        DataError: The images cannot be loaded.
    """
    if networks > MOST_NETWORKS or seeds > MOST_SEEDS:
        raise ConfigurationError(
            f"networks: {networks}, seeds: {seeds}; audit at most {MOST_NETWORKS} networks with {MOST_SEEDS} seeds"
        )
    if networks < FEWEST_NETWORKS:
        raise ConfigurationError(f"networks: {networks} tell nothing of an order; audit at least {FEWEST_NETWORKS}")
    if seeds < FEWEST_SEEDS:
        raise ConfigurationError(f"seeds: {seeds} tells nothing of the noise; train with at least {FEWEST_SEEDS}")
    experiment.check()
    workers = planned_workers(experiment)
    data = experiment.data.load_search()
    images, form = len(data.train), ImageForm.of(data.train)
    full = experiment.changed(
        {
            "search.trials": networks,
            "search.finalists": None,
            "search.budget": {},
            "search.halving": None,
            "search.latency_first": None,
            "search.repeats": None,
            "search.keep_weights": "none",
            "search.schedule": "asynchronous",
            "search.learning_curves": True,
            # A latency that an earlier run has measured says nothing of the noise.
            "latency.cache": False,
        }
    )
    load, _ = estimated_workload(_with_images(experiment, images), GivenTimes())
    compile_s, train_s = fmean(load.compile_s), fmean(load.train_s)

    def part(name: str, experiment: Experiment, cheaper: Cheaper | None = None) -> Part:
        child_s = compile_s + train_s * (1.0 if cheaper is None else cheaper.work)
        return Part(name, experiment, cheaper, networks * child_s / 3600)

    parts = [
        part(f"full-{seed + 1}", full.changed({"seed": (experiment.seed + seed) % 2**31})) for seed in range(seeds)
    ]
    for cheaper in _cheaper_trainings(experiment, images):
        changed = full.changed({cheaper.key: cheaper.value, "search.learning_curves": False})
        parts.append(part(f"{cheaper.key.rpartition('.')[2]}-{cheaper.value}", changed, cheaper))
    return AuditPlan(
        experiment,
        spread_networks(experiment.load_space(), form, networks),
        tuple(parts),
        workers,
        form,
        len(data.reward),
    )


def spread_networks(space: SearchSpace, form: ImageForm, count: int) -> tuple[Decisions, ...]:
    """Return networks that are spread over the space as random ones are, by their multiply-adds.

    Random networks are ordered by their multiply-adds and divided into `count` groups of equal size; the middle of each
    is taken. So they stand for the networks that a search begins with, from fast to slow, with less luck than a plain
    sample. Multiply-adds are used because they cost no measurement.

    Raises:
        ConfigurationError: The space has fewer networks.
    """
    random = np.random.default_rng(0)
    found: dict[str, tuple[int, Decisions]] = {}
    for _ in range(_DRAWN * count):
        decisions = space.sample(random)
        architecture = space.decode(decisions)
        found.setdefault(fingerprint(architecture), (multiply_adds(form.lower(architecture)), decisions))
    if len(found) < count:
        raise ConfigurationError(
            f"networks: {count} asked for, and {_DRAWN * count} draws from the space {space.name!r} found "
            f"{len(found)}; audit at most as many"
        )
    ordered = sorted(found.values())
    return tuple(ordered[int((number + 0.5) * len(ordered) / count)][1] for number in range(count))


def _cheaper_trainings(experiment: Experiment, images: int) -> Iterator[Cheaper]:
    """Yield what is trained more cheaply.

    Fewer epochs are trained only if the learning rate depends on their number. Otherwise a shorter training is the
    beginning of a full one, whose learning curve has its accuracy. Images of a user's own source are as it makes them.
    """
    training, data = experiment.training, experiment.data
    if isinstance(training.schedule, Cosine):
        for epochs in _parts_of(training.epochs, SHARES, at_least=1):
            if epochs > training.schedule.warmup_epochs:
                yield Cheaper("training.epochs", epochs, epochs / training.epochs)
    if isinstance(data, ImageSettings):
        for count in _parts_of(images, SHARES, at_least=training.batch_size):
            yield Cheaper("data.train_images", count, count / images)
        smallest = max(SMALLEST_SIZE, 1 + (data.crop_padding or 0))
        for size in _parts_of(data.image_size, SIZES, at_least=smallest):
            yield Cheaper("data.image_size", size, (size / data.image_size) ** 2)


def _parts_of(whole: int, shares: tuple[float, ...], *, at_least: int) -> list[int]:
    """Return these shares of a whole number, rounded; without repeats and those that are too small."""
    parts = dict.fromkeys(round(share * whole) for share in shares)
    return [part for part in parts if at_least <= part < whole]


def _with_images(experiment: Experiment, images: int) -> Experiment:
    """Return the experiment with its number of training images written down, so that nobody has to count them."""
    if not isinstance(experiment.data, ImageSettings):
        return experiment
    return experiment.changed({"data.train_images": images})
