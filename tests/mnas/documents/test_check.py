from enum import Enum
from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta

from mnas.documents.check import convert
from mnas.documents.errors import DocumentError


class Schedule(Enum):
    SYNCHRONOUS = "synchronous"
    ASYNCHRONOUS = "asynchronous"


class Training(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    epochs: Annotated[int, Meta(ge=1)]
    learning_rate: Annotated[float, Meta(gt=0, lt=10)] = 0.1

    def __post_init__(self) -> None:
        if self.epochs == 13:
            raise ValueError("epochs 13 is bad luck - at `least`")


class Digits(msgspec.Struct, forbid_unknown_fields=True, tag_field="kind", tag="digits"):
    size: int = 16


class Folder(msgspec.Struct, forbid_unknown_fields=True, tag_field="kind", tag="folder"):
    path: str


class Experiment(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    training: Training
    data: Digits | Folder
    device: Literal["CPU", "Ascend"] = "CPU"
    schedule: Schedule = Schedule.ASYNCHRONOUS
    blocks: tuple[Training, ...] = ()
    workers: Annotated[tuple[int, ...], Meta(min_length=1, max_length=2)] = (1,)
    limits: dict[str, int] = {}
    phones: dict[str, Training] = {}
    resume: Training | None = None
    size: int | tuple[int, int] = 1
    name: Annotated[str, Meta(pattern="^[a-z]+$")] = "x"
    quick: bool = False


GOOD: dict[str, Any] = {"training": {"epochs": 1}, "data": {"kind": "digits"}}


def test_data_that_fits_is_converted() -> None:
    experiment = convert({**GOOD, "schedule": "synchronous", "size": [1, 2]}, Experiment, source="e.yaml")
    assert (experiment.data, experiment.schedule, experiment.size) == (Digits(), Schedule.SYNCHRONOUS, (1, 2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"training": {"epochs": 1, "epoch": 2}},
            "unknown key 'training.epoch' (did you mean 'epochs'?); allowed keys: epochs, learning_rate",
        ),
        ({"data": {"kind": "digits", "path": "x"}}, "unknown key 'data.path'; allowed keys: kind, size"),
        ({"data": {"kind": "folder"}}, "key 'data.path' is missing; it takes text"),
        ({"data": {"size": 3}}, "key 'data.kind' is missing; it takes 'digits', 'folder'"),
        ({"data": {"kind": "digit"}}, "'data.kind' is 'digit' (did you mean 'digits'?); allowed: 'digits', 'folder'"),
        ({"data": {"kind": 5}}, "'data.kind' is 5; allowed: 'digits', 'folder'"),
        ({"resume": {"epoch": 1}}, "unknown key 'resume.epoch' (did you mean 'epochs'?)"),
        ({"training": {}}, "key 'training.epochs' is missing; it takes an integer >= 1"),
        ({"training": {"epochs": 0}}, "'training.epochs' is 0; allowed: an integer >= 1"),
        ({"training": {"epochs": 1.5}}, "'training.epochs' is 1.5; allowed: an integer >= 1"),
        ({"training": {"epochs": True}}, "'training.epochs' is true; allowed: an integer >= 1"),
        ({"training": {"epochs": "5"}}, "'training.epochs' is '5'; allowed: an integer >= 1"),
        ({"training": {"epochs": None}}, "'training.epochs' is empty (null); allowed: an integer >= 1"),
        (
            {"training": {"epochs": 1, "learning_rate": 10}},
            "'training.learning_rate' is 10; allowed: a number > 0 and < 10",
        ),
        ({"training": None}, "'training' is empty (null); allowed: a mapping with the keys epochs, learning_rate"),
        ({"training": {"epochs": 13}}, "'training': epochs 13 is bad luck - at `least`"),
        ({"device": "TPUv2"}, "'device' is 'TPUv2'; allowed: 'Ascend', 'CPU'"),
        ({"device": "ascend"}, "'device' is 'ascend' (did you mean 'Ascend'?); allowed"),
        ({"schedule": "sync"}, "'schedule' is 'sync'; allowed: 'synchronous', 'asynchronous'"),
        ({"blocks": [{"epochs": 1}, {"epochs": 0}]}, "'blocks[1].epochs' is 0"),
        ({"blocks": {"epochs": 1}}, "'blocks' is a mapping; allowed: a list, each a mapping with the keys epochs"),
        (
            {"workers": []},
            "'workers' is a list of 0; allowed: a list (entries: at least 1 and at most 2), each an integer",
        ),
        ({"workers": [1, "a"]}, "'workers[1]' is 'a'; allowed: an integer"),
        ({"limits": {"a": 1, "b": "x", "c": "y"}}, "'limits.b' is 'x'; allowed: an integer"),
        ({"phones": {"p1": {"epochs": 1}, "p2": {"epochs": 0}}}, "'phones.p2.epochs' is 0; allowed: an integer >= 1"),
        ({"phones": {"p": {"x": 1, "epochs": 1}}}, "unknown key 'phones.p.x'; allowed keys: epochs, learning_rate"),
        ({"phones": {"p": {"epochs": 13}}}, "'phones.p': epochs 13 is bad luck"),
        ({"limits": {1: 1}}, "'limits' has the key 1; keys must be text"),
        (
            {"size": "big"},
            "'size' is 'big'; allowed: an integer or a list of exactly 2 entries: an integer, an integer",
        ),
        ({"size": [1, "x"]}, "'size[1]' is 'x'; allowed: an integer"),
        ({"size": [1]}, "'size' is a list of 1; allowed: an integer or a list of exactly 2 entries"),
        ({"name": "X"}, "'name' is 'X'; allowed: text that matches ^[a-z]+$"),
        ({"name": "X" * 100}, f"'name' is 'X{'X' * 55}...; allowed"),
        ({"quick": "yes"}, "'quick' is 'yes'; allowed: true or false"),
        ({"quik": True}, "unknown key 'quik' (did you mean 'quick'?); allowed keys: training, data, device, schedule"),
    ],
)
def test_what_does_not_fit_is_named_with_its_place_and_what_is_allowed(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        convert({**GOOD, **change}, Experiment, source="e.yaml")
    assert str(caught.value).startswith(f"e.yaml: {message}")


def test_data_of_another_kind_is_refused() -> None:
    with pytest.raises(
        DocumentError, match=r"e\.yaml: the document is 'text'; allowed: a mapping with the keys training"
    ):
        convert("text", Experiment, source="e.yaml")


def test_a_missing_key_of_the_document_itself_is_named() -> None:
    with pytest.raises(DocumentError, match="key 'data' is missing; it takes a mapping with the keys kind, size or"):
        convert({"training": {"epochs": 1}}, Experiment, source="e.yaml")
