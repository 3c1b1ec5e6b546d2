from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from mnas.audit.parts import audit_plan, spread_networks
from mnas.data import ImageForm
from mnas.errors import ConfigurationError
from mnas.experiment import Experiment
from search_space import SearchSpace, fingerprint, multiply_adds
from tests.mnas.audit.arranged import EXPERIMENT

FORM = ImageForm(16, 1, 10)
SPACE = SearchSpace.load("tiny16")


def costs(decisions: tuple[tuple[int, ...], ...]) -> list[int]:
    return [multiply_adds(FORM.lower(SPACE.decode(each))) for each in decisions]


def changes(experiment: Experiment) -> list[str]:
    return [str(part.cheaper) for part in audit_plan(experiment).parts if part.cheaper is not None]


def test_networks_are_different_and_ordered_by_their_costs() -> None:
    networks = spread_networks(SPACE, FORM, 12)
    assert len({fingerprint(SPACE.decode(network)) for network in networks}) == 12
    assert costs(networks) == sorted(costs(networks))


def test_networks_are_spread_as_random_ones_are() -> None:
    random = np.random.default_rng(5)
    drawn = costs(tuple(SPACE.sample(random) for _ in range(400)))
    chosen = costs(spread_networks(SPACE, FORM, 20))
    for share in (0.25, 0.5, 0.75):
        below = np.mean(np.array(drawn) <= np.quantile(chosen, share))
        assert abs(below - share) < 0.1


def test_networks_do_not_depend_on_anything_but_space_form_and_count() -> None:
    assert spread_networks(SPACE, FORM, 8) == spread_networks(SPACE, FORM, 8)


def test_a_space_with_too_few_networks_is_said(tmp_path: Path) -> None:
    path = tmp_path / "few.yaml"
    path.write_text(
        "{name: few, image_size: 16, stem_filters: 8, stem_stride: 1, head_filters: 16, "
        "blocks: [{op: [conv], kernel: [3], stride: 2, filters: [8, 16], layers: [1, 2]}]}"
    )
    with pytest.raises(ConfigurationError, match="found 4; audit at most as many"):
        spread_networks(SearchSpace.load(path), FORM, 5)


def test_full_trainings_differ_in_their_seed_alone() -> None:
    full = [part.experiment for part in audit_plan(EXPERIMENT, seeds=3).parts if part.cheaper is None]
    assert [each.seed for each in full] == [0, 1, 2]
    assert full[1].changed({"seed": 0}) == full[0]


def test_a_cheaper_training_differs_by_one_key() -> None:
    plan = audit_plan(EXPERIMENT)
    base = plan.parts[0].experiment
    for part in plan.parts:
        if part.cheaper is not None:
            changed = {part.cheaper.key: part.cheaper.value, "search.learning_curves": False}
            assert part.experiment == base.changed(changed)


def test_epochs_images_and_sizes_are_reduced() -> None:
    assert changes(EXPERIMENT) == [
        "training.epochs: 2",
        "training.epochs: 1",
        "data.train_images: 668",
        "data.train_images: 334",
        "data.image_size: 12",
        "data.image_size: 8",
    ]


@pytest.mark.parametrize(
    ("change", "absent"),
    [
        pytest.param({"training.schedule": {"name": "constant"}}, "training.epochs", id="nested in a full training"),
        pytest.param({"training.epochs": 1}, "training.epochs", id="no fewer than one epoch"),
        pytest.param(
            {"training.schedule": {"name": "cosine", "warmup_epochs": 3}}, "training.epochs", id="shorter than warm-up"
        ),
        pytest.param({"data.train_images": 100, "training.batch_size": 64}, "data.train_images", id="no batch"),
        pytest.param({"data.image_size": 8}, "data.image_size", id="smallest size"),
    ],
)
def test_what_tells_nothing_is_left_out(change: Mapping[str, object], absent: str) -> None:
    assert not [key for key in changes(EXPERIMENT.changed(change)) if key.startswith(absent)]


def test_the_cost_is_said_in_trainings_and_hours() -> None:
    plan = audit_plan(EXPERIMENT, networks=6, seeds=2)
    assert (plan.trainings, plan.workers) == (6 * 8, 2)
    full, half = plan.parts[0].device_hours, plan.parts[2].device_hours
    assert 0.5 * full < half < full
    assert plan.device_hours == pytest.approx(sum(part.device_hours for part in plan.parts))


@pytest.mark.parametrize(("networks", "seeds", "said"), [(4, 3, "audit at least 5"), (12, 1, "train with at least 2")])
def test_too_small_an_audit_is_refused(networks: int, seeds: int, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        audit_plan(EXPERIMENT, networks, seeds)
