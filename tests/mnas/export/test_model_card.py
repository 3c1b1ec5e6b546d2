import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from PIL import Image

from mnas.checkpoints.checkpoint import Accuracy, Position
from mnas.export.model_card import model_card
from mnas.export.onnx_file import onnx_bytes
from mnas.export.source import find_source
from mnas.export.subject import Adaptation, Subject, subject_of
from mnas.search.contest import Finalist
from mnas.search.finalists import Standing
from mnas.search.run import Run

FILES = {"model.onnx": "the network"}


@pytest.fixture
def untrained(searched_run: Path) -> Subject:
    return subject_of(find_source(str(searched_run)), Adaptation(), None)


@pytest.fixture
def trained(untrained: Subject) -> Subject:
    accuracy = Accuracy(top1=0.915, top5=0.99, loss=0.3, images=360, of_ema=True)
    ema = dict(untrained.checkpoint.weights)
    checkpoint = replace(untrained.checkpoint, accuracy=accuracy, position=Position(epoch=10, step=220), ema=ema)
    return replace(untrained, checkpoint=checkpoint, weights_from=Path("retrained/best.safetensors"))


def card(subject: Subject) -> str:
    return model_card(subject, FILES, difference=3e-7)


def test_untrained_weights_are_said_plainly(untrained: Subject) -> None:
    text = card(untrained)
    assert "**Its weights are initial ones: the network is not trained.**" in text
    assert "| top-1 accuracy | none: not trained |" in text
    assert "Not verified: any accuracy. The weights are initial." in text


def test_the_accuracy_of_a_training_comes_with_how_it_was_obtained(trained: Subject) -> None:
    text = card(trained)
    assert "| top-1 accuracy | 91.50% of 360 test images, the moving average of the weights after epoch 10 |" in text
    assert "the moving average of the weights of the checkpoint retrained/best.safetensors after 10 epochs" in text
    assert "not trained" not in text


def test_a_checkpoint_without_accuracy_is_said_to_have_none(trained: Subject) -> None:
    text = card(replace(trained, checkpoint=replace(trained.checkpoint, accuracy=None)))
    assert "| top-1 accuracy | not known" in text
    assert "- Not verified: any accuracy of these weights." in text


def test_every_phone_has_a_row_with_its_protocol(untrained: Subject) -> None:
    rows = [line for line in card(untrained).splitlines() if "runs after" in line]
    assert [row.split()[1] for row in rows] == ["host", "pixel6"]
    assert all("2.1 ms" in row and "one thread on core 1, onnxruntime 1.20.0" in row for row in rows)


def test_a_scaled_network_has_no_latency_and_names_its_parent(searched_run: Path) -> None:
    text = card(subject_of(find_source(str(searched_run)), Adaptation(width=2.0), None))
    assert "Latency of this network has not been measured." in text
    assert "- Not verified: any latency of this network." in text
    assert "This one differs in width or input." in text


def test_the_search_is_told_with_its_reward(untrained: Subject) -> None:
    text = card(untrained)
    assert "w = -0.07 below the target and -0.07 above" in text
    assert "accuracy 0.6000 on 100 held-out training images after 2 epochs (44 steps)" in text


def test_published_numbers_are_told_apart_from_the_weights() -> None:
    text = card(subject_of(find_source("mnasnet-a1"), Adaptation(), None))
    assert "Published for this network on ImageNet: top-1 75.2%, top-5 92.5%, 78 ms on a Pixel 1." in text
    assert "not from the weights in this folder" in text


def test_few_classes_are_listed(trained: Subject) -> None:
    names = tuple(f"digit {number}" for number in range(10))
    named = msgspec.structs.replace(trained.checkpoint.input, class_names=names)
    text = card(replace(trained, checkpoint=replace(trained.checkpoint, input=named)))
    assert "Classes, by label: digit 0, digit 1," in text


def test_unknown_classes_are_not_named() -> None:
    text = card(subject_of(find_source("mnasnet-small"), Adaptation(), None))
    assert "The names of the classes are not known" in text


@pytest.mark.parametrize("what", ["run", "mnasnet-small"])
def test_the_code_of_the_card_runs(
    what: str,
    searched_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    subject = subject_of(find_source(str(searched_run) if what == "run" else what), Adaptation(), None)
    (tmp_path / "model.onnx").write_bytes(onnx_bytes(subject))
    Image.new("RGB", (40, 30), (200, 10, 10)).save(tmp_path / "picture.jpg")
    monkeypatch.chdir(tmp_path)
    code = re.search(r"```python\n(.*?)```", card(subject), re.DOTALL)
    assert code is not None
    names: dict[str, Any] = {}
    exec(code[1], names)
    assert names["logits"].shape == (1, subject.network.num_classes)
    said = capsys.readouterr().out.strip()
    class_names = subject.checkpoint.input.class_names
    assert said == (str(names["label"]) if class_names is None else class_names[names["label"]])


def test_the_files_are_listed(untrained: Subject) -> None:
    assert "| model.onnx | the network |" in card(untrained)


HOSTILE = "\x1b[31m<script>\n\n# [a](b) | `c`"


@pytest.mark.parametrize("place", ["name", "class", "weights"])
def test_foreign_text_is_no_markup(trained: Subject, place: str) -> None:
    checkpoint = trained.checkpoint
    changed = {
        "name": replace(
            trained, checkpoint=replace(checkpoint, architecture=replace(checkpoint.architecture, name=HOSTILE))
        ),
        "class": replace(
            trained,
            checkpoint=replace(
                checkpoint,
                input=msgspec.structs.replace(checkpoint.input, class_names=(HOSTILE, *map(str, range(9)))),
            ),
        ),
        "weights": replace(trained, weights_from=Path(HOSTILE)),
    }[place]
    text = card(changed)
    assert r"\<script\>\\x0a\\x0a# \[a\](b) \| \`c\`" in text
    assert "\x1b" not in text


def test_without_finalists_the_numbers_are_said_to_be_optimistic(untrained: Subject) -> None:
    assert "numbers of a single training. The best of many of these is optimistic" in card(untrained)


def test_a_finalist_comes_with_its_fresh_trainings(untrained: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = untrained.source.trial
    assert trial is not None
    standing = Standing(trainings=3, mean=0.51, estimate=0.5, low=0.45, high=0.55, probability_best=0.97)
    monkeypatch.setattr(Run, "finalists", lambda run: [Finalist(trial, standing, accuracy=0.55, latency_ms=2.2)])
    text = card(untrained)
    assert "(3 times, finalists of the search), its mean reward is 0.5100, with accuracy 0.5500" in text
    assert "from 0.4500 to 0.5500 with a probability of 95%" in text
    assert "best of 1 finalists with a probability of 0.970" in text
    assert "optimistic" not in text
