"""Real training of a small network on the digits."""

import pickle

import numpy as np
import pytest

from mnas.data import DigitsSettings, SearchData
from mnas.errors import DataError, TrainingDivergedError
from mnas.evaluation.accuracy import Evaluator
from mnas.mindspore_setup import prepare_mindspore
from mnas.training.schedules import learning_rates
from mnas.training.settings import Cosine, SgdSettings, TrainingSettings
from mnas.workers.child import EpochProgress, TrainingResult, train_network
from search_space.architecture import Architecture
from search_space.block_string import parse_block
from search_space.lowering import lower

NETWORK = lower(
    Architecture(
        (parse_block("r1_k3_s22_e1_i8_o16_conv"), parse_block("r2_k3_s22_e3_i16_o16_se0.25")),
        stem_filters=8,
        stem_stride=1,
        head_filters=64,
    ),
    image_size=16,
    channels=1,
    num_classes=10,
)
SETTINGS = TrainingSettings(
    epochs=6,
    batch_size=64,
    learning_rate=0.01,
    schedule=Cosine(warmup_epochs=0.5),
    label_smoothing=0.1,
    weight_decay=1e-5,
    dropout=0.1,
    norm_momentum=0.9,
)


@pytest.fixture(scope="module")
def data() -> SearchData:
    return DigitsSettings(image_size=16, reward_images=300).load_search()


@pytest.fixture(scope="module")
def trained(data: SearchData) -> tuple[TrainingResult, list[EpochProgress]]:
    progress: list[EpochProgress] = []
    return train_network(NETWORK, SETTINGS, data.train, seed=0, on_epoch=progress.append), progress


def test_it_learns_to_read_digits_that_it_has_not_seen(
    data: SearchData, trained: tuple[TrainingResult, list[EpochProgress]]
) -> None:
    result, _ = trained
    assert Evaluator(NETWORK, data.reward).evaluate(result.weights).top1 > 0.8


def test_every_epoch_reports_its_loss_rate_and_speed(trained: tuple[TrainingResult, list[EpochProgress]]) -> None:
    result, progress = trained
    assert [(report.epoch, report.epochs) for report in progress] == [(epoch, 6) for epoch in range(1, 7)]
    assert progress[-1].loss < progress[0].loss / 2
    assert progress[-1].loss == result.final_loss
    rates = learning_rates(SETTINGS, result.steps // 6)
    assert [report.learning_rate for report in progress] == rates.reshape(6, -1)[:, -1].tolist()
    assert all(report.images_per_s > 0 for report in progress)


def test_the_result_counts_steps_images_and_phases(
    data: SearchData, trained: tuple[TrainingResult, list[EpochProgress]]
) -> None:
    result, _ = trained
    assert result.steps == 6 * (len(data.train) // 64)
    assert result.images == 64 * result.steps
    assert list(result.phases) == ["import", "build", "compile", "train"]


def test_a_diverging_training_ends_early_and_says_at_which_step(data: SearchData) -> None:
    settings = TrainingSettings(epochs=3, learning_rate=1e38, optimizer=SgdSettings())
    with pytest.raises(TrainingDivergedError, match="lower the learning rate") as caught:
        train_network(NETWORK, settings, data.train, seed=0)
    assert caught.value.step < 20
    assert not np.isfinite(caught.value.loss)


def test_a_diverged_error_travels_between_processes() -> None:
    error = pickle.loads(pickle.dumps(TrainingDivergedError(step=7, loss=float("inf"))))
    assert (error.step, error.loss) == (7, float("inf"))
    assert "inf at step 7" in str(error)


def test_what_the_progress_callback_raises_ends_the_training(data: SearchData) -> None:
    def stop(progress: EpochProgress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_network(NETWORK, SETTINGS, data.train, seed=0, on_epoch=stop)


def test_training_goes_on_from_given_weights(
    data: SearchData, trained: tuple[TrainingResult, list[EpochProgress]]
) -> None:
    result, progress = trained
    settings = TrainingSettings(epochs=1, learning_rate=1e-4, label_smoothing=0.1, norm_momentum=0.9)
    again = train_network(NETWORK, settings, data.train, seed=0, weights=result.weights)
    assert again.final_loss < progress[0].loss / 2


def test_every_training_in_a_process_compiles_one_graph(data: SearchData, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_mindspore()
    from mindspore.nn import cell

    executor = type(cell._cell_graph_executor)
    compile_graph, compiled = executor.compile, []

    def count(*arguments: object, **options: object) -> tuple[str, bool]:
        phase, is_new = compile_graph(*arguments, **options)
        if is_new:
            compiled.append(phase)
        return phase, is_new

    monkeypatch.setattr(executor, "compile", count)
    for _ in range(2):
        train_network(NETWORK, TrainingSettings(epochs=1, learning_rate=0.01), data.train, seed=0)
    assert len(compiled) == 2


def test_fewer_images_than_one_batch_are_refused(data: SearchData) -> None:
    settings = TrainingSettings(epochs=1, batch_size=4096, learning_rate=0.01)
    with pytest.raises(DataError, match="do not fill one batch of 4096; lower `batch_size`"):
        train_network(NETWORK, settings, data.train, seed=0)
