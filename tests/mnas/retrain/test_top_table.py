"""What a table of full trainings says of its networks."""

from pathlib import Path

import msgspec
import pytest

from mnas.checkpoints.checkpoint import Accuracy
from mnas.errors import Failure, FailureKind
from mnas.ranks import kendall_tau
from mnas.retrain.recipe import ValidationSettings
from mnas.retrain.top_table import FullTraining, TopNetwork, TopTable, new_table
from mnas.search.run import Run
from search_space import architecture_file_to_dict
from search_space.architecture_file import ArchitectureFileFields
from tests.mnas.report.stand_in import stand_in_run
from tests.mnas.retrain.top_stand_in import RECIPE

BLOCKS = ArchitectureFileFields(blocks=("r1_k3_s22_e3_i8_o8",))


def network(
    trial: int, top1: float | None, *, proxy: float = 0.5, latency_ms: float = 1.0, meets_target: bool = True
) -> TopNetwork:
    full = None
    if top1 is not None:
        accuracy = Accuracy(top1=top1, top5=1.0, loss=0.5, images=10_000, of_ema=False)
        full = FullTraining(accuracy=accuracy, checkpoint=f"trial-{trial}/last.safetensors")
    return TopNetwork(
        trial=trial,
        architecture=BLOCKS,
        proxy_accuracy=proxy,
        latency_ms=latency_ms,
        reward=proxy,
        meets_target=meets_target,
        full=full,
        failure=Failure(FailureKind.TRAINING_DIVERGED, "nan") if top1 is None else None,
    )


def table(*networks: TopNetwork) -> TopTable:
    return TopTable(
        run="runs/x", target_ms=1.5, recipe=RECIPE, data_fingerprint="", mnas_version="0", networks=networks
    )


def winner_of(*networks: TopNetwork) -> int | None:
    winner = table(*networks).winner
    return None if winner is None else winner.trial


def test_the_winner_has_the_highest_accuracy_under_the_target() -> None:
    assert winner_of(network(1, 0.7), network(2, 0.8), network(3, 0.9, meets_target=False), network(4, None)) == 2


def test_of_equal_accuracies_the_faster_network_wins() -> None:
    assert winner_of(network(1, 0.8, latency_ms=1.2), network(2, 0.8, latency_ms=1.1)) == 2


def test_without_a_network_under_the_target_the_fastest_is_named() -> None:
    found = table(
        network(1, 0.8, latency_ms=2.0, meets_target=False), network(2, 0.9, latency_ms=3.0, meets_target=False)
    )
    assert found.winner is None
    assert found.notes() == [
        "None of the trained networks meets the target of 1.5 ms; the fastest, trial 1, takes 2.0000 ms."
    ]


def test_if_all_have_failed_nothing_is_said_of_a_winner() -> None:
    assert (table(network(1, None)).winner, table(network(1, None)).notes()) == (None, [])


def test_tau_compares_the_search_with_the_test_set_where_both_are_known() -> None:
    found = table(network(1, 0.7, proxy=0.5), network(2, 0.9, proxy=0.4), network(3, 0.8, proxy=0.3), network(4, None))
    assert found.kendall_tau == kendall_tau([0.5, 0.4, 0.3], [0.7, 0.9, 0.8])


@pytest.mark.parametrize(("second", "sure"), [(0.8999, False), (0.8, True)])
def test_a_winner_by_less_than_the_error_is_not_sure(second: float, sure: bool) -> None:
    notes = table(network(1, 0.9), network(2, second)).notes()
    assert any("1 other within the target differs from it by less" in note for note in notes) == (not sure)
    assert any(note.startswith("The test set has chosen the winner") for note in notes)


def test_held_out_images_choose_the_winner() -> None:
    def validated(one: TopNetwork, top1: float) -> TopNetwork:
        assert one.full is not None
        held_out = msgspec.structs.replace(one.full.accuracy, top1=top1, on="validation")
        return msgspec.structs.replace(one, full=msgspec.structs.replace(one.full, validation=held_out))

    found = table(validated(network(1, 0.9), 0.7), validated(network(2, 0.8), 0.75))
    recipe = msgspec.structs.replace(RECIPE, validation=ValidationSettings(images=100))
    found = msgspec.structs.replace(found, recipe=recipe)
    assert found.winner == found.networks[1]
    assert not any("test set has chosen" in note for note in found.notes())


def test_one_network_alone_has_not_been_chosen() -> None:
    assert table(network(1, 0.9), network(2, 0.8, meets_target=False)).notes() == []


@pytest.mark.parametrize(("reward_from", "meets"), [("named", True), ("worst", False)])
def test_every_phone_that_decides_the_reward_has_its_target(tmp_path: Path, reward_from: str, meets: bool) -> None:
    run = Run.open(stand_in_run(tmp_path / "run", 12, other="pixel6"))
    best = run.best_trials(1)[0]
    assert best.latency_ms is not None
    latency = msgspec.structs.replace(
        run.experiment.latency,
        target_ms=best.latency_ms,
        others={"pixel6": msgspec.structs.replace(run.experiment.latency.others["pixel6"], target_ms=1e-6)},
        reward_from=reward_from,
    )
    asked = Run(run.directory, msgspec.structs.replace(run.experiment, latency=latency), run.images, run.reward_images)
    (found,) = new_table(asked, 1, RECIPE, "").networks
    assert found.meets_target is meets


def test_a_table_holds_the_network_of_the_run(digits_run: Run) -> None:
    (found,) = new_table(digits_run, 1, RECIPE, "").networks
    expected = digits_run.architecture_file(digits_run.best())
    assert architecture_file_to_dict(found.architecture.file()) == architecture_file_to_dict(expected)
