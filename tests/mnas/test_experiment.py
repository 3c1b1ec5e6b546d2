import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latency.android.profile import PhoneProfile, PhoneUnit, write_profile
from mnas.bundled_files import experiment_names
from mnas.data import DigitsSettings, ImageFolderSettings
from mnas.documents import yaml_file
from mnas.documents.changes import changed_keys
from mnas.errors import ConfigurationError, DocumentError
from mnas.experiment import RESUMABLE_EXPERIMENT_KEYS, Experiment, LatencySettings, SearchSettings
from mnas.training.settings import TrainingSettings

INTEGERS = st.integers(-(2**63) + 1, 2**63 - 1)
IMAGES = st.integers(1, 10**12)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)


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
    assert changed_keys(before, msgspec.structs.replace(before, search=more), RESUMABLE_EXPERIMENT_KEYS) == []


def test_a_change_is_named_with_both_values() -> None:
    before = quickstart()
    assert changed_keys(before, msgspec.structs.replace(before, seed=3), RESUMABLE_EXPERIMENT_KEYS) == ["seed: 0 -> 3"]


def test_what_decides_the_order_of_proposals_cannot_be_changed_on_resuming() -> None:
    assert RESUMABLE_EXPERIMENT_KEYS.isdisjoint(
        {"search.schedule", "search.batch_size", "search.halving", "search.latency_first"}
    )


def test_how_much_may_be_pending_may_be_changed_for_a_resume() -> None:
    assert "search.max_pending" in RESUMABLE_EXPERIMENT_KEYS


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
    assert changed_keys(before, with_latency(before, **changes), RESUMABLE_EXPERIMENT_KEYS) == [change]


def test_the_cache_can_be_turned_off_on_resuming() -> None:
    before = quickstart()
    assert changed_keys(before, with_latency(before, cache=False), RESUMABLE_EXPERIMENT_KEYS) == []


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
    assert isinstance(paper.data, ImageFolderSettings)
    assert (paper.search.trials, paper.training.epochs, paper.data.reward_images) == (8000, 5, 50_000)
    assert (paper.latency.target_ms, paper.reward.exponents) == (75, (-0.07, -0.07))


@pytest.mark.parametrize("data", ["cifar10", "imagenet"])
def test_the_papers_comparisons_differ_in_space_and_reward_only(data: str) -> None:
    soft = Experiment.load(f"paper/{data}_soft")
    changed = {
        name: {change.split(":")[0] for change in changed_keys(soft, Experiment.load(f"paper/{data}_{name}"))}
        for name in ("hard", "cell", "cell_single")
    }
    assert changed == {
        "hard": {"reward.form"},
        "cell": {"space"},
        "cell_single": {"space", "reward.alpha", "reward.beta"},
    }


@pytest.mark.parametrize(
    ("name", "exponents"),
    [("soft", (-0.07, -0.07)), ("hard", (0, -1)), ("cell", (-0.07, -0.07)), ("cell_single", (0, 0))],
)
@pytest.mark.parametrize(("data", "space"), [("cifar10", "small32"), ("imagenet", "mnasnet")])
def test_the_papers_comparisons_have_the_papers_rewards(
    data: str, space: str, name: str, exponents: tuple[float, float]
) -> None:
    experiment = Experiment.load(f"paper/{data}_{name}")
    assert experiment.reward.exponents == exponents
    assert experiment.space == (f"{space}_cell" if name.startswith("cell") else space)


def test_the_soft_reward_on_imagenet_is_the_papers_protocol() -> None:
    assert Experiment.load("paper/imagenet_soft") == Experiment.load("imagenet_ascend")


def test_cifar10_at_small_scale_is_cifar10_with_more_children() -> None:
    assert changed_keys(Experiment.load("cifar10"), Experiment.load("paper/cifar10_soft")) == [
        "search.trials: 44 -> 100"
    ]


def small() -> Experiment:
    """Return an experiment that was built in Python, from its parts."""
    return Experiment(
        space="tiny16",
        data=DigitsSettings(image_size=16, reward_images=100),
        training=TrainingSettings(epochs=1, learning_rate=0.01),
        search=SearchSettings(trials=3),
        latency=LatencySettings(target_ms=0.1),
    )


