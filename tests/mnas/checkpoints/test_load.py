from pathlib import Path

import pytest

from mnas.checkpoints.checkpoint import Checkpoint, CheckpointError, write_checkpoint
from mnas.checkpoints.image_input import conventional_input
from mnas.checkpoints.load import load_checkpoint
from mnas.checkpoints.mindspore import write_mindspore_weights
from mnas.errors import ConfigurationError
from mnas.network.weights import initial_weights
from search_space import Architecture, ArchitectureFile, parse_block

FILE = ArchitectureFile(
    Architecture((parse_block("r1_k3_s22_e3_i8_o8"),), stem_filters=8, head_filters=16), name="small"
)
FORM = conventional_input(32, 3, 7)
WEIGHTS = initial_weights(Checkpoint(FILE, FORM, {}).network(), seed=1)


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    write_checkpoint(tmp_path / "ours.safetensors", Checkpoint(FILE, FORM, WEIGHTS))
    return tmp_path / "ours.safetensors"


@pytest.fixture
def mindspores(tmp_path: Path) -> Path:
    write_mindspore_weights(tmp_path / "theirs.ckpt", WEIGHTS)
    return tmp_path / "theirs.ckpt"


def test_our_checkpoint_tells_its_architecture(ours: Path) -> None:
    assert load_checkpoint(ours, None, image_size=224).architecture == FILE


def test_our_checkpoint_must_be_of_the_architecture_that_is_given(ours: Path) -> None:
    other = ArchitectureFile(FILE.architecture.scaled(2.0), name="wide")
    with pytest.raises(CheckpointError, match=r"ours\.safetensors: holds the weights of small, not of wide"):
        load_checkpoint(ours, other, image_size=224)


def test_a_checkpoint_of_mindspore_needs_an_architecture(mindspores: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"theirs\.ckpt.*--arch"):
        load_checkpoint(mindspores, None, image_size=32)


def test_a_checkpoint_of_mindspore_gets_the_image_size_that_is_given(mindspores: Path) -> None:
    assert load_checkpoint(mindspores, FILE, image_size=48).network().image_size == 48
