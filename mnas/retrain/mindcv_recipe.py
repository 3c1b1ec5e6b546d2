"""MindCV's configuration files (mindspore-lab/mindcv, configs/*/*.yaml) as recipes of mnas.

Every key of MindCV 0.3 is translated, or accepted with the one value that mnas supports, or ignored because it does not
affect the training. An unknown key or an unsupported value is an error that names it. A key that is absent from the
file has MindCV's default, which may matter: `color_jitter` is 0.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from mnas.documents.check import convert
from mnas.errors import ConfigurationError

# MindCV's `batch_size` is that of one card, and its files do not contain the number of cards. The results that MindCV
# has published with `distribute: True` are of eight.
CARDS = 8
WIDTHS = {"050": 0.5, "075": 0.75, "100": 1.0, "130": 1.3, "140": 1.4}
OLD_MODELS = {"mnasnet0_5": 0.5, "mnasnet0_75": 0.75, "mnasnet1_0": 1.0, "mnasnet1_3": 1.3, "mnasnet1_4": 1.4}
MODELS = {**{f"mnasnet_{name}": width for name, width in WIDTHS.items()}, **OLD_MODELS}
DROPOUT = 0.2  # of MindCV's MnasNet if `drop_rate` is absent


class MindCvRecipe(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The keys of MindCV's files that are translated, with MindCV's defaults."""

    distribute: bool = False
    num_parallel_workers: int = 8
    val_interval: int = 1
    log_interval: int = 100
    seed: int = 42
    device_target: Literal["Ascend", "CPU"] = "Ascend"
    data_dir: str = "./"
    val_split: str = "val"
    batch_size: int = 128
    image_resize: int = 224
    color_jitter: float | None = 0.4
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    mean: tuple[float, ...] = (0.485 * 255, 0.456 * 255, 0.406 * 255)
    std: tuple[float, ...] = (0.229 * 255, 0.224 * 255, 0.225 * 255)
    crop_pct: float = 0.875
    model: str | None = None
    num_classes: int | None = None
    drop_rate: float | None = None
    epoch_size: int = 90
    keep_checkpoint_max: int = 10
    amp_level: Literal["O0", "O1", "O2", "O3"] = "O0"
    clip_grad: bool = False
    clip_value: float = 15.0
    gradient_accumulation_steps: int = 1
    opt: Literal["rmsprop", "momentum", "adam"] = "adam"
    momentum: float = 0.9
    weight_decay: float = 1e-6
    weight_decay_filter: Literal["disable", "norm_and_bias"] | None = None
    filter_bias_and_bn: bool | None = None
    eps: float = 1e-10
    scheduler: Literal["cosine_decay", "constant"] = "cosine_decay"
    lr: float = 0.001
    min_lr: float = 1e-6
    warmup_epochs: int = 3
    decay_epochs: int = 100
    label_smoothing: float = 0.0
    loss_scale_type: Literal["fixed", "dynamic"] = "fixed"
    loss_scale: float = 1.0
    dynamic_loss_scale: bool = False


# Keys that are supported with this value only, which is also MindCV's default.
ONLY_VALUES: Mapping[str, object] = {
    "dataset": "imagenet",
    "train_split": "train",
    "shuffle": True,
    "num_samples": None,
    "drop_remainder": True,
    "aug_repeats": 0,
    "scale": [0.08, 1.0],
    "ratio": [0.75, 1.333],
    "hflip": 0.5,
    "vflip": 0.0,
    "auto_augment": None,
    "aug_splits": 0,
    "re_prob": 0.0,
    "mixup": 0.0,
    "cutmix": 0.0,
    "in_channels": 3,
    "pretrained": False,
    "ckpt_path": "",
    "resume_opt": False,
    "drop_path_rate": None,
    "ema": False,
    "layer_decay": None,
    "use_nesterov": False,
    "warmup_factor": 0.0,
    "lr_epoch_stair": False,
    "num_cycles": 1,
    "cycle_decay": 1.0,
    "loss": "CE",
    "aux_factor": 0.0,
    "reduction": "mean",
    "amp_cast_list": None,
    "drop_overflow_update": False,
}
# Keys that do not affect the training, or only together with a key above.
IGNORED_KEYS = frozenset(
    (
        *("mode", "val_while_train", "dataset_download", "dataset_sink_mode", "ckpt_save_dir", "ckpt_save_interval"),
        *("ckpt_save_policy", "re_scale", "re_ratio", "re_value", "re_max_attempts", "cutmix_prob", "ema_decay"),
        *("decay_rate", "milestones", "multi_step_decay_milestones", "enable_modelarts", "multi_data_url", "data_url"),
        *("ckpt_url", "train_url", "keep_bn_fp32"),
    )
)


def is_mindcv_recipe(document: Mapping[str, Any]) -> bool:
    """Return whether a document is a file of MindCV: flat, without `training` and `data`."""
    return "epoch_size" in document and not document.keys() & {"training", "data"}