def test_from_dict_takes_what_the_yaml_file_holds() -> None:
    assert Experiment.from_dict(msgspec.to_builtins(quickstart())) == quickstart()


def test_from_dict_takes_paths_and_settings_too(tmp_path: Path) -> None:
    document = msgspec.to_builtins(small()) | {"data": {"format": "cifar10_binary", "directory": tmp_path}}
    document["search"] = SearchSettings(trials=4)
    experiment = Experiment.from_dict(document)
    assert (experiment.data.path, experiment.search.trials) == (tmp_path, 4)  # type: ignore[union-attr]  # not digits


def test_from_dict_names_a_key_that_is_wrong() -> None:
    with pytest.raises(DocumentError, match=r"'search\.trials' is 0; allowed: an integer >= 1"):
        Experiment.from_dict(msgspec.to_builtins(small()) | {"search": {"trials": 0}})


def test_from_dict_refuses_what_is_no_data() -> None:
    with pytest.raises(ConfigurationError, match="use text, numbers"):
        Experiment.from_dict(msgspec.to_builtins(small()) | {"seed": object()})


def test_changed_takes_dotted_keys_and_leaves_the_rest() -> None:
    before = quickstart()
    after = before.changed({"search.trials": 12, "latency.target_ms": 0.05, "latency.others.host:0.target_ms": 2.0})
    assert changed_keys(before, after, RESUMABLE_EXPERIMENT_KEYS) == [
        "latency.others.host:0.target_ms: absent -> 2.0",
        "latency.target_ms: 0.04 -> 0.05",
    ]
    assert (after.search.trials, before.search.trials) == (12, 30)


def test_changed_makes_an_absent_part_and_removes_it_again() -> None:
    averaged = small().changed({"training.ema.decay": 0.9})
    assert averaged.training.ema is not None
    assert averaged.changed({"training.ema": None}) == small()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("search.trails", 7, r"unknown key 'search\.trails' \(did you mean 'trials'\?\)"),
        ("serach.trials", 7, r"unknown key 'serach' \(did you mean 'search'\?\)"),
        ("seed.of.children", 7, r"seed\.of\.children: 'seed' holds a value and no keys"),
        ("controller.name", "pppo", r"controller: .*'pppo' \(did you mean 'ppo'\?\)"),
    ],
)
def test_changed_refuses_a_wrong_key_or_value(key: str, value: object, message: str) -> None:
    with pytest.raises((ConfigurationError, DocumentError), match=message):
        small().changed({key: value})


def test_an_experiment_built_in_python_is_checked() -> None:
    small().check()
    with pytest.raises(ConfigurationError, match=r"'search\.trials' is 0; allowed: an integer >= 1"):
        msgspec.structs.replace(small(), search=SearchSettings(trials=0)).check()


