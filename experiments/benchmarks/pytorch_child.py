# mypy: allow-subclassing-any
"""Train a child by PyTorch, in this process and without compiling: a peer of `child_cost`.

PyTorch is not a dependency of the project; importing this module needs it. Weights have PyTorch's initial values.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from mnas.data import SearchData
from mnas.training.phases import PhaseTime, timed
from mnas.training.schedules import learning_rates
from mnas.training.settings import RmsPropSettings, TrainingSettings
from search_space.lowering import (
    BATCH_NORM_EPSILON,
    Activation,
    AveragePool,
    BatchNorm,
    Convolution,
    Dense,
    FitChannels,
    GlobalAveragePool,
    Layer,
    LoweredNetwork,
    SqueezeExcite,
    Unit,
)

# Imported by name, so that type checkers do not need a package that only this benchmark uses.
torch: Any = importlib.import_module("torch")
nn: Any = torch.nn
functional: Any = importlib.import_module("torch.nn.functional")


def train(
    network: LoweredNetwork, settings: TrainingSettings, data: SearchData, threads: int, *, channels_last: bool
) -> dict[str, PhaseTime]:
    """Train and evaluate; return the time of "build", "train" and "evaluate".

    Args:
        network: the child.
        settings: its training; the optimizer is RMSprop.
        data: training and reward images.
        threads: PyTorch's.
        channels_last: whether module and images have PyTorch's channels-last memory format.
    """
    if not isinstance(settings.optimizer, RmsPropSettings):
        raise SystemExit("the PyTorch peer knows the optimizer rmsprop only")
    torch.set_num_threads(threads)
    memory_format = torch.channels_last if channels_last else torch.contiguous_format

    def tensor(images: np.ndarray[Any, Any]) -> Any:
        return torch.from_numpy(images).contiguous(memory_format=memory_format)

    phases: dict[str, PhaseTime] = {}
    with timed(phases, "build"):
        module = build_module(network, settings.norm_momentum).to(memory_format=memory_format)
        optimizer = torch.optim.RMSprop(
            module.parameters(),
            alpha=settings.optimizer.decay,
            momentum=settings.optimizer.momentum,
            eps=settings.optimizer.epsilon,
            weight_decay=settings.weight_decay,
            foreach=True,
        )
        rates = iter(learning_rates(settings, len(data.train) // settings.batch_size).tolist())
    with timed(phases, "train"):
        module.train()
        for epoch in range(settings.epochs):
            for images, labels in data.train.training_batches(settings.batch_size, seed=0, epoch=epoch):
                optimizer.param_groups[0]["lr"] = next(rates)
                optimizer.zero_grad()
                loss = functional.cross_entropy(module(tensor(images)), torch.from_numpy(labels).long())
                loss.backward()
                optimizer.step()
    with timed(phases, "evaluate"), torch.inference_mode():
        module.eval()
        right = 0
        for images, labels in data.reward.evaluation_batches(settings.batch_size):
            right += int(np.count_nonzero(module(tensor(images)).numpy().argmax(axis=1) == labels))
    return phases


def build_module(network: LoweredNetwork, norm_momentum: float) -> Any:
    """Return the network as a PyTorch module."""
    return nn.Sequential(*(_Unit(unit, norm_momentum) for unit in network.units))


def _layer(layer: Layer, norm_momentum: float) -> Any:
    match layer:
        case Convolution():
            size = (layer.in_channels, layer.out_channels, layer.kernel, layer.stride, layer.kernel // 2)
            return nn.Conv2d(*size, groups=layer.groups, bias=False)
        case BatchNorm(channels=channels):
            return nn.BatchNorm2d(channels, eps=BATCH_NORM_EPSILON, momentum=1 - norm_momentum)
        case Activation(kind=kind):
            return nn.ReLU(inplace=True) if kind == "relu" else nn.ReLU6(inplace=True)
        case SqueezeExcite():
            return _SqueezeExcite(layer)
        case AveragePool():
            return _AveragePool(layer)
        case FitChannels():
            return _FitChannels(layer)
        case GlobalAveragePool():
            return _GlobalAveragePool()
        case Dense():
            return nn.Linear(layer.in_features, layer.out_features)


class _Unit(nn.Module):
    def __init__(self, unit: Unit, norm_momentum: float) -> None:
        super().__init__()
        self.body = nn.Sequential(*(_layer(layer, norm_momentum) for layer in unit.body))
        shortcut = (_layer(layer, norm_momentum) for layer in unit.shortcut or ())
        self.shortcut = None if unit.shortcut is None else nn.Sequential(*shortcut)

    def forward(self, x: Any) -> Any:
        return self.body(x) if self.shortcut is None else self.body(x) + self.shortcut(x)


class _SqueezeExcite(nn.Module):
    def __init__(self, layer: SqueezeExcite) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(layer.channels, layer.reduced_channels, 1)
        self.expand = nn.Conv2d(layer.reduced_channels, layer.channels, 1)

    def forward(self, x: Any) -> Any:
        return x * torch.sigmoid(self.expand(functional.relu(self.reduce(x.mean((2, 3), keepdim=True)))))


class _AveragePool(nn.Module):
    # TensorFlow's SAME: an even plane at stride 2 is padded at its end only, as `ceil_mode` does without padding.
    def __init__(self, layer: AveragePool) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Any) -> Any:
        kernel, stride = self.layer.kernel, self.layer.stride
        padding = 0 if stride == 2 and x.shape[2] % 2 == 0 else kernel // 2
        return functional.avg_pool2d(x, kernel, stride, padding, ceil_mode=True, count_include_pad=False)


class _FitChannels(nn.Module):
    def __init__(self, layer: FitChannels) -> None:
        super().__init__()
        self.channels, self.added = layer.out_channels, layer.out_channels - layer.in_channels

    def forward(self, x: Any) -> Any:
        return functional.pad(x, (0, 0, 0, 0, 0, self.added)) if self.added > 0 else x[:, : self.channels]


class _GlobalAveragePool(nn.Module):
    def forward(self, x: Any) -> Any:
        return x.mean((2, 3))
