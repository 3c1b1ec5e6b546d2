"""An experiment: what a search looks for and how, as its YAML file says it; checked once and immutable."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

import controllers
from latency import LatencyError, MeasurementSettings, PhoneError, PhoneUnknownError, create_phones, phone_settings
from mnas.bundled_files import find_experiment
from mnas.data import DataSettings, SearchData
from mnas.documents.check import convert
from mnas.documents.json_text import parse_json
from mnas.documents.yaml_file import dump, read
from mnas.errors import ConfigurationError, DocumentError
from mnas.files import write_atomically
from mnas.mindspore_setup import AscendSettings, Device
from mnas.reward import RewardSettings
from mnas.training.settings import TrainingSettings
from search_space import SearchSpace, SpaceError

if TYPE_CHECKING:
    from mnas.audit.audit import Audit, AuditObserver
    from mnas.search.driver import ChildTrainer, LatencyMeter, SearchObserver
    from mnas.search.run import Run

MAX_CHILD_TIMEOUT_S = 31_536_000.0  # a year


class BudgetSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a search may spend, its earlier sessions included.

    When a part is used up, nothing new is started, and the search ends when what is pending has ended. The same command
    with a larger budget goes on.

    Attributes:
        hours: Hours of searching; pauses count.
        device_hours: Hours of training, summed over the workers.
        trials: Trials that train a network; repeats of an earlier network are not counted.
    """

    hours: Annotated[float, msgspec.Meta(gt=0, le=1e6)] | None = None
    device_hours: Annotated[float, msgspec.Meta(gt=0, le=1e9)] | None = None
    trials: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None


class FinalistSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the best networks are trained again when the trials have ended, to find out which is the best.

    Each is trained once with a fresh seed and timed in a fresh measurement, then those that may be the best, until the
    leader is the best with the stated probability or the trainings are used up.

    Attributes:
        count: How many networks of highest reward are finalists.
        confidence: The probability of being the best at which the leader is the winner.
        extra_trainings: Trainings of the finalists, at most; failed ones count. At least `count`.
    """

    count: Annotated[int, msgspec.Meta(ge=2, le=1000)]
    extra_trainings: Annotated[int, msgspec.Meta(ge=2, le=1_000_000)]
    confidence: Annotated[float, msgspec.Meta(ge=0.5, lt=1)] = 0.95


class HalvingSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How children that are behind are stopped early: asynchronous successive halving by epochs.

    The paper trains every child to its end. At a rung the accuracy of a child is compared with those that earlier
    children had there; the controller is told the reward of the last accuracy of a child that was stopped.

    Attributes:
        first_epochs: Epochs of the first rung; at least one rung comes before the end of a training.
        reduction: One of so many children goes on at a rung, and each rung is at so many times the epochs of the one
            before.
    """

    first_epochs: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1
    reduction: Annotated[int, msgspec.Meta(ge=2, le=1000)] = 3


class LatencyFirstSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Networks are timed before they are trained, and those that are too slow are not trained.

    The paper trains every child. The controller is told the reward 0 of a network that is too slow. It counts as one
    of the trials.

    Attributes:
        highest_accuracy: A network is too slow if its reward would be below the best so far even with this accuracy.
            With 1 no network is left out that could be the best.
    """

    highest_accuracy: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0


class RepeatSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which networks are trained more than once, to know how far accuracies of one network differ.

    Attributes:
        share: The part of the networks that is trained a second time, with another seed, spread evenly over the search.
            The reward is that of the first training.
        proposed_again: What happens to a network that the controller proposes again. `copy`: the trial takes over the
            outcome of the earlier one and costs nothing. `train`: it is trained again, with a seed of its own, timed
            again, and the controller is told that reward.
    """

    share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    proposed_again: Literal["copy", "train"] = "copy"


class SearchSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many children are trained, how they are scheduled, and what happens when something fails.

    Attributes:
        trials: Architectures to sample, repeats of the same network included.
        workers: Children trained at a time. `auto` takes every core (CPU) or NPU (Ascend) that Ray finds. Searches on
            one cluster share it.
        workers_per_npu: Workers that share one NPU and its memory. With 2, one compiles its child on the host while
            the other trains. On the CPU every worker has a core of its own.
        schedule: `asynchronous` proposes a child whenever a worker is free. `synchronous` proposes in batches, as the
            paper does.
        batch_size: Children of a synchronous batch.
        max_pending: Trials that may be pending at a time, those that are trained and wait for a latency included. If
            the phones are slower than the workers, or gone, no more children are proposed. `auto` is four for each
            worker. A synchronous batch is pending whole.
        child_timeout_s: A child that trains longer than this is trained once more, on a fresh worker and alone on its
            node. If that takes too long again, it counts as failed; seconds. The network is not at fault if its process
            was stopped, or got less than half of its core.
        retries: How often a child is trained again after its worker died or its node was short of memory.
        worker_memory_mb: A worker whose resident memory exceeds this after a child is replaced by a fresh one, which is
            prepared from 90% on (on the CPU; on an NPU it is prepared afterwards); in 10^6 bytes.
        worker_children: Children after which a worker is replaced, too. MindSpore keeps memory of every network on
            the device; a replacement costs its start, about half a minute. Absent: no bound.
        max_consecutive_failures: The search stops after this many failures in a row, whatever failed. Repeats of an
            earlier network do not count.
        budget: What the search may spend.
        finalists: How the best networks are trained again after the trials. Absent: they are not, and the best is the
            highest of many single noisy rewards.
        halving: How children that are behind are stopped early. Absent: each is trained to its end.
        latency_first: Whether networks are timed before they are trained, and left out if they are too slow. Absent:
            they are trained and timed at the same time.
        repeats: Which networks are trained more than once, so that the noise of the accuracies is known. Absent: none.
        keep_weights: Whose trained weights are kept in `weights/` of the run directory: those of so many networks of
            highest reward (with finalists, of at least as many as these), of `all`, or of `none`.
        keep_weights_gb: Kept weights at most, in 10^9 bytes. When they are reached, the weights of the lowest rewards
            are deleted first, and that is said. Those of pending trials count.
        learning_curves: Whether the accuracy of a child is measured after every epoch, too. The training is the same;
            each evaluation takes one pass over the reward images.
        ray_address: An existing Ray cluster to work on: HOST:PORT of its head, or `auto`. By default a cluster is
            started on this machine.
    """

    trials: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
    workers: Annotated[int, msgspec.Meta(ge=1, le=4096)] | Literal["auto"] = "auto"
    workers_per_npu: Annotated[int, msgspec.Meta(ge=1, le=16)] = 1
    schedule: Literal["asynchronous", "synchronous"] = "asynchronous"
    batch_size: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 8
    max_pending: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | Literal["auto"] = "auto"
    child_timeout_s: Annotated[float, msgspec.Meta(gt=0, le=MAX_CHILD_TIMEOUT_S)] = 3600.0
    retries: Annotated[int, msgspec.Meta(ge=0, le=100)] = 2
    worker_memory_mb: Annotated[int, msgspec.Meta(ge=200, le=100_000_000)] = 3000
    worker_children: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None
    max_consecutive_failures: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 10
    budget: BudgetSettings = BudgetSettings()
    finalists: FinalistSettings | None = None
    halving: HalvingSettings | None = None
    latency_first: LatencyFirstSettings | None = None
    repeats: RepeatSettings | None = None
    keep_weights: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | Literal["all", "none"] = "none"
    keep_weights_gb: Annotated[float, msgspec.Meta(gt=0, le=1e6)] = 10.0
    learning_curves: bool = False
    ray_address: str | None = None

    @property
    def max_weights_bytes(self) -> int:
        """The bytes of trained weights that are kept at most; 0 if none are."""
        return 0 if self.keep_weights == "none" else int(self.keep_weights_gb * 1e9)


class OtherPhone(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A further phone model on which every network is timed.

    Attributes:
        target_ms: The target latency T on this phone, in milliseconds.
    """

    target_ms: Annotated[float, msgspec.Meta(gt=0, le=1e6)]


class LatencySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where latency is measured, and the target latency of the reward.

    Attributes:
        target_ms: The target latency T of the reward, in milliseconds.
        phone: The phone that times every network: a name given to `mnas phones add`, or `host`, one core of this
            machine.
        others: Further phone models by name, each with its `target_ms`.
        reward_from: `named` rewards the latency on `phone`. `worst` rewards the latency on the phone with the largest
            LAT / T.
        cache: Whether latencies that this user's earlier runs have measured are used again.
        measurement: Fields of the measurement protocol to change, such as `runs` (see
            `latency/measurement/protocol.py`).
    """

    target_ms: Annotated[float, msgspec.Meta(gt=0, le=1e6)]
    phone: str = "host"
    others: dict[str, OtherPhone] = {}
    reward_from: Literal["named", "worst"] = "named"
    cache: bool = True
    measurement: dict[str, int | float] = {}

    def check(self, *, in_cluster: bool = False) -> None:
        """Raise ConfigurationError if there is no such phone or no such measurement.

        In a cluster a phone may be attached to another host. Whether there is one is seen when the search begins.
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
        """Return the target latencies (ms) of the other phones that can decide the reward, by name."""
        return {name: other.target_ms for name, other in self.others.items()} if self.reward_from == "worst" else {}

    def measurement_settings(self, name: str) -> MeasurementSettings:
        """Return the measurement protocol on a phone: its profile's, changed by `measurement`.

        A phone that only another host of the cluster knows has no profile here. It gets the protocol's own values.

        Raises:
            ConfigurationError: A field is unknown or a value is not allowed.
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
    """Everything that a search needs to know; the schema of its YAML file.

    `load` and `from_dict` check what they make, and `run` checks an experiment that was built from its parts.

    Attributes:
        space: The name of a bundled search space (`mnas space list`), or the path of a YAML file.
        data: The images that children are trained on, and those that their accuracy is measured on.
        training: How every child is trained.
        search: How many children are trained, how they are scheduled, and what happens when something fails.
        latency: Where latency is measured, and the target latency.
        controller: The `name` of the search strategy, and hyper-parameters to change.
        reward: How accuracy and latency make the reward.
        device: What trains the children: `CPU` or `Ascend` (NPU).
        micro_batch_size: Images of a child that go through the device at a time, and that a batch norm sees; the
            gradients of a larger batch are accumulated. Less device memory, and slower steps. It must divide
            `training.batch_size`. Absent: the whole batch.
        ascend: How MindSpore computes on an NPU.
        seed: The seed that the proposals of the controller and the trainings of the children follow from.
    """

    space: str
    data: DataSettings
    training: TrainingSettings
    search: SearchSettings
    latency: LatencySettings
    controller: dict[str, bool | int | float | str] = msgspec.field(default_factory=lambda: {"name": "ppo"})
    reward: RewardSettings = RewardSettings()
    device: Device = "CPU"
    micro_batch_size: Annotated[int, msgspec.Meta(ge=2)] | None = None
    ascend: AscendSettings = AscendSettings()
    seed: Annotated[int, msgspec.Meta(ge=0, lt=2**31)] = 0

    @classmethod
    def load(cls, name_or_path: str | os.PathLike[str]) -> Experiment:
        """Read and check a bundled experiment by its name, or a YAML file.

        Raises:
            ConfigurationError: There is no such bundled experiment, space, controller or phone. The message has the
                file and the key's path.
            DocumentError: The file cannot be read or does not fit the schema. The message has the file, the key's path
                and what is allowed.
        """
        path = find_experiment(name_or_path if isinstance(name_or_path, str) else Path(name_or_path))
        experiment = read(path, cls)
        try:
            experiment.check()
        except ConfigurationError as error:
            raise ConfigurationError(f"{path}: {error}") from error
        return experiment

    @classmethod
    def from_stored(cls, text: str, *, source: str) -> Experiment:
        """Return the experiment that a run has stored as JSON, without the checks of `load`.

        Runs of mnas up to 0.2 may have a `child_timeout_s` without a bound, and null for an infinite one. It reads as
        the largest that is allowed.

        Raises:
            DocumentError: The text is no experiment.
        """
        document = parse_json(text, source=source)
        if isinstance(document, dict) and isinstance(search := document.get("search"), dict):
            timeout_s = search.get("child_timeout_s", 0)
            if timeout_s is None or (isinstance(timeout_s, int | float) and timeout_s > MAX_CHILD_TIMEOUT_S):
                search["child_timeout_s"] = MAX_CHILD_TIMEOUT_S
        return convert(document, cls, source=source)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Experiment:
        """Make and check an experiment from what its YAML file would hold.

        Raises:
            ConfigurationError: There is no such space, controller or phone.
            DocumentError: The document does not fit the schema.
        """
        experiment = convert(_plain(document), cls, source="experiment")
        experiment.check()
        return experiment

    def changed(self, changes: Mapping[str, object]) -> Experiment:
        """Return a checked experiment with other values.

        Args:
            changes: New values by key; dots lead into a mapping, as in `{"search.trials": 12}`. None removes an
                optional value.

        Raises:
            ConfigurationError: A key leads into something that is no mapping; and as `from_dict`.
            DocumentError: As `from_dict`.
        """
        document: dict[str, Any] = msgspec.to_builtins(self)
        for key, value in changes.items():
            *parents, last = key.split(".")
            place = document
            for parent in parents:
                if place.get(parent) is None:
                    place[parent] = {}
                place = place[parent]
                if not isinstance(place, dict):
                    raise ConfigurationError(f"{key}: {parent!r} holds a value and no keys; change {parent!r} itself")
            place[last] = value
        return self.from_dict(document)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the experiment as a YAML file that `load` reads back as an equal one; replaces a file that is there.

        Raises:
            OSError: The file cannot be written.
            ConfigurationError: A value is not allowed.
        """
        self.check_values()
        write_atomically(Path(path), dump(_without_absent(msgspec.to_builtins(self))).encode())

    def check(self) -> None:
        """Raise ConfigurationError if a search cannot start: a value, the space, the controller or a phone is wrong."""
        self.check_values()
        self.create_controller(self.load_space())
        self.check_latency()

    def check_values(self) -> None:
        """Raise ConfigurationError if a value has the wrong type or is not allowed."""
        # msgspec checks what it reads, but not what Python code passes to a constructor.
        try:
            checked = convert(_plain(self), Experiment, source="experiment")
        except DocumentError as error:
            raise ConfigurationError(str(error)) from error
        if checked != self:
            raise ConfigurationError("experiment: a part is plain data; make it of its class, or use from_dict")
        if self.micro_batch_size is not None and self.training.batch_size % self.micro_batch_size:
            raise ConfigurationError(
                f"micro_batch_size: {self.micro_batch_size} does not divide training.batch_size, which is "
                f"{self.training.batch_size}; change one of them"
            )
        if self.search.workers_per_npu > 1 and self.device != "Ascend":
            raise ConfigurationError(
                f"search.workers_per_npu: device {self.device} has no NPU to share; leave it out, or use Ascend"
            )
        if (halving := self.search.halving) is not None and halving.first_epochs >= self.training.epochs:
            raise ConfigurationError(
                f"search.halving.first_epochs: no rung comes before the end of a training of {self.training.epochs} "
                "epochs (training.epochs); lower it, or leave search.halving out"
            )
        if (finalists := self.search.finalists) is not None:
            if finalists.count > self.search.trials:
                raise ConfigurationError(
                    f"search.finalists.count: {finalists.count} finalists are more than search.trials, which is "
                    f"{self.search.trials}; change one of them"
                )
            if finalists.extra_trainings < finalists.count:
                raise ConfigurationError(
                    f"search.finalists.extra_trainings: {finalists.extra_trainings} do not train each of "
                    f"{finalists.count} finalists once; raise it, or lower search.finalists.count"
                )

    def check_latency(self) -> None:
        """Raise ConfigurationError if there is no such phone or no such measurement."""
        self.latency.check(in_cluster=self.search.ray_address is not None)

    def load_space(self) -> SearchSpace:
        """Load the search space.

        Raises:
            ConfigurationError: There is no such space; the message names the key.
        """
        try:
            return SearchSpace.load(self.space)
        except SpaceError as error:
            raise ConfigurationError(f"space: {error}") from error

    def create_controller(self, space: SearchSpace) -> controllers.Controller:
        """Make the controller at its start.

        Raises:
            ConfigurationError: There is no such controller or hyper-parameter; the message names the key.
        """
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

    def run(
        self,
        directory: str | os.PathLike[str],
        *,
        observer: SearchObserver | None = None,
        trainer: ChildTrainer | None = None,
        latency: LatencyMeter | None = None,
        data: SearchData | None = None,
        controller: controllers.Controller | None = None,
    ) -> Run:
        """Carry out the search, or go on with the one that is in the run directory.

        Everything learnt is in the run directory before the next step begins. Whatever stops the search, the same call
        goes on with it: nothing finished is lost and nothing is done twice.

        Own parts replace those that the experiment describes. A run remembers the class names of its own trainer,
        latency meter and controller, and the fingerprint of its data; it is resumed with the same ones only. With both
        `trainer` and `latency`, neither Ray nor a phone is started. A Ray that runs in this process already is used and
        left running.

        Args:
            directory: The run directory; made if it is new.
            observer: Is told what happens. An exception that it raises ends the search; what was learnt is stored by
                then, and the same call goes on.
            trainer: Trains the children, in place of the Ray workers.
            latency: Times the architectures, in place of the phones.
            data: The images, in place of `data` of the experiment.
            controller: Proposes the architectures, at its start. A resumed search continues it exactly if its `state`
                holds everything that later proposals depend on.

        Raises:
            ConfigurationError: The experiment cannot be carried out as it is.
            DataError: The images cannot be loaded.
            RunDirectoryError: The directory holds something else, or another search works on it.
            SearchStoppedError: Too many trials in a row failed.
            StoreError: The run directory cannot be written.
        """
        # Here, because it loads Ray; and the run directory needs this module to read its experiment.
        from mnas.search.launch import OwnParts, run_search

        own = OwnParts(trainer=trainer, latency=latency, data=data, controller=controller)
        return run_search(self, Path(directory), observer, own)

    def audit(
        self,
        directory: str | os.PathLike[str],
        *,
        networks: int = 12,
        seeds: int = 3,
        observer: AuditObserver | None = None,
    ) -> Audit:
        """Find out before a search how far its numbers can be trusted, what cheaper trainings tell, and what it costs.

        Networks that are spread over the space are trained as children of the search are, with several seeds, and once
        each with fewer epochs, fewer images and smaller images. Whatever stops it, the same call goes on: nothing
        finished is lost and nothing is done twice.

        Args:
            directory: Where its searches are kept, a run directory each; made if it is new.
            networks: How many networks, at least 5.
            seeds: How many full trainings of each, at least 2.
            observer: Is told what happens. An exception that it raises ends the audit.

        Raises:
            AuditError: Too few networks could be trained.
            ConfigurationError: The experiment cannot be carried out as it is, or there are too few networks or seeds.
            DataError: The images cannot be loaded.
            RunDirectoryError: The directory holds something else, or another process works on it.
            SearchStoppedError: Too many trials in a row failed.
            StoreError: The directory cannot be written.
        """
        # Here, because it loads NumPy; and it needs this module.
        from mnas.audit.audit import run_audit
        from mnas.audit.parts import audit_plan

        return run_audit(audit_plan(self, networks, seeds), Path(directory), observer)