def test_a_part_that_is_plain_data_is_refused() -> None:
    plain: object = {"trials": 3}
    with pytest.raises(ConfigurationError, match="use from_dict"):
        Experiment(
            space="tiny16",
            data=small().data,
            training=small().training,
            search=plain,  # type: ignore[arg-type]  # the mistake that is tested
            latency=small().latency,
        ).check()


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
shares = st.floats(0, 0.999)
positives = st.floats(0, 1e6, exclude_min=True)
optimizers = st.one_of(
    st.fixed_dictionaries({"name": st.just("rmsprop")}, optional={"decay": shares, "epsilon_in_root": st.booleans()}),
    st.fixed_dictionaries({"name": st.just("sgd")}, optional={"momentum": shares}),
    st.fixed_dictionaries({"name": st.just("adam")}, optional={"epsilon": positives}),
)
datas = st.one_of(
    st.fixed_dictionaries(
        {"format": st.just("digits")},
        optional={"train_images": IMAGES, "normalize": st.just({"mean": [0.1], "std": [0.3]})},
    ),
    st.fixed_dictionaries(
        {"format": st.just("image_folder"), "directory": names},
        optional={
            "color_jitter": shares,
            "reward_images": IMAGES,
            "evaluation_crop": st.floats(0.1, 1),
        },
    ),
)
documents = st.fixed_dictionaries(
    {
        "space": names,
        "data": datas,
        "training": st.fixed_dictionaries(
            {"epochs": st.integers(1, 10**6), "learning_rate": positives},
            optional={
                "optimizer": optimizers,
                "clip_norm": positives,
                "ema": st.fixed_dictionaries({}, optional={"decay": shares, "ramp": st.booleans()}),
            },
        ),
        "search": st.fixed_dictionaries(
            {"trials": st.integers(1, 10**6)},
            optional={"workers": st.integers(1, 4096) | st.just("auto"), "ray_address": names},
        ),
        "latency": st.fixed_dictionaries(
            {"target_ms": positives},
            optional={
                "phone": names,
                "others": st.dictionaries(names, st.fixed_dictionaries({"target_ms": positives}), max_size=3),
                "measurement": st.dictionaries(names, INTEGERS | FLOATS, max_size=3),
            },
        ),
    },
    optional={
        "controller": st.dictionaries(names, st.booleans() | INTEGERS | FLOATS | names),
        "reward": st.fixed_dictionaries({}, optional={"alpha": st.floats(-10, 0), "form": st.just("hard")}),
        "seed": st.integers(0, 2**31 - 1),
    },
)


@given(documents)
def test_what_is_saved_reads_back_equal(tmp_path_factory: pytest.TempPathFactory, document: dict[str, object]) -> None:
    experiment = msgspec.convert(document, Experiment)
    path = tmp_path_factory.mktemp("saved") / "experiment.yaml"
    experiment.save(path)
    assert yaml_file.read(path, Experiment) == experiment


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    quickstart().save(tmp_path / "mine.yaml")
    assert Experiment.load(tmp_path / "mine.yaml") == quickstart()


def test_absent_values_are_not_written(tmp_path: Path) -> None:
    small().save(tmp_path / "mine.yaml")
    assert "null" not in (tmp_path / "mine.yaml").read_text()


def test_an_experiment_that_would_not_read_back_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="seed"):
        msgspec.structs.replace(small(), seed=-1).save(tmp_path / "mine.yaml")
    assert not (tmp_path / "mine.yaml").exists()


@pytest.mark.parametrize("stored", ["null", "1e300"])
def test_a_stored_timeout_without_a_bound_reads_as_the_largest_one(stored: str) -> None:
    text = msgspec.json.encode(Experiment.load("quickstart")).decode()
    changed = re.sub(r'"child_timeout_s":[^,}]*', f'"child_timeout_s":{stored}', text)
    assert Experiment.from_stored(changed, source="run").search.child_timeout_s == 31_536_000.0


@pytest.mark.parametrize("value", [".inf", ".nan", "1e300", "1:30", "0o11"])
def test_a_time_that_is_no_time_is_refused_with_its_key(tmp_path: Path, value: str) -> None:
    text = yaml_file.dump(msgspec.to_builtins(Experiment.load("quickstart")))
    path = tmp_path / "experiment.yaml"
    path.write_text(re.sub(r"child_timeout_s: .*", f"child_timeout_s: {value}", text))
    with pytest.raises(DocumentError, match=r"'search\.child_timeout_s' is "):
        Experiment.load(path)


def test_a_micro_batch_divides_the_batch() -> None:
    experiment = Experiment.load("quickstart")
    batch_size = experiment.training.batch_size
    assert experiment.changed({"micro_batch_size": batch_size // 2}).micro_batch_size == batch_size // 2
    with pytest.raises(ConfigurationError, match=f"micro_batch_size: {batch_size - 1} does not divide"):
        experiment.changed({"micro_batch_size": batch_size - 1})


def test_a_rung_comes_before_the_end_of_a_training() -> None:
    epochs = quickstart().training.epochs
    with pytest.raises(ConfigurationError, match=f"search.halving.first_epochs: .* {epochs} epochs"):
        quickstart().changed({"search.halving.first_epochs": epochs})
    assert quickstart().changed({"search.halving.first_epochs": epochs - 1}).search.halving is not None
