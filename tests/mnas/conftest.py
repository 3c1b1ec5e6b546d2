from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latency import LatencyRecord, MeasurementSettings, PhoneIdentity
from latency.measurement.record import Session
from latency.measurement.window import TimedWindow
from mnas.checkpoints.checkpoint import Checkpoint, Position, write_checkpoint
from mnas.checkpoints.image_input import conventional_input
from mnas.data import DigitsSettings, ImageArrays
from mnas.data.preprocessing import Preprocessing
from mnas.errors import Failure, FailureKind
from mnas.evaluation.classifiers import onnx_classifier
from mnas.experiment import Experiment, LatencySettings, SearchSettings
from mnas.mindspore_setup import Compute, set_mindspore_environment
from mnas.network.weights import initial_weights
from mnas.search.run_directory import open_run
from mnas.search.store import Outcome, Proposal
from mnas.training.settings import TrainingSettings
from search_space import (
    Architecture,
    ArchitectureFile,
    SearchSpace,
    architecture_to_dict,
    fingerprint,
    lower,
    parse_block,
)
from search_space.lowering import LoweredNetwork

RandomImages = Callable[[LoweredNetwork, int], ImageArrays]
MakeFolder = Callable[..., Path]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Whatever test imports MindSpore first: it runs in one thread, as the trainings of other tests ask for later."""
    set_mindspore_environment(Compute(threads=1))


@pytest.fixture(scope="session")
def random_images() -> RandomImages:
    """Noise images with noise labels, of the form that a network is lowered for."""

    def make(network: LoweredNetwork, count: int) -> ImageArrays:
        generator = np.random.default_rng(0)
        shape = (count, network.image_size, network.image_size, network.channels)
        return ImageArrays(
            images=generator.integers(0, 256, shape, dtype=np.uint8),
            labels=generator.integers(0, network.num_classes, count, dtype=np.int32),
            class_names=tuple(str(label) for label in range(network.num_classes)),
            preprocessing=Preprocessing(
                crop=0, flip=False, mean=(0.5,) * network.channels, std=(0.25,) * network.channels
            ),
        )

    return make


@pytest.fixture(scope="session")
def latency_record() -> LatencyRecord:
    return LatencyRecord(
        model_sha256="0" * 64,
        phone=PhoneIdentity("host", "host", "box", "some processor", "onnxruntime", "1.20.0", "wheel", core=1),
        settings=MeasurementSettings(),
        sessions=(Session(None, TimedWindow((2.0, 2.1, 2.2), (2.0, 2.0, 2.1), 0)),),
        rejected_windows=(),
        accepted=True,
        reason="within all limits",
        measured_at="2025-01-01T00:00:00.000+00:00",
    )


@pytest.fixture(scope="session")
def searched_run(tmp_path_factory: pytest.TempPathFactory, latency_record: LatencyRecord) -> Path:
    """A run of three trials: 1 is complete, 2 is the best (another phone has timed it, too), 3 has failed."""
    data = DigitsSettings(image_size=16, reward_images=100)
    experiment = Experiment(
        space="tiny16",
        data=data,
        training=TrainingSettings(epochs=2, learning_rate=0.01),
        search=SearchSettings(trials=3),
        latency=LatencySettings(target_ms=1.0),
    )
    space = SearchSpace.load("tiny16")
    generator = np.random.default_rng(0)
    proposals = []
    for number in (1, 2, 3):
        indices = space.sample(generator)
        architecture = space.decode(indices)
        proposals.append(
            Proposal(number, tuple(indices), architecture_to_dict(architecture), fingerprint(architecture))
        )
    host = latency_record.to_dict()
    other_phone = replace(latency_record, phone=replace(latency_record.phone, name="pixel6", kind="adb"))
    other = other_phone.to_dict()
    directory = tmp_path_factory.mktemp("runs") / "digits"
    with open_run(directory, experiment, data.load_search()) as store:
        store.propose(3, proposals, {})
        store.record_latency(1, host)
        store.record_latency(2, {**host, "others": {"pixel6": other}})
        for number in (1, 2):
            store.record_training(number, {"accuracy": 0.3 * number, "steps": 44})
        store.finish(
            [
                Outcome(1, accuracy=0.3, latency_ms=2.1, reward=0.28),
                Outcome(2, accuracy=0.6, latency_ms=2.1, reward=0.57),
                Outcome(3, failure=Failure(FailureKind.PHONE, "unsteady")),
            ]
        )
    return directory


@pytest.fixture(scope="session")
def digits_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that knows the digits: its classifier is the least-squares solution on its random features."""
    features = 64
    block = parse_block("r1_k3_s22_e3_i8_o16_se0.25")
    file = ArchitectureFile(Architecture((block,), stem_filters=8, head_filters=features), name="reader of digits")
    form = conventional_input(16, 1, 10)
    train = DigitsSettings(image_size=16).load_full().train
    images, labels = next(iter(train.evaluation_batches(len(train))))
    through = lower(file.architecture, image_size=16, channels=1, num_classes=features)
    weights = initial_weights(through, seed=0)
    weights |= {
        "classifier.weight": np.eye(features, dtype=np.float32),
        "classifier.bias": np.zeros(features, np.float32),
    }
    found = onnx_classifier(through, weights, Compute(threads=1))(images)
    known = np.append(found, np.ones((len(found), 1)), axis=1)
    solution = np.linalg.lstsq(known, np.eye(10)[labels], rcond=None)[0].astype(np.float32)
    weights |= {"classifier.weight": solution[:-1].T.copy(), "classifier.bias": solution[-1]}
    path = tmp_path_factory.mktemp("digits") / "digits.safetensors"
    write_checkpoint(path, Checkpoint(file, form, weights, position=Position(epoch=1, step=1)))
    return path


@pytest.fixture(scope="session")
def make_folder() -> MakeFolder:
    """A function that writes PART/CLASS/IMAGE files, each of another colour, and returns the directory."""

    def make(
        directory: Path,
        *,
        parts: Sequence[str] = ("train", "test"),
        classes: Sequence[str] = ("ant", "bee", "cow"),
        images: int = 8,
        size: tuple[int, int] = (20, 16),
        suffix: str = ".png",
    ) -> Path:
        for part_number, part in enumerate(parts):
            for label, name in enumerate(classes):
                folder = directory / part / name
                folder.mkdir(parents=True)
                for number in range(images):
                    colour = (40 + 60 * label, 8 + 8 * number, 100 + 50 * part_number)
                    Image.new("RGB", size, colour).save(folder / f"{number}{suffix}")
        return directory

    return make
