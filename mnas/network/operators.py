# mypy: allow-subclassing-any
"""The operators of a network and its training, chosen by device.

An NPU has two interfaces: kernels of the newer one (aclnn) are compiled ahead, those of the older one (aclop) by
default for each shape. The primitives of `auto_generate` here are taken from the newer one; MindSpore's usual ones are
not, and the CPU has only those. `docs/ascend.md` counts the kernels. On an NPU none of this has been executed.

Importing this module imports MindSpore: call `mnas.mindspore_setup.prepare_mindspore` before.
"""

from __future__ import annotations

from typing import Any

from mindspore import Tensor, nn, ops
from mindspore.ops import auto_generate as ext

from search_space.lowering import BATCH_NORM_EPSILON, Convolution


def convolution(layer: Convolution, *, npu: bool) -> Any:
    """Return a convolution without bias: (x, weight) -> y."""
    if npu:
        return _NpuConvolution(layer)
    return ops.Conv2D(
        layer.out_channels,
        layer.kernel,
        pad_mode="pad",
        pad=layer.kernel // 2,
        stride=layer.stride,
        group=layer.groups,
    )


def batch_norm(momentum: float, *, training: bool, npu: bool) -> Any:
    """Return a batch norm: (x, gamma, beta, moving mean, moving variance) -> (y, ...).

    Args:
        momentum: Share of the old moving statistics that a step keeps.
        training: Whether it uses the statistics of the batch and updates the moving ones.
        npu: Whether an NPU computes.
    """
    # The primitives' momentum is the share of the *new* statistics.
    if npu:
        return _NpuBatchNorm(1.0 - momentum, training=training)
    if training:
        return ops.BatchNorm(is_training=True, epsilon=BATCH_NORM_EPSILON, momentum=1.0 - momentum)
    return ops.BatchNorm(is_training=False, epsilon=BATCH_NORM_EPSILON)


def spatial_mean(*, keep_dims: bool, npu: bool) -> Any:
    """Return the mean over height and width: x (N, C, H, W) -> (N, C), or (N, C, 1, 1) with `keep_dims`."""
    return _NpuSpatialMean(keep_dims=keep_dims) if npu else _SpatialMean(keep_dims=keep_dims)


def biased_convolution(channels: int, *, npu: bool) -> Any:
    """Return a 1x1 convolution with bias: (x, weight, bias) -> y."""
    return _NpuBiasedConvolution() if npu else _BiasedConvolution(channels)


def dense(*, npu: bool) -> Any:
    """Return a dense layer: (x (N, C), weight (D, C), bias (D,)) -> (N, D)."""
    return ext.Dense() if npu else _Dense()


def one_hot(*, npu: bool) -> Any:
    """Return one-hot coding: (labels, classes, on, off) -> (N, classes)."""
    return ext.OneHotExt() if npu else ops.OneHot()


def assign_add(*, npu: bool) -> Any:
    """Return the addition to a parameter in place: (parameter, value) -> parameter."""
    return ext.InplaceAddExt() if npu else ops.AssignAdd()


def cross_entropy(*, npu: bool) -> Any:
    """Return the mean cross entropy: (logits, targets) -> shape ()."""
    return _NpuCrossEntropy() if npu else _CrossEntropy()


class _NpuConvolution(nn.Cell):
    def __init__(self, layer: Convolution) -> None:
        super().__init__(auto_prefix=False)
        self.stride, self.padding, self.groups = (layer.stride,) * 2, (layer.kernel // 2,) * 2, layer.groups
        self.convolve = ext.Conv2DExt()

    def construct(self, x: Tensor, weight: Tensor) -> Tensor:
        return self.convolve(x, weight, None, self.stride, self.padding, (1, 1), self.groups)


class _NpuBatchNorm(nn.Cell):
    def __init__(self, momentum: float, *, training: bool) -> None:
        super().__init__(auto_prefix=False)
        self.momentum, self.uses_batch = momentum, training
        self.norm = ext.BatchNormExt()

    def construct(self, x: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, variance: Tensor) -> Any:
        return self.norm(x, gamma, beta, mean, variance, self.uses_batch, self.momentum, BATCH_NORM_EPSILON)


class _SpatialMean(nn.Cell):
    def __init__(self, *, keep_dims: bool) -> None:
        super().__init__(auto_prefix=False)
        self.mean = ops.ReduceMean(keep_dims=keep_dims)

    def construct(self, x: Tensor) -> Tensor:
        return self.mean(x, (2, 3))


class _NpuSpatialMean(nn.Cell):
    def __init__(self, *, keep_dims: bool) -> None:
        super().__init__(auto_prefix=False)
        self.keep_dims = keep_dims
        self.mean = ext.MeanExt()

    def construct(self, x: Tensor) -> Tensor:
        return self.mean(x, (2, 3), self.keep_dims)


class _BiasedConvolution(nn.Cell):
    def __init__(self, channels: int) -> None:
        super().__init__(auto_prefix=False)
        self.convolve = ops.Conv2D(channels, 1)
        self.add_bias = ops.BiasAdd()

    def construct(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return self.add_bias(self.convolve(x, weight), bias)


class _NpuBiasedConvolution(nn.Cell):
    def __init__(self) -> None:
        super().__init__(auto_prefix=False)
        self.convolve = ext.Conv2DExt()

    def construct(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return self.convolve(x, weight, bias, (1, 1), (0, 0), (1, 1), 1)


class _Dense(nn.Cell):
    def __init__(self) -> None:
        super().__init__(auto_prefix=False)
        self.multiply = ops.MatMul(transpose_b=True)
        self.add_bias = ops.BiasAdd()

    def construct(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return self.add_bias(self.multiply(x, weight), bias)


class _CrossEntropy(nn.Cell):
    def __init__(self) -> None:
        super().__init__(auto_prefix=False)
        self.cross_entropy = ops.SoftmaxCrossEntropyWithLogits()
        self.mean = ops.ReduceMean()

    def construct(self, logits: Tensor, targets: Tensor) -> Tensor:
        return self.mean(self.cross_entropy(logits, targets)[0])


class _NpuCrossEntropy(nn.Cell):
    def __init__(self) -> None:
        super().__init__(auto_prefix=False)
        self.log_softmax = ext.LogSoftmaxExt()
        self.sum = ext.SumExt()

    def construct(self, logits: Tensor, targets: Tensor) -> Tensor:
        return self.sum(self.log_softmax(logits, -1) * targets) * (-1.0 / logits.shape[0])
