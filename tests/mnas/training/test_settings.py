import msgspec
import pytest

from mnas.training.settings import AdamSettings, Cosine, RmsPropSettings, TrainingSettings

MINIMAL = {"epochs": 5, "learning_rate": 0.016}


def convert(**changes: object) -> TrainingSettings:
    return msgspec.convert(MINIMAL | changes, TrainingSettings)


def test_optimizer_and_schedule_are_chosen_by_name() -> None:
    settings = convert(optimizer={"name": "adam", "beta2": 0.99}, schedule={"name": "cosine", "warmup_epochs": 1})
    assert settings.optimizer == AdamSettings(beta2=0.99)
    assert settings.schedule == Cosine(warmup_epochs=1)


def test_the_default_optimizer_is_the_papers() -> None:
    assert convert().optimizer == RmsPropSettings(decay=0.9, momentum=0.9, epsilon=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, r">= 1 - at `\$.epochs`"),
        ({"learning_rate": 0}, r"> 0(\.0)? - at `\$.learning_rate`"),
        ({"learning_rate": "1e-3"}, r"Expected `float`, got `str` - at `\$.learning_rate`"),
        ({"dropout": 1}, r"< 1(\.0)? - at `\$.dropout`"),
        ({"lr": 0.1}, "unknown field `lr`"),
        ({"weight_decay_on": "norms"}, r"Invalid enum value 'norms' - at `\$.weight_decay_on`"),
        ({"optimizer": {"name": "lion"}}, r"Invalid value 'lion' - at `\$.optimizer.name`"),
        ({"optimizer": {"name": "sgd", "decay": 0.9}}, r"unknown field `decay` - at `\$.optimizer`"),
        ({"schedule": {"name": "staircase", "factor": 1.5}}, r"<= 1(\.0)? - at `\$.schedule.factor`"),
        ({"schedule": {"name": "constant", "warmup_epochs": 5}}, "`warmup_epochs` is 5 of 5 epochs; it must be less"),
    ],
)
def test_a_wrong_value_is_named_with_its_path_and_rule(changes: dict[str, object], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        convert(**changes)
