"""Compare MindCV's MnasNet with that of mnas under the same weights: parameter names and logits.

    pip install --no-deps mindcv==0.3.0     # in an environment of mnas
    python -m experiments.benchmarks.mindcv_outputs

For each width a network of MindCV with random weights and batch-norm statistics is saved by MindSpore, read as `mnas
validate` reads it, and evaluated on the same images by MindCV's definition, by our network and by our ONNX graph.
"""

from __future__ import annotations

import argparse
import importlib
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from mnas.checkpoints.load import load_checkpoint
from mnas.checkpoints.mindcv_names import mindcv_names
from mnas.evaluation.classifiers import onnx_classifier
from mnas.mindspore_setup import prepare_mindspore
from mnas.network.weights import FloatArray
from search_space import ArchitectureFile, parameters, reference

WIDTHS = (0.5, 0.75, 1.0, 1.3, 1.4)
IMAGE_SIZE = 224


def main() -> None:
    """Print one line for each width."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    print("width  trainable  statistics  names alike  largest logit  ours - theirs  ONNX - theirs")
    for width in WIDTHS:
        print(compare(width))


def compare(width: float) -> str:
    """Return the line of one width."""
    prepare_mindspore()
    import mindspore

    from mnas.network.mindspore_cell import build_network

    generator = np.random.default_rng(0)
    theirs = _random_network(width, generator)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "theirs.ckpt"
        mindspore.save_checkpoint(theirs, str(path))
        file = ArchitectureFile(reference("mnasnet-b1").architecture.scaled(width))
        checkpoint = load_checkpoint(path, file, IMAGE_SIZE)
    network, weights = checkpoint.network(), checkpoint.weights
    ours = build_network(network, weights)
    ours.set_train(False)
    images = generator.standard_normal((2, 3, IMAGE_SIZE, IMAGE_SIZE)).astype(np.float32)
    expected = theirs(mindspore.Tensor(images)).asnumpy()
    by_mindspore: FloatArray = ours(mindspore.Tensor(images)).asnumpy()
    by_onnx = onnx_classifier(network, weights)(images)
    trainable = len(theirs.trainable_params())
    statistics = sum(not parameter.trainable for parameter in parameters(network))
    alike = sorted(mindcv_names(network).values()) == sorted(parameter.name for parameter in theirs.get_parameters())
    return (
        f"{width:<5g}  {trainable:<9}  {statistics:<10}  {alike!s:<11}  {abs(expected).max():<13.3f}  "
        f"{abs(by_mindspore - expected).max():<13.1e}  {abs(by_onnx - expected).max():.1e}"
    )


def _random_network(width: float, generator: np.random.Generator) -> Any:
    import mindspore

    # Imported by name, so that type checkers do not need a package that only this comparison uses.
    network = importlib.import_module("mindcv.models.mnasnet").Mnasnet(width)
    for parameter in network.get_parameters():
        kind = parameter.name.rpartition(".")[2]
        if kind in ("gamma", "moving_variance"):
            parameter.set_data(mindspore.Tensor(generator.uniform(0.5, 1.5, parameter.shape).astype(np.float32)))
        if kind in ("beta", "moving_mean"):
            parameter.set_data(mindspore.Tensor(generator.normal(0, 0.3, parameter.shape).astype(np.float32)))
    network.set_train(False)
    return network


if __name__ == "__main__":
    main()
