import pytest

from controllers import ControllerError
from mnas.audit.fixed import FixedProposals, KnownLatencies
from mnas.errors import FailureKind, TrialError
from search_space import fingerprint, reference

PROPOSALS = [(0, 1), (1, 0), (2, 2)]


def test_proposals_come_once_and_in_order() -> None:
    controller = FixedProposals(PROPOSALS)
    assert controller.ask(2) == PROPOSALS[:2]
    controller.tell(PROPOSALS[:2], [0.1, 0.9])
    assert controller.ask(2) == PROPOSALS[2:]
    assert controller.ask(1) == []


def test_a_restored_controller_goes_on() -> None:
    first, second = FixedProposals(PROPOSALS), FixedProposals(PROPOSALS)
    first.ask(1)
    second.restore(first.state())
    assert second.ask(5) == first.ask(5)


def test_the_state_of_other_proposals_is_refused() -> None:
    controller = FixedProposals(PROPOSALS)
    with pytest.raises(ControllerError, match="other networks"):
        controller.restore(FixedProposals(PROPOSALS[:2]).state())
    assert controller.ask(3) == PROPOSALS


def test_a_known_latency_is_given_back() -> None:
    architecture = reference("mnasnet-small").architecture
    record = {"latency_ms": 2.0}
    assert KnownLatencies({fingerprint(architecture): record}).submit(architecture).result() == record


def test_a_network_without_a_latency_is_not_blamed() -> None:
    with pytest.raises(TrialError) as caught:
        KnownLatencies({}).submit(reference("mnasnet-small").architecture).result()
    assert caught.value.failure.kind is FailureKind.PHONE
