import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from PIL import Image

from mnas.checkpoints.checkpoint import Checkpoint, CheckpointError, read_checkpoint
from mnas.checkpoints.image_input import conventional_input
from mnas.data import ImageArrays, InputForm, StreamedImages, load_images
from mnas.errors import DataError, WeightsError
from mnas.evaluation.accuracy import Evaluation
from mnas.evaluation.classifiers import Engine
from mnas.export.folder import export
from mnas.export.source import find_source
from mnas.export.subject import Adaptation, subject_of
from mnas.mindspore_setup import Compute
from mnas.network.weights import initial_weights
from mnas.validation import Model, Target, evaluate_model, open_model
from search_space import Architecture, ArchitectureFile, parse_block, write_architecture

ENGINES: tuple[Engine, ...] = ("mindspore", "onnx")


@pytest.fixture
def model(digits_checkpoint: Path) -> Model:
    return open_model(digits_checkpoint)


@pytest.fixture
def exported(digits_checkpoint: Path, tmp_path: Path) -> Path:
    write_architecture(tmp_path / "digits.yaml", read_checkpoint(digits_checkpoint).architecture)
    source = find_source(str(tmp_path / "digits.yaml"))
    return export(subject_of(source, Adaptation(), digits_checkpoint), tmp_path / "exported").folder


def on_digits(model: Model, engine: Engine) -> Evaluation:
    return evaluate_model(
        model, load_images("digits", model.checkpoint.input), engine=engine, compute=Compute(threads=1)
    )


def test_both_engines_find_the_same_accuracy(model: Model) -> None:
    by_mindspore, by_onnx = (on_digits(model, engine) for engine in ENGINES)
    assert (by_mindspore.top1, by_mindspore.top5) == (by_onnx.top1, by_onnx.top5)
    assert by_mindspore.loss == pytest.approx(by_onnx.loss, rel=1e-5)


def test_a_network_that_knows_the_digits_shows_it(model: Model) -> None:
    evaluation = on_digits(model, "onnx")
    assert evaluation.images == 360
    assert evaluation.top1 > 0.7


def test_an_exported_folder_has_the_accuracy_of_its_checkpoint(model: Model, exported: Path) -> None:
    assert on_digits(open_model(exported), "onnx") == on_digits(model, "onnx")


def test_the_engine_onnx_runs_the_folders_own_model(model: Model, exported: Path) -> None:
    graph = onnx.load(exported / "model.onnx")
    (bias,) = [constant for constant in graph.graph.initializer if constant.name == "classifier.bias"]
    always_zero = np.array([100] + [0] * 9, np.float32)
    bias.CopyFrom(onnx.numpy_helper.from_array(always_zero, bias.name))
    onnx.save(graph, exported / "model.onnx")
    changed = open_model(exported)
    assert on_digits(changed, "onnx").top1 < 0.2
    assert on_digits(changed, "mindspore").top1 == on_digits(model, "onnx").top1


def test_progress_counts_images_up_to_all(model: Model) -> None:
    counts: list[int] = []
    source = load_images("digits", model.checkpoint.input)
    evaluate_model(model, source, engine="onnx", batch_size=100, compute=Compute(threads=1), on_batch=counts.append)
    assert counts == [100, 200, 300, 360]


def test_weights_that_are_no_numbers_are_an_error(model: Model) -> None:
    weights = {**model.checkpoint.weights, "classifier.bias": np.full(10, np.nan, np.float32)}
    with pytest.raises(WeightsError, match="loss on these images is nan"):
        on_digits(Model(replace(model.checkpoint, weights=weights)), "onnx")


def test_the_moving_average_is_what_counts(model: Model) -> None:
    weights = {**model.checkpoint.weights, "classifier.weight": np.zeros((10, 64), np.float32)}
    averaged = replace(model.checkpoint, weights=weights, ema=model.checkpoint.weights)
    assert on_digits(Model(averaged), "onnx") == on_digits(model, "onnx")


