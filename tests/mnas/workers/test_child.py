from dataclasses import replace

import numpy as np

from mnas.data import DigitsSettings, ImageForm
from mnas.evaluation.accuracy import Evaluator
from mnas.mindspore_setup import Compute
from mnas.training.norm_statistics import NormStatistics
from mnas.training.rungs import Rung
from mnas.training.settings import TrainingSettings
from mnas.workers.child import train_child
from search_space.architecture import Architecture
from search_space.block_string import parse_block


def test_a_child_reports_its_accuracy_on_the_reward_set_and_what_each_phase_cost() -> None:
    data = DigitsSettings(image_size=16, reward_images=300).load_search()
    architecture = Architecture((parse_block("r1_k3_s22_e1_i8_o16_conv"),), stem_filters=8, head_filters=64)
    settings = TrainingSettings(epochs=4, learning_rate=0.01, norm_momentum=0.8)
    child = train_child(architecture, settings, data, seed=0, max_weights_bytes=10**9, learning_curve=True)
    assert len(child.epoch_losses) == settings.epochs
    assert child.epoch_losses[-1] == child.train_loss
    assert child.accuracy > 0.5
    assert len(child.epoch_accuracies) == settings.epochs
    assert child.epoch_accuracies[-1] == child.accuracy > child.epoch_accuracies[0]
    assert child.steps == 4 * (len(data.train) // 64)
    assert list(child.phases) == ["import", "build", "compile", "train", "learning_curve", "evaluate"]
    assert child.weights is not None
    assert child.weights.accuracy is not None
    again = Evaluator(ImageForm.of(data.reward).lower(architecture), data.reward).evaluate(child.weights.values)
    assert again.top1 == child.weights.accuracy.top1 == child.accuracy
    assert "weights" not in replace(child, weights=None).record()
    assert min(child.images_per_s, child.resident_mb, child.loss, child.train_loss) > 0


def test_a_child_that_is_behind_at_a_rung_ends_there_and_was_trained_as_without_rungs() -> None:
    data = DigitsSettings(image_size=16, reward_images=300).load_search()
    architecture = Architecture((parse_block("r1_k3_s22_e1_i8_o16_conv"),), stem_filters=8, head_filters=64)
    settings = TrainingSettings(epochs=3, learning_rate=0.01, norm_momentum=0.8)
    whole = train_child(architecture, settings, data, seed=0)
    child = train_child(architecture, settings, data, seed=0, rungs=(Rung(1, None), Rung(2, 1.1)))
    assert child.epoch_losses == whole.epoch_losses[:2]
    assert (child.stopped, whole.stopped) == (True, False)
    assert [(result.epoch, result.least_accuracy) for result in child.rungs] == [(1, None), (2, 1.1)]
    assert child.accuracy == child.rungs[-1].accuracy
    assert child.steps == 2 * (len(data.train) // 64)


def test_a_child_is_evaluated_and_kept_with_statistics_that_are_measured_again() -> None:
    data = DigitsSettings(image_size=16, reward_images=300).load_search()
    architecture = Architecture((parse_block("r1_k3_s22_e1_i8_o16_conv"),), stem_filters=8, head_filters=64)
    network, compute = ImageForm.of(data.train).lower(architecture), Compute(threads=1)
    settings = TrainingSettings(epochs=2, learning_rate=0.01, norm_batches=3)
    child = train_child(
        architecture, settings, data, seed=5, compute=compute, rungs=(Rung(1, None),), max_weights_bytes=10**9
    )
    assert list(child.phases) == ["import", "build", "compile", "train", "evaluate"]
    assert child.weights is not None
    kept = child.weights.values
    assert Evaluator(network, data.reward).evaluate(kept).top1 == child.accuracy
    norms = NormStatistics(network, settings, data.train, seed=5, micro_batch_size=64, compute=compute)
    for name, value in norms.measured(kept).items():
        np.testing.assert_array_equal(kept[name], value)
