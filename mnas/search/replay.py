"""Replaying a run's recorded calls with a new controller: the proof that its state is what the store says."""

from __future__ import annotations

from controllers import Controller, state_to_bytes
from mnas.errors import Error
from mnas.search.store import TrialStore


class ReplayError(Error):
    """A controller that does not repeat what a run has recorded."""


def replay(store: TrialStore, controller: Controller) -> None:
    """Repeat every recorded ask and tell on a controller at its start, and compare it with the record, bit for bit.

    Results are taken from the store; nothing is trained or timed.

    Raises:
        ReplayError: The controller proposes something else, or ends in another state.
    """
    for step, call in enumerate(store.controller_log(), start=1):
        recorded = [store.trial(trial_id).decisions for trial_id in call.trial_ids]
        if call.rewards is None:
            proposed = controller.ask(call.count)
            if proposed != recorded:
                raise ReplayError(f"{store.path}: step {step} proposed {recorded}, the replay proposes {proposed}")
        elif recorded:
            controller.tell(recorded, call.rewards)
    recorded_state = store.controller_state()
    if recorded_state is not None and state_to_bytes(controller.state()) != state_to_bytes(recorded_state):
        raise ReplayError(f"{store.path}: the replayed controller ends in another state than the recorded one")
