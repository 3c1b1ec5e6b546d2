from __future__ import annotations

from typing import Any, cast

import pytest

from controllers import ControllerError, create, state_to_bytes, strategies


def test_an_unknown_strategy_is_refused_with_the_nearest_and_all_names() -> None:
    with pytest.raises(ControllerError, match=r"'pop' \(did you mean 'ppo'\?\).*random, local_search, .*ppo"):
        create("pop", (2, 2), seed=0)


def test_an_unknown_hyperparameter_is_refused_with_the_nearest_and_all_names() -> None:
    with pytest.raises(ControllerError, match=r"'learn_rate' \(did you mean 'learning_rate'\?\).*preset, .*epochs"):
        create("ppo", (2, 2), seed=0, learn_rate=0.1)


def test_a_hyperparameter_of_a_strategy_without_any_is_refused() -> None:
    with pytest.raises(ControllerError, match="'random' has no hyper-parameter 'epochs'; it takes none"):
        create("random", (2, 2), seed=0, epochs=3)


def test_an_unknown_preset_is_refused_with_the_nearest_and_all_names() -> None:
    with pytest.raises(ControllerError, match=r"'papers' \(did you mean 'paper'\?\).*tuned or paper"):
        create("ppo", (2, 2), seed=0, preset="papers")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("learning_rate", 0.0),
        ("learning_rate", 2),
        ("learning_rate", float("nan")),
        ("learning_rate", True),
        ("learning_rate", None),
        ("batch_size", 0),
        ("batch_size", 5.0),
        ("batch_size", True),
        ("batch_size", 10**400),
        ("epochs", "4"),
        ("entropy_weight", -0.1),
        ("priority_queue_size", -1),
        ("advantage", "none"),
        ("distinct", 1),
        ("preset", 1),
    ],
)
def test_a_value_out_of_range_or_of_the_wrong_type_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ControllerError, match=f"{name} of controller 'ppo' is .*; it must be "):
        create("ppo", (2, 2), seed=0, **cast(dict[str, Any], {name: value}))


def test_a_number_that_yaml_read_as_a_string_gets_a_hint() -> None:
    with pytest.raises(ControllerError, match=r"write 1\.0e-3"):
        create("ppo", (2, 2), seed=0, learning_rate="1e-3")


def test_an_integer_is_taken_for_a_float_hyperparameter() -> None:
    value = create("ppo", (2,), seed=0, entropy_weight=1).state()["hyperparameter_entropy_weight"]
    assert value == 1.0
    assert isinstance(value, float)


def test_hyperparameters_override_the_preset() -> None:
    state = create("ppo", (2,), seed=0, preset="paper", batch_size=7).state()
    assert state["hyperparameter_batch_size"] == 7
    assert state["hyperparameter_learning_rate"] == 3.5e-4


@pytest.mark.parametrize("sizes", [(), (2, 0), (2, -1), (2.0,), (True,), ("2",)], ids=str)
def test_decision_sizes_that_are_no_positive_integers_are_refused(sizes: tuple[Any, ...]) -> None:
    with pytest.raises(ControllerError, match="decision_sizes"):
        create("random", sizes, seed=0)


@pytest.mark.parametrize("seed", [-1, 0.5, None, True])
def test_a_seed_that_is_no_natural_number_is_refused(seed: object) -> None:
    with pytest.raises(ControllerError, match="seed"):
        create("random", (2,), seed=cast(int, seed))


def test_every_listed_strategy_is_created_with_its_listed_defaults() -> None:
    for strategy in strategies():
        defaults = {parameter.name: parameter.default for parameter in strategy.hyperparameters}
        listed = create(strategy.name, (2, 3), seed=0, **defaults)
        plain = create(strategy.name, (2, 3), seed=0)
        assert state_to_bytes(listed.state()) == state_to_bytes(plain.state())


def test_every_hyperparameter_says_what_it_is_and_what_is_allowed() -> None:
    for strategy in strategies():
        assert strategy.summary
        for parameter in strategy.hyperparameters:
            assert parameter.doc, parameter.name
            assert parameter.allowed, parameter.name
