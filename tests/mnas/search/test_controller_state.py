from typing import Any

import numpy as np
import pytest

import controllers
from controllers import state_to_bytes
from controllers.contract import reward_of
from mnas.documents.errors import DocumentError
from mnas.search.controller_state import StatePart, StateRecorder, state_of_parts

SIZES = (4, 3, 2) * 4


class Parts:
    """What a store holds of a state."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, int], StatePart] = {}

    def write(self, deleted: list[str] | None, parts: list[StatePart]) -> int:
        """Apply changes; return how many bytes were written."""
        replaced = {part.key for part in parts if part.part == 0} | set(deleted or ())
        kept = {} if deleted is None else {key: row for key, row in self.rows.items() if key[0] not in replaced}
        self.rows = kept | {(part.key, part.part): part for part in parts}
        return sum(len(part.value) for part in parts)

    def state(self) -> dict[str, Any]:
        return state_of_parts([self.rows[key] for key in sorted(self.rows)], "store")


@pytest.mark.parametrize("name", controllers.STRATEGIES)
def test_the_parts_of_every_strategy_are_its_state_after_every_step(name: str) -> None:
    controller = controllers.create_controller(name, SIZES, seed=1)
    recorder, parts = StateRecorder(), Parts()
    for step in range(40):
        proposals = controller.ask(2)
        if step % 7 == 3:
            recorder.forget()  # as after a transaction that failed
        parts.write(*recorder.changes(controller.state()))
        controller.tell(proposals, [reward_of(proposal) for proposal in proposals])
        parts.write(*recorder.changes(controller.state()))
        assert state_to_bytes(parts.state()) == state_to_bytes(controller.state())


def test_a_step_of_random_search_costs_the_same_after_many() -> None:
    controller = controllers.create_controller("random", SIZES, seed=1)
    recorder, parts = StateRecorder(), Parts()
    sizes = []
    for _ in range(300):
        controller.ask(1)
        sizes.append(parts.write(*recorder.changes(controller.state())))
    assert sizes[-1] <= sizes[1]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"a": 1}, {"a": 1.0}),
        ({"a": 0.0}, {"a": -0.0}),
        ({"a": 1, "b": 2}, {"a": 1}),
        ({"a": np.array([1.0, 2.0])}, {"a": np.array([1.0])}),
        ({"a": np.array([1.0])}, {"a": np.array([2.0, 1.0])}),
        ({"a": np.array([1.0])}, {"a": np.array([1.0, 2.0], np.float32)}),
        ({"a": np.zeros((2, 3))}, {"a": np.zeros((3, 2))}),
        ({"a": np.zeros((0, 3))}, {"a": np.zeros((2, 3))}),
        ({"a": np.zeros(2)}, {"a": "text"}),
        ({"a": "text"}, {"a": "longer text"}),
        ({"a": True}, {"a": 1}),
    ],
    ids=str,
)
def test_any_change_is_written(before: dict[str, Any], after: dict[str, Any]) -> None:
    recorder, parts = StateRecorder(), Parts()
    for state in (before, after):
        parts.write(*recorder.changes(state))
        assert state_to_bytes(parts.state()) == state_to_bytes(state)


def test_a_missing_part_is_noticed() -> None:
    recorder, parts = StateRecorder(), Parts()
    for rows in (1, 2, 3):
        parts.write(*recorder.changes({"a": np.zeros(rows)}))
    del parts.rows["a", 1]
    with pytest.raises(DocumentError, match="part 1 is missing"):
        parts.state()