def test_a_folder_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no checkpoint\.safetensors"):
        open_model(tmp_path)


def test_a_folder_without_its_onnx_model_is_refused(exported: Path) -> None:
    (exported / "model.onnx").unlink()
    with pytest.raises(CheckpointError, match=r"model\.onnx: cannot be read"):
        open_model(exported)


@pytest.mark.parametrize(
    ("top1", "met"),
    [(0.7177, True), (0.7500, True), (0.7167, True), (0.71669, False), (0.6990, False)],
)
def test_a_target_may_be_missed_by_the_tolerance(top1: float, met: bool) -> None:
    assert Target(71.77, 0.1).is_met(evaluation(top1)) is met


def test_the_tolerance_itself_is_still_met_whatever_binary_fractions_make_of_it() -> None:
    assert Target(70.0, 0.1).is_met(evaluation(0.699))


def test_the_shortfall_is_in_percentage_points() -> None:
    assert Target(71.77).shortfall(evaluation(0.70)) == pytest.approx(1.77)


def evaluation(top1: float) -> Evaluation:
    return Evaluation(top1=top1, top5=0.9, loss=1.0, images=50_000)


FORM = msgspec.structs.replace(conventional_input(32, 3, 2), class_names=("ant", "bee"))
UNNAMED = conventional_input(32, 3, 2)
LARGE = conventional_input(96, 3, 2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of two images, val/CLASS/*; nothing else."""
    for name, colour in (("ant", (250, 10, 10)), ("bee", (10, 10, 250))):
        (tmp_path / "data" / "val" / name).mkdir(parents=True)
        for number in range(2):
            picture(colour).save(tmp_path / "data" / "val" / name / f"{number}.jpg")
    return tmp_path / "data"


def picture(colour: tuple[int, int, int], size: tuple[int, int] = (120, 100)) -> Image.Image:
    return Image.new("RGB", size, colour)


def colour_model(form: InputForm) -> Model:
    """A network that tells red (class 0) from blue: its answer is the difference of the two channels."""
    architecture = Architecture(
        (parse_block("r1_k1_s11_e1_i8_o8_noskip_conv"),), stem_filters=8, stem_stride=1, head_filters=8
    )
    file = ArchitectureFile(architecture, name="colours")
    network = Checkpoint(file, form, {}).network()
    weights = {name: np.zeros_like(value) for name, value in initial_weights(network, seed=0).items()}
    for name, value in weights.items():
        if name.endswith((".gamma", ".moving_variance")):
            value[:] = 1
    weights["stem.conv.weight"][0, 0, 1, 1] = weights["stem.conv.weight"][1, 2, 1, 1] = 1
    for name in ("blocks.0.0.conv.weight", "head.conv.weight"):
        weights[name][np.arange(8), np.arange(8), 0, 0] = 1
    weights["classifier.weight"][0, 0] = weights["classifier.weight"][1, 1] = 1
    return Model(Checkpoint(file, form, weights))


@pytest.mark.parametrize("form", [FORM, UNNAMED, LARGE], ids=["named", "unnamed", "large"])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_test_set_needs_no_training_images(folder: Path, form: InputForm, engine: Engine) -> None:
    found = evaluate_model(
        colour_model(form), load_images(str(folder), form), engine=engine, batch_size=4, compute=Compute(threads=1)
    )
    assert (found.images, found.top1) == (4, 1.0)


def test_small_images_are_taken_as_they_are(folder: Path) -> None:
    source = load_images(str(folder), FORM)
    assert isinstance(source, ImageArrays)
    assert source.image_size == 32


def test_large_images_are_cropped_as_mindcv_does(folder: Path) -> None:
    source = load_images(str(folder), LARGE)
    assert isinstance(source, StreamedImages)
    assert source.evaluation_crop == 0.875


def test_images_are_resized_with_the_filter_of_the_training(folder: Path) -> None:
    source = load_images(str(folder), msgspec.structs.replace(LARGE, interpolation="bicubic"))
    assert isinstance(source, StreamedImages)
    assert source.interpolation == "bicubic"


Prepare = Callable[[Path], None]


def grey(path: Path) -> None:
    picture((200, 200, 200)).convert("L").save(path)


def cmyk(path: Path) -> None:
    picture((250, 10, 10)).convert("CMYK").save(path)


def palette(path: Path) -> None:
    picture((250, 10, 10)).convert("P", palette=Image.Palette.ADAPTIVE).save(path, "PNG")


def transparent(path: Path) -> None:
    picture((250, 10, 10)).convert("RGBA").save(path, "PNG")


def tiny(path: Path) -> None:
    picture((250, 10, 10), (1, 1)).save(path)


@pytest.mark.parametrize("form", [FORM, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("prepare", [grey, cmyk, palette, transparent, tiny])
def test_unusual_images_are_counted_like_all_others(folder: Path, prepare: Prepare, form: InputForm) -> None:
    prepare(folder / "val" / "ant" / "0.jpg")
    found = evaluate_model(
        colour_model(form), load_images(str(folder), form), engine="onnx", compute=Compute(threads=1)
    )
    assert found.images == 4
    # Grey is as red as it is blue, so it counts against the network; all others are red.
    assert found.top1 == (0.75 if prepare is grey else 1.0)


def sixteen_bits(path: Path) -> None:
    Image.fromarray(np.full((40, 40), 40_000, np.uint16)).save(path, "PNG")


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def text(path: Path) -> None:
    path.write_text("no picture")


def damaged(path: Path) -> None:
    encoded = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(encoded, "JPEG")
    content = encoded.getvalue()
    path.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize("form", [FORM, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("prepare", [sixteen_bits, truncated, empty, text, damaged])
def test_an_image_that_cannot_be_read_is_named(folder: Path, prepare: Prepare, form: InputForm) -> None:
    prepare(folder / "val" / "bee" / "1.jpg")
    with pytest.raises(DataError, match=r"val/bee/1\.jpg: cannot be read as an 8-bit image"):
        evaluate_model(colour_model(form), load_images(str(folder), form), engine="onnx", compute=Compute(threads=1))


def test_a_missing_class_is_named(folder: Path) -> None:
    form = msgspec.structs.replace(conventional_input(32, 3, 3), class_names=("ant", "bee", "cow"))
    with pytest.raises(DataError, match="missing cow"):
        load_images(str(folder), form)


def test_a_wrong_number_of_unnamed_classes_is_refused(folder: Path) -> None:
    form = conventional_input(32, 3, 3)
    with pytest.raises(DataError, match=r"\(32, 3, 2\), the network is lowered for \(32, 3, 3\)"):
        evaluate_model(colour_model(form), load_images(str(folder), form), engine="onnx")


def test_other_names_than_the_networks_are_refused_for_binary_batches(tmp_path: Path) -> None:
    (tmp_path / "test_batch.bin").write_bytes(bytes(3073 * 4))
    form = msgspec.structs.replace(conventional_input(32, 3, 10), class_names=tuple("abcdefghij"))
    with pytest.raises(DataError, match=r"airplane.* are not those that the network was trained on"):
        load_images(str(tmp_path), form)


def test_binary_batches_are_read(tmp_path: Path) -> None:
    (tmp_path / "test_batch.bin").write_bytes(bytes(3073 * 4))
    assert len(load_images(str(tmp_path), conventional_input(32, 3, 10))) == 4


def test_digits_have_one_channel() -> None:
    with pytest.raises(DataError, match="digits: its images have 1 channels, the network takes 3"):
        load_images("digits", FORM)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no `test` or `val` folder"):
        load_images(str(tmp_path), FORM)


def test_an_empty_class_is_refused(folder: Path) -> None:
    for path in (folder / "val" / "bee").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="bee: has no images"):
        load_images(str(folder), FORM)


def test_a_test_folder_can_be_chosen(folder: Path) -> None:
    (folder / "val").rename(folder / "held-out")
    assert len(load_images(str(folder), FORM, "held-out")) == 4
