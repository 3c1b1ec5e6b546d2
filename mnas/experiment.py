"""An experiment: the YAML file of a search, validated once and immutable from then on."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Annotated, Literal

import msgspec

import controllers
from latency import LatencyError, MeasurementSettings, PhoneError, PhoneUnknownError, create_phones, phone_settings
from mnas.data import DataSettings
from mnas.documents import changes
from mnas.documents.yaml_file import read
from mnas.errors import ConfigurationError
from mnas.mindspore_setup import Device
from mnas.reward import RewardSettings
from mnas.training.settings import TrainingSettings
from search_space import SearchSpace, SpaceError


class SearchSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many children, how they are scheduled and what happens when something breaks.

    trials: architectures to sample, those that turn out to be repeats included.
    workers: children trained at a time; `auto` is every core (CPU) or NPU (Ascend) that Ray finds.
    workers_per_npu: workers that share one NPU and its memory; with 2, one compiles its child on the host while the
        other trains. On the CPU every worker has a core.
    schedule: `asynchronous` proposes whenever a worker is free; `synchronous` in batches, as the paper does.
    batch_size: children of a synchronous batch.
    child_timeout_s: a child that takes longer counts as failed.
    retries: how often a child is tried again after its worker died.
    worker_memory_mb: a worker whose resident memory is beyond this after a child is replaced by a fresh one, which is
        made ready from 90% on.
    max_consecutive_failures: the search stops after so many failures in a row that no network is to blame for.
    ray_address: an existing Ray cluster to work on; by default one is started on this machine.
    """

    trials: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
    workers: Annotated[int, msgspec.Meta(ge=1, le=4096)] | Literal["auto"] = "auto"
    workers_per_npu: Annotated[int, msgspec.Meta(ge=1, le=16)] = 1
    schedule: Literal["asynchronous", "synchronous"] = "asynchronous"
    batch_size: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 8
    child_timeout_s: Annotated[float, msgspec.Meta(gt=0)] = 3600.0
    retries: Annotated[int, msgspec.Meta(ge=0, le=100)] = 2
    worker_memory_mb: Annotated[int, msgspec.Meta(ge=200)] = 3000
    max_consecutive_failures: Annotated[int, msgspec.Meta(ge=1)] = 10
    ray_address: str | None = None


