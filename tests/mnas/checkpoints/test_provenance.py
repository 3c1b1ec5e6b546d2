import msgspec
import pytest

from latency import LatencyRecord
from mnas.checkpoints.checkpoint import Accuracy
from mnas.checkpoints.provenance import Provenance, ProvenanceInput, ProvenanceWeights
from mnas.data import InputForm
from mnas.documents.errors import DocumentError

FORM = InputForm(
    image_size=32,
    channels=3,
    num_classes=10,
    mean=(0.5, 0.5, 0.5),
    std=(0.2, 0.2, 0.2),
    evaluation_crop=0.9,
    interpolation="bicubic",
)
FULL = Provenance(
    run="runs/first",
    trial=7,
    input=ProvenanceInput.of(FORM),
    accuracy=0.6,
    latency_ms=2.1,
    other_latencies_ms={"pixel6": 3.0},
    target_ms=2.0,
    reward=0.57,
    width=2.0,
    weights=ProvenanceWeights(
        checkpoint="last.safetensors",
        epoch=3,
        step=66,
        accuracy=Accuracy(top1=0.9, top5=0.99, loss=0.3, images=360, of_ema=True),
    ),
)


def test_a_record_reads_back() -> None:
    assert Provenance.of(FULL.lineage(), "architecture.yaml") == FULL


def test_lineage_is_plain_data_without_what_is_not_known() -> None:
    assert Provenance(run="runs/first", trial=7, weights="initial").lineage() == {
        "run": "runs/first",
        "trial": 7,
        "weights": "initial",
    }
    assert FULL.lineage()["input"]["mean"] == [0.5, 0.5, 0.5]


def test_keys_of_other_tools_are_kept() -> None:
    before = {"trial": 3, "note": "found on a Sunday"}
    assert Provenance.of(before, "mine.yaml").trial == 3
    assert Provenance(trial=4).lineage(before) == {"trial": 4, "note": "found on a Sunday"}


def test_an_input_is_recorded_whole() -> None:
    named = msgspec.structs.replace(FORM, class_names=tuple("abcdefghij"))
    assert ProvenanceInput.of(named).form() == named


def test_what_an_old_record_leaves_out_of_the_input_is_by_convention() -> None:
    form = ProvenanceInput(image_size=224, channels=3, num_classes=10).form()
    assert (form.mean, form.evaluation_crop) == ((0.485, 0.456, 0.406), 0.875)


def test_another_network_has_none_of_the_numbers() -> None:
    kept = FULL.of_another_network().lineage()
    assert kept.keys() == {"run", "trial", "input", "width", "weights"}


def test_a_wrong_value_is_named() -> None:
    with pytest.raises(DocumentError, match=r"mine\.yaml: lineage: 'reward' is 'good'"):
        Provenance.of({"reward": "good"}, "mine.yaml")


def test_records_of_every_phone_are_read(latency_record: LatencyRecord) -> None:
    told = {"latency_ms": latency_record.latency_ms, **latency_record.to_dict()}
    found = Provenance(latency={**told, "others": {"pixel6": told}})
    assert list(found.latency_records()) == [latency_record, latency_record]


def test_a_network_that_was_not_timed_has_no_records() -> None:
    assert list(Provenance().latency_records()) == []
