"""MindCV's files: the published one for MnasNet-0.75, and what is not supported."""

from pathlib import Path

import msgspec
import pytest

from mnas.bundled_files import find_recipe
from mnas.data import ImageFolderSettings
from mnas.documents.errors import DocumentError
from mnas.errors import ConfigurationError
from mnas.retrain.recipe import load_recipe
from mnas.training.settings import Cosine, DynamicLossScale, RmsPropSettings

# The keys of MindCV's configs/mnasnet/mnasnet_0.75_ascend.yaml, in another order.
MNASNET_075 = """
mode: 0
distribute: True
num_parallel_workers: 8
dataset: 'imagenet'
data_dir: '/path/to/imagenet'
shuffle: True
dataset_download: False
batch_size: 256
drop_remainder: True
image_resize: 224
scale: [0.08, 1.0]
ratio: [0.75, 1.333]
hflip: 0.5
interpolation: 'bilinear'
crop_pct: 0.875
model: 'mnasnet_075'
num_classes: 1000
pretrained: False
ckpt_path: ''
keep_checkpoint_max: 10
ckpt_save_dir: './ckpt'
epoch_size: 350
dataset_sink_mode: True
amp_level: 'O0'
loss: 'CE'
label_smoothing: 0.1
scheduler: 'cosine_decay'
min_lr: 1e-10
lr: 0.016
warmup_epochs: 5
decay_epochs: 345
opt: 'rmsprop'
momentum: 0.9
weight_decay: 1e-5
loss_scale: 256
use_nesterov: False
eps: 1e-3
"""


def write(folder: Path, **changes: object) -> Path:
    path = folder / "mindcv.yaml"
    lines = [line for line in MNASNET_075.splitlines() if line.partition(":")[0] not in changes]
    path.write_text("\n".join([*lines, *(f"{key}: {value}" for key, value in changes.items())]))
    return path


def test_the_published_file_is_our_recipe_with_hidden_defaults_written_out(tmp_path: Path) -> None:
    theirs = load_recipe(write(tmp_path))
    ours = load_recipe(find_recipe("mnasnet_0.75_ascend"))
    assert theirs.training == ours.training
    assert isinstance(theirs.data, ImageFolderSettings)
    assert isinstance(ours.data, ImageFolderSettings)
    assert theirs.data.normalize.mean == pytest.approx(ours.data.normalize.mean)
    assert theirs.data.normalize.std == pytest.approx(ours.data.normalize.std)
    same_data = msgspec.structs.replace(theirs.data, directory="data/imagenet", normalize=ours.data.normalize)
    assert msgspec.structs.replace(theirs, data=same_data) == ours


def test_exponents_without_a_dot_are_numbers(tmp_path: Path) -> None:
    training = load_recipe(write(tmp_path)).training
    assert isinstance(training.schedule, Cosine)
    assert isinstance(training.optimizer, RmsPropSettings)
    assert (training.schedule.final, training.weight_decay, training.optimizer.epsilon) == (1e-10, 1e-5, 1e-3)


def test_the_colour_jitter_that_the_file_does_not_name_is_kept(tmp_path: Path) -> None:
    data = load_recipe(write(tmp_path)).data
    assert isinstance(data, ImageFolderSettings)
    assert data.color_jitter == 0.4


@pytest.mark.parametrize(
    ("changes", "batch_size", "micro_batch_size"),
    [({}, 2048, 256), ({"distribute": False}, 256, 256), ({"gradient_accumulation_steps": 2}, 4096, 256)],
    ids=["eight cards", "one card", "accumulated"],
)
def test_the_batch_is_that_of_all_cards(
    tmp_path: Path, changes: dict[str, object], batch_size: int, micro_batch_size: int
) -> None:
    recipe = load_recipe(write(tmp_path, **changes))
    assert (recipe.training.batch_size, recipe.micro_batch_size) == (batch_size, micro_batch_size)


def test_other_choices_are_translated(tmp_path: Path) -> None:
    changes = {
        "loss_scale_type": "dynamic",
        "weight_decay_filter": "norm_and_bias",
        "clip_grad": True,
        "drop_rate": 0.3,
    }
    recipe = load_recipe(write(tmp_path, model="mnasnet_140", **changes))
    training = recipe.training
    assert isinstance(training.loss_scale, DynamicLossScale)
    assert (training.weight_decay_on, training.clip_norm, training.dropout) == ("kernels", 15.0, 0.3)
    assert (recipe.architecture, recipe.width) == ("mnasnet-b1", 1.4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mixup": 0.2}, r"MindCV's `mixup: 0\.2` is not supported, only `mixup: 0\.0` is"),
        ({"ema": True}, r"`ema: True` is not supported"),
        ({"auto_augment": "randaug-m7-mstd0.5"}, "`auto_augment: randaug-m7-mstd0.5` is not supported"),
        ({"pretrained": True}, "`pretrained: True` is not supported"),
        ({"model": "resnet50"}, "`model: resnet50` is no MnasNet"),
        ({"decay_epochs": 300}, "do not add up to `epoch_size` 350"),
        ({"weight_decay_filter": "disable", "filter_bias_and_bn": True}, "are both given"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load_recipe(write(tmp_path, **changes))


def test_an_unknown_key_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=r"unknown key 'warmup_epoch'.*did you mean 'warmup_epochs'"):
        load_recipe(write(tmp_path, warmup_epoch=3))