class OtherPhone(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A further phone model on which every network is timed, and its target latency T."""

    target_ms: Annotated[float, msgspec.Meta(gt=0)]


class LatencySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where latency is measured, and the target latency T of the reward.

    others: further phone models by name.
    reward_from: `named` rewards the latency on `phone`; `worst` that of the phone with the largest LAT / T.
    cache: whether what this user's earlier runs have measured counts.
    measurement: fields of the measurement protocol to change, such as `runs` (see `latency/measurement/protocol.py`).
    """

    target_ms: Annotated[float, msgspec.Meta(gt=0)]
    phone: str = "host"
    others: dict[str, OtherPhone] = {}
    reward_from: Literal["named", "worst"] = "named"
    cache: bool = True
    measurement: dict[str, int | float] = {}

    def check(self, *, in_cluster: bool = False) -> None:
        """Raise ConfigurationError where there is no such phone or no such measurement.

        In a cluster a phone may be attached to another host; whether there is one is seen when the search begins.
        """
        if self.phone in self.others:
            raise ConfigurationError(f"latency.others.{self.phone}: it is latency.phone already; leave it out here")
        if self.reward_from == "worst" and not self.others:
            raise ConfigurationError("latency.reward_from: `worst` chooses between phones; add latency.others")
        keys = {"latency.phone": self.phone} | {f"latency.others.{name}": name for name in self.others}
        for key, name in keys.items():
            try:
                for phone in create_phones(name):
                    phone.close()
            except LatencyError as error:
                if not (isinstance(error, PhoneUnknownError) and in_cluster):
                    raise ConfigurationError(f"{key}: {error}") from error
            self.measurement_settings(name)

    def rewarded_others(self) -> dict[str, float]:
        """Return the target latencies (ms) of the phones besides `phone` that have a say in the reward, by name."""
        return {name: other.target_ms for name, other in self.others.items()} if self.reward_from == "worst" else {}

    def measurement_settings(self, name: str) -> MeasurementSettings:
        """Return the measurement protocol on a phone: its profile's, changed by `measurement`.

        A phone that only another host of the cluster knows has no profile here: it gets the protocol's own values.
        Raises ConfigurationError for an unknown field or a bad value.
        """
        allowed = [field.name for field in dataclasses.fields(MeasurementSettings)]
        for key in self.measurement:
            if key not in allowed:
                raise ConfigurationError(f"latency.measurement.{key}: unknown key; allowed are {', '.join(allowed)}")
        try:
            try:
                return phone_settings(name, self.measurement)
            except PhoneUnknownError:
                return phone_settings("host", self.measurement)
            except PhoneError as error:
                raise ConfigurationError(f"latency.phone: {error}") from error
        except ValueError as error:
            raise ConfigurationError(f"latency.measurement: {error}") from error


class Experiment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that a search needs to know.

    space: the name of a bundled search space or the path of a YAML file.
    controller: `name` of the strategy, and hyper-parameters to change.
    """

    space: str
    data: DataSettings
    training: TrainingSettings
    search: SearchSettings
    latency: LatencySettings
    controller: dict[str, bool | int | float | str] = msgspec.field(default_factory=lambda: {"name": "ppo"})
    reward: RewardSettings = RewardSettings()
    device: Device = "CPU"
    seed: Annotated[int, msgspec.Meta(ge=0, lt=2**31)] = 0

    def load_space(self) -> SearchSpace:
        """Load the search space. Raises ConfigurationError that names the key."""
        try:
            return SearchSpace.load(self.space)
        except SpaceError as error:
            raise ConfigurationError(f"space: {error}") from error

    def create_controller(self, space: SearchSpace) -> controllers.Controller:
        """Make the controller at its start. Raises ConfigurationError that names the key."""
        hyperparameters = dict(self.controller)
        name = hyperparameters.pop("name", None)
        if not isinstance(name, str):
            known = ", ".join(controllers.STRATEGIES)
            raise ConfigurationError(f"controller.name: give the name of a strategy ({known})")
        if "seed" in hyperparameters:
            raise ConfigurationError("controller.seed: unknown key; the controller's seed is the experiment's `seed`")
        try:
            return controllers.create_controller(name, space.decision_sizes, seed=self.seed, **hyperparameters)
        except controllers.ControllerError as error:
            raise ConfigurationError(f"controller: {error}") from error


# What may be changed when a run is resumed: none of it alters what a trial's numbers mean.
RESUMABLE = frozenset(
    {f"search.{key}" for key in SearchSettings.__struct_fields__ if key not in ("schedule", "batch_size")}
    | {"latency.cache"}
)


def load_experiment(path: str | os.PathLike[str]) -> Experiment:
    """Read and check an experiment, its space, controller and phone included.

    Raises ConfigurationError or DocumentError whose message has the file, the key's path and what is allowed.
    """
    experiment = read(Path(path), Experiment)
    try:
        experiment.create_controller(experiment.load_space())
        experiment.latency.check(in_cluster=experiment.search.ray_address is not None)
        if experiment.search.workers_per_npu > 1 and experiment.device != "Ascend":
            raise ConfigurationError(
                f"search.workers_per_npu: device {experiment.device} has no NPU to share; leave it out, or use Ascend"
            )
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error
    return experiment


def changed_keys(before: Experiment, after: Experiment) -> list[str]:
    """Return the paths of the keys that differ, with both values, but for those in RESUMABLE."""
    return changes.changed_keys(before, after, RESUMABLE)