def translate(document: Mapping[str, Any], *, source: str) -> dict[str, Any]:
    """Return a MindCV file as the document of a `Recipe`.

    Args:
        document: The content of the file.
        source: Name of the file, for messages.

    Raises:
        DocumentError: A key is unknown, or a value has the wrong type.
        ConfigurationError: A value is not supported.
    """
    for key, value in ONLY_VALUES.items():
        if key in document and document[key] != value:
            raise ConfigurationError(
                f"{source}: MindCV's `{key}: {document[key]}` is not supported, only `{key}: {value}` is; change it, "
                "or write a recipe of mnas"
            )
    rest = {key: value for key, value in document.items() if key not in ONLY_VALUES and key not in IGNORED_KEYS}
    given = convert(rest, MindCvRecipe, source=source)
    micro_batches = (CARDS if given.distribute else 1) * given.gradient_accumulation_steps
    return {
        **_architecture(given, source),
        "num_classes": given.num_classes,
        "device": given.device_target,
        "ascend": {"jit_level": "O2", "op_compile": True},  # MindCV's train.py sets O2 for every network
        "seed": given.seed,
        "micro_batch_size": given.batch_size,
        "validate_every_epochs": given.val_interval,
        "keep_best": given.keep_checkpoint_max,
        "log_every_steps": given.log_interval,
        "data": {
            "format": "image_folder",
            "directory": given.data_dir,
            "test_folder": given.val_split,
            "image_size": given.image_resize,
            "augment": "inception",
            "color_jitter": given.color_jitter or 0.0,
            "interpolation": given.interpolation,
            "normalize": {"mean": _shares(given.mean), "std": _shares(given.std)},
            "evaluation_crop": given.crop_pct,
            "decode_workers": given.num_parallel_workers,
        },
        "training": {
            "epochs": given.epoch_size,
            "batch_size": given.batch_size * micro_batches,
            "learning_rate": given.lr,
            "optimizer": _optimizer(given),
            "schedule": _schedule(given, source),
            "label_smoothing": given.label_smoothing,
            "weight_decay": given.weight_decay,
            "weight_decay_on": "kernels" if _spares_norms(given, source) else "all",
            "dropout": DROPOUT if given.drop_rate is None else given.drop_rate,
            "norm_momentum": 0.99,
            "clip_norm": given.clip_value if given.clip_grad else None,
            "loss_scale": _loss_scale(given),
            "precision": given.amp_level,
        },
    }


def _architecture(given: MindCvRecipe, source: str) -> dict[str, Any]:
    if given.model is None:
        return {}
    if given.model not in MODELS:
        raise ConfigurationError(
            f"{source}: `model: {given.model}` is no MnasNet; allowed: {', '.join(MODELS)}, or leave it out and "
            "name an architecture in the command"
        )
    return {"architecture": "mnasnet-b1", "width": MODELS[given.model]}


def _optimizer(given: MindCvRecipe) -> dict[str, Any]:
    match given.opt:
        case "rmsprop":  # decay and initial mean square are the defaults of MindSpore's nn.RMSProp
            square = {"initial_square": 1.0, "epsilon_in_root": True}
            return {"name": "rmsprop", "decay": 0.9, "momentum": given.momentum, "epsilon": given.eps, **square}
        case "momentum":
            return {"name": "sgd", "momentum": given.momentum}
        case "adam":
            return {"name": "adam", "beta1": 0.9, "beta2": 0.999, "epsilon": given.eps}


def _schedule(given: MindCvRecipe, source: str) -> dict[str, Any]:
    warmup = {"warmup_epochs": given.warmup_epochs, "warmup_from_zero": True}
    if given.scheduler == "constant":
        return {"name": "constant", **warmup}
    if given.warmup_epochs + given.decay_epochs != given.epoch_size:
        raise ConfigurationError(
            f"{source}: `warmup_epochs` {given.warmup_epochs} and `decay_epochs` {given.decay_epochs} do not add up to "
            f"`epoch_size` {given.epoch_size}; a cosine that ends elsewhere is not supported"
        )
    return {"name": "cosine", "final": given.min_lr, **warmup}


def _spares_norms(given: MindCvRecipe, source: str) -> bool:
    if given.weight_decay_filter is not None and given.filter_bias_and_bn is not None:
        raise ConfigurationError(
            f"{source}: `weight_decay_filter` and the older `filter_bias_and_bn` are both given; remove one"
        )
    return given.weight_decay_filter == "norm_and_bias" or bool(given.filter_bias_and_bn)


def _loss_scale(given: MindCvRecipe) -> dict[str, Any]:
    if given.dynamic_loss_scale or given.loss_scale_type == "dynamic":
        return {"name": "dynamic", "initial_scale": given.loss_scale, "growth_steps": 2000}
    return {"name": "fixed", "scale": given.loss_scale}


def _shares(values: tuple[float, ...]) -> list[float]:
    return [value / 255 for value in values]
