from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from controllers import STRATEGIES, ControllerError, create_controller, state_to_bytes


def test_an_unknown_strategy_is_refused_with_the_nearest_and_all_names() -> None:
    with pytest.raises(ControllerError, match=r"'pop' \(did you mean 'ppo'\?\).*random, local_search, .*ppo"):
        create_controller("pop", (2, 2), seed=0)


def test_an_unknown_hyperparameter_is_refused_with_the_nearest_and_all_names() -> None:
    with pytest.raises(ControllerError, match=r"'learn_rate' \(did you mean 'learning_rate'\?\).*preset, .*epochs"):
        create_controller("ppo", (2, 2), seed=0, learn_rate=0.1)


def test_a_hyperparameter_of_a_strategy_without_any_is_refused() -> None:
    with pytest.raises(ControllerError, match="'random' has no hyper-parameter 'epochs'; it takes none"):
        create_controller("random", (2, 2), seed=0, epochs=3)


def test_an_unknown_preset_is_refused_with_the_nearest_and_all_names() -> None:
    with pytest.raises(ControllerError, match=r"'papers' \(did you mean 'paper'\?\).*tuned or paper"):
        create_controller("ppo", (2, 2), seed=0, preset="papers")


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
        create_controller("ppo", (2, 2), seed=0, **cast(dict[str, Any], {name: value}))


def test_a_number_that_yaml_read_as_a_string_gets_a_hint() -> None:
    with pytest.raises(ControllerError, match=r"write 1\.0e-3"):
        create_controller("ppo", (2, 2), seed=0, learning_rate="1e-3")


def test_an_integer_is_taken_for_a_float_hyperparameter() -> None:
    value = create_controller("ppo", (2,), seed=0, entropy_weight=1).state()["hyperparameter_entropy_weight"]
    assert value == 1.0
    assert isinstance(value, float)


def test_hyperparameters_override_the_preset() -> None:
    state = create_controller("ppo", (2,), seed=0, preset="paper", batch_size=7).state()
    assert state["hyperparameter_batch_size"] == 7
    assert state["hyperparameter_learning_rate"] == 3.5e-4


@pytest.mark.parametrize("sizes", [(), (2, 0), (2, -1), (2.0,), (True,), ("2",)], ids=str)
def test_decision_sizes_that_are_no_positive_integers_are_refused(sizes: tuple[Any, ...]) -> None:
    with pytest.raises(ControllerError, match="decision_sizes"):
        create_controller("random", sizes, seed=0)


@pytest.mark.parametrize("seed", [-1, 0.5, None, True])
def test_a_seed_that_is_no_natural_number_is_refused(seed: object) -> None:
    with pytest.raises(ControllerError, match="seed"):
        create_controller("random", (2,), seed=cast(int, seed))


def test_every_listed_strategy_is_created_with_its_listed_defaults() -> None:
    for strategy in STRATEGIES.values():
        defaults = {parameter.name: parameter.default for parameter in strategy.described_hyperparameters()}
        listed = create_controller(strategy.name, (2, 3), seed=0, **defaults)
        plain = create_controller(strategy.name, (2, 3), seed=0)
        assert state_to_bytes(listed.state()) == state_to_bytes(plain.state())


def test_every_hyperparameter_says_what_it_is_and_what_is_allowed() -> None:
    for strategy in STRATEGIES.values():
        assert strategy.summary
        for parameter in strategy.described_hyperparameters():
            assert parameter.doc, parameter.name
            assert parameter.allowed, parameter.name


def test_the_table_has_every_strategy_under_its_name_and_cannot_be_changed() -> None:
    assert all(name == strategy.name for name, strategy in STRATEGIES.items())
    with pytest.raises(TypeError):
        cast(dict[str, Any], STRATEGIES)["own"] = STRATEGIES["random"]


@pytest.mark.parametrize("name", ["decision_sizes", "name", "self"])
def test_an_argument_of_the_function_is_no_hyperparameter(name: str) -> None:
    with pytest.raises(ControllerError, match=f"no hyper-parameter '{name}'"):
        create_controller("random", (2,), seed=0, **cast(dict[str, Any], {name: 1}))


OWN_MODULE = """
class Fixed:
    def __init__(self, decision_sizes, *, seed, alpha=1):
        if alpha < 0:
            raise ValueError("alpha is below 0")
        if alpha > 9:
            raise RuntimeError("a bug")
        self.given = (decision_sizes, seed, alpha)

    def ask(self, count):
        return [(0,) * len(self.given[0])] * count

    def tell(self, proposals, rewards):
        pass

    def state(self):
        return {}

    def restore(self, state):
        pass


class Forgetful:
    restore = None

    def __init__(self, decision_sizes, *, seed):
        pass

    def ask(self, count):
        return []

    def tell(self, proposals, rewards):
        pass


NOTHING = None
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "own_controllers_for_test.py").write_text(OWN_MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return "own_controllers_for_test"


def test_an_own_controller_gets_decision_sizes_seed_and_values(own_module: str) -> None:
    controller: Any = create_controller(f"{own_module}:Fixed", [2, 3], seed=5, alpha=4)
    assert controller.given == ((2, 3), 5, 4)
    assert controller.ask(2) == [(0, 0), (0, 0)]


@pytest.mark.parametrize(
    ("part", "values", "message"),
    [
        ("Forgetful", {}, "Forgetful without state, restore; a controller has the methods ask, tell, state, restore"),
        ("Fixed", {"beta": 1}, r"cannot be made: .*'beta'.*called with \(decision_sizes, seed=0, beta=1\)"),
        ("Fixed", {"alpha": -1}, "cannot be made: alpha is below 0"),
        ("NOTHING", {}, "cannot be made: .*not callable"),
        ("Missing", {}, "has no Missing"),
        ("", {}, "package.module:Name"),
    ],
)
def test_an_own_controller_that_does_not_fit_is_refused(
    own_module: str, part: str, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ControllerError, match=message):
        create_controller(f"{own_module}:{part}", (2, 3), seed=0, **values)


def test_an_own_controllers_bug_keeps_its_traceback(own_module: str) -> None:
    with pytest.raises(RuntimeError, match="a bug"):
        create_controller(f"{own_module}:Fixed", (2, 3), seed=0, alpha=10)
