"""What a store keeps of a search: trials, how they ended, and the calls of the controller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from controllers.controller import StateValue
from mnas.errors import Failure

TrialState = Literal["proposed", "complete", "stopped", "failed"]


@dataclass(frozen=True)
class Proposal:
    """What a controller proposed, as a trial.

    Attributes:
        id: The number of the trial.
        decisions: The controller's integers.
        architecture: What they stand for, as plain data for JSON.
        fingerprint: Equal for two architectures that are the same network.
        repeat_of: An earlier trial of the same network. This one takes over its outcome and costs nothing.
    """

    id: int
    decisions: tuple[int, ...]
    architecture: Mapping[str, Any]
    fingerprint: str
    repeat_of: int | None = None


@dataclass(frozen=True)
class Trial:
    """One proposal with its results.

    Attributes:
        id: The number of the trial, from 1.
        state: `proposed` until both halves have ended, then `complete`, `stopped` or `failed`. A trial that failed
            through no fault of its network is `proposed` again when the search is resumed. One whose training was
            stopped early, or not begun because its network is too slow, is `stopped`, and never the best.
        decisions: The controller's integers.
        architecture: What they stand for, as plain data; see `search_space.architecture_from_dict`.
        fingerprint: Equal for two architectures that are the same network.
        repeat_of: The earlier trial of the same network whose outcome this one has; None for the first.
        training: The full record of the training; None until it has ended, and for a repeat.
        latency: The full record of the measurement; None until it has ended, and for a repeat.
        accuracy: Top-1 on the reward set, from 0 to 1; None unless the trial is complete or stopped, as are the next
            two. That of a stopped training is that of its last rung, and a network that is too slow has none.
        latency_ms: The latency on the phone that the experiment names, in milliseconds.
        reward: The reward of both.
        failure: What went wrong; None unless the trial has failed.
        proposed_at: When the controller proposed it; UTC, ISO 8601.
        finished_at: When it ended; None until then.
    """

    id: int
    state: TrialState
    decisions: tuple[int, ...]
    architecture: Mapping[str, Any]
    fingerprint: str
    repeat_of: int | None
    training: Mapping[str, Any] | None
    latency: Mapping[str, Any] | None
    accuracy: float | None
    latency_ms: float | None
    reward: float | None
    failure: Failure | None
    proposed_at: str
    finished_at: str | None

    @property
    def other_latencies_ms(self) -> dict[str, float]:
        """The latencies (ms) on the other phones of the experiment, by name; none for a repeat."""
        others = {} if self.latency is None else self.latency.get("others", {})
        return {name: float(other["latency_ms"]) for name, other in others.items()}


@dataclass(frozen=True)
class Outcome:
    """How a trial ended: a reward with its accuracy and latency, or a failure; `stopped` as the state of a trial."""

    trial_id: int
    accuracy: float | None = None
    latency_ms: float | None = None
    reward: float | None = None
    failure: Failure | None = None
    stopped: bool = False

    @property
    def state(self) -> TrialState:
        """The state that the trial ends in."""
        if self.failure is not None:
            return "failed"
        return "stopped" if self.stopped else "complete"


@dataclass(frozen=True)
class Told:
    """One tell of a controller: the trials, their rewards, and its state after the call."""

    trial_ids: tuple[int, ...]
    rewards: tuple[float, ...]
    controller_state: Mapping[str, StateValue]


@dataclass(frozen=True)
class ControllerCall:
    """One entry of the controller's log.

    Attributes:
        call: What was called.
        count: How many trials were asked for, or told. A space that is nearly used up gives fewer than asked for.
        trial_ids: The trials that were proposed or told.
        rewards: What was told of each; None for an ask.
    """

    call: Literal["ask", "tell"]
    count: int
    trial_ids: tuple[int, ...]
    rewards: tuple[float, ...] | None


@dataclass(frozen=True)
class FinalistTraining:
    """One more training and measurement of a trial's network, with a seed of its own.

    Attributes:
        id: The number of the training, from 1.
        trial: The trial whose network it is.
        seed: Decides the initial weights and the order of the images.
        state: As that of a trial.
        training: The full record of the training; None until it has ended.
        latency: The full record of the measurement; None until it has ended.
        accuracy: Top-1 on the reward set, from 0 to 1; None unless it is complete, as are the next two.
        latency_ms: The latency on the phone that the experiment names, in milliseconds.
        reward: The reward of both.
        failure: What went wrong; None unless it has failed.
        proposed_at: When it was decided on; UTC, ISO 8601.
        finished_at: When it ended; None until then.
    """

    id: int
    trial: int
    seed: int
    state: TrialState
    training: Mapping[str, Any] | None
    latency: Mapping[str, Any] | None
    accuracy: float | None
    latency_ms: float | None
    reward: float | None
    failure: Failure | None
    proposed_at: str
    finished_at: str | None