_FIXED_SEARCH_KEYS = ("schedule", "batch_size", "halving", "latency_first")
# What may be changed when a run is resumed: none of it alters what a trial's numbers mean. The content of the space and
# the fingerprint of the data are compared instead of where they are.
RESUMABLE_EXPERIMENT_KEYS = frozenset(
    {f"search.{key}" for key in SearchSettings.__struct_fields__ if key not in _FIXED_SEARCH_KEYS}
    | {"latency.cache", "space", "data.directory", "ascend.memory_gb"}
    | {f"search.budget.{key}" for key in BudgetSettings.__struct_fields__}
    | {f"search.finalists.{key}" for key in FinalistSettings.__struct_fields__}
    | {f"search.repeats.{key}" for key in RepeatSettings.__struct_fields__}
)


def _plain(document: object) -> Any:
    """Return a document as plain data, paths as text."""
    try:
        return msgspec.to_builtins(document, enc_hook=os.fspath)
    except TypeError as error:
        raise ConfigurationError(f"experiment: {error}; use text, numbers, lists, mappings and settings") from error


def _without_absent(value: object) -> object:
    """Return plain data without the keys whose value is None: an absent key means the same."""
    if isinstance(value, dict):
        return {key: _without_absent(item) for key, item in value.items() if item is not None}
    return value
