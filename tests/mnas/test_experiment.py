from pathlib import Path

import msgspec
import pytest

from latency.android.profile import PhoneProfile, PhoneUnit, write_profile
from mnas.bundled_files import experiment_names
from mnas.errors import ConfigurationError
from mnas.experiment import RESUMABLE, Experiment, changed_keys


@pytest.fixture
def my_phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A phone of the name that our experiments use; nothing connects to it."""
    monkeypatch.setenv("MNAS_PHONES", str(tmp_path))
    device = PhoneUnit(serial="1A2B", address="usb:1A2B", reference_ms=0.3, calibration_ms=(1.0, 0.3, 2.0))
    write_profile(PhoneProfile(name="my-phone", model="any", abi="arm64-v8a", core=7, units=(device,)))


@pytest.mark.usefixtures("my_phone")
@pytest.mark.parametrize("name", experiment_names())
def test_every_experiment_that_we_ship_is_valid(name: str) -> None:
    experiment = Experiment.load(name)
    assert experiment.create_controller(experiment.load_space()).ask(1)


def quickstart() -> Experiment:
    return Experiment.load("quickstart")


def test_an_experiment_survives_the_store() -> None:
    text = msgspec.json.encode(quickstart())
    assert msgspec.json.decode(text, type=Experiment) == quickstart()


def test_more_trials_are_no_change() -> None:
    before = quickstart()
    more = msgspec.structs.replace(before.search, trials=99)
    assert changed_keys(before, msgspec.structs.replace(before, search=more)) == []


def test_a_change_is_named_with_both_values() -> None:
    before = quickstart()
    assert changed_keys(before, msgspec.structs.replace(before, seed=3)) == ["seed: 0 -> 3"]


def test_what_decides_the_order_of_proposals_cannot_be_changed_on_resuming() -> None:
    assert RESUMABLE.isdisjoint({"search.schedule", "search.batch_size"})


def with_latency(experiment: Experiment, **changes: object) -> Experiment:
    document = msgspec.to_builtins(experiment)
    document["latency"] |= changes
    return msgspec.convert(document, Experiment)


@pytest.mark.parametrize(
    ("changes", "change"),
    [
        ({"others": {"host:0": {"target_ms": 2.0}}}, "latency.others.host:0.target_ms: absent -> 2.0"),
        ({"reward_from": "worst"}, "latency.reward_from: named -> worst"),
    ],
)
def test_other_phones_and_their_say_cannot_be_changed_on_resuming(changes: dict[str, object], change: str) -> None:
    before = quickstart()
    assert changed_keys(before, with_latency(before, **changes)) == [change]


def test_the_cache_can_be_turned_off_on_resuming() -> None:
    before = quickstart()
    assert changed_keys(before, with_latency(before, cache=False)) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"phone": "pixel"}, r"latency\.phone: no phone is called 'pixel'"),
        ({"others": {"pixel": {"target_ms": 2.0}}}, r"latency\.others\.pixel: no phone is called 'pixel'"),
        ({"others": {"host": {"target_ms": 2.0}}}, r"latency\.others\.host: it is latency\.phone already"),
        ({"reward_from": "worst"}, r"latency\.reward_from: .* add latency\.others"),
    ],
)
def test_impossible_phones_are_refused_with_their_key(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        with_latency(quickstart(), **changes).latency.check()


def test_in_a_cluster_a_phone_may_be_known_elsewhere() -> None:
    with_latency(quickstart(), phone="pixel").latency.check(in_cluster=True)


def test_other_phones_have_a_say_only_where_the_worst_decides() -> None:
    named = with_latency(quickstart(), others={"host:0": {"target_ms": 2.0}})
    worst = with_latency(named, reward_from="worst")
    assert (named.latency.rewarded_others(), worst.latency.rewarded_others()) == ({}, {"host:0": 2.0})


def test_the_papers_protocol_is_the_papers() -> None:
    paper = Experiment.load("imagenet_ascend")
    assert (paper.search.trials, paper.training.epochs, paper.data.reward_images) == (8000, 5, 50_000)
    assert (paper.latency.target_ms, paper.reward.exponents) == (75, (-0.07, -0.07))
