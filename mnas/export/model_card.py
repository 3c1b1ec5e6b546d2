"""The model card: an exported network's numbers, origin and use, and what was not verified."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timezone

import mnas
from latency import LatencyRecord
from mnas.documents.foreign_text import markdown_text
from mnas.export.subject import Subject
from mnas.network.onnx_graph import INPUT_NAME, OUTPUT_NAME
from mnas.search.run import Run
from mnas.search.trial import Trial
from search_space import cost, fingerprint, format_block


def model_card(subject: Subject, files: Mapping[str, str], difference: float) -> str:
    """Return the card as Markdown.

    Args:
        subject: The exported network.
        files: What each file of the folder is, by name.
        difference: The largest difference between the logits of the ONNX and the MindIR file, relative to the largest
            logit.
    """
    parts = (
        _head(subject),
        _numbers(subject),
        _origin(subject),
        _usage(subject),
        _files(files),
        _verification(subject, difference),
    )
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _head(subject: Subject) -> Iterator[str]:
    form = subject.checkpoint.input
    yield f"# {markdown_text(subject.name)}"
    yield ""
    yield (
        f"An image classifier of {form.num_classes} classes for images of {form.image_size}x{form.image_size} pixels: "
        f"{markdown_text(subject.source.origin)}"
        + ("." if subject.width == 1 else f", with every width times {subject.width:g}.")
    )
    if not subject.is_trained:
        yield ""
        yield (
            "**Its weights are initial ones: the network is not trained.** Its answers mean nothing. Use the folder to "
            "time the network, to look at it and to train it (`mnas retrain`); export again with `--checkpoint` after "
            "the training."
        )
    elif subject.is_child:
        yield ""
        yield (
            "**Its weights are those of a child of the search**, which trains only as long as a comparison of networks "
            "needs. Train it fully (`mnas retrain`) before you rely on it."
        )
    yield ""
    yield "![The network](network.svg)"


def _numbers(subject: Subject) -> Iterator[str]:
    counted = cost(subject.network)
    size = subject.checkpoint.input.image_size
    yield "## Numbers"
    yield ""
    yield "| what | value |"
    yield "|---|---|"
    yield f"| top-1 accuracy | {_accuracy(subject)} |"
    if (accuracy := subject.checkpoint.accuracy) is not None:
        yield f"| top-5 accuracy | {accuracy.top5:.2%} |"
        yield f"| cross entropy | {accuracy.loss:.4f} |"
    yield f"| parameters | {counted.trainable_params:,} ({counted.params:,} with batch-norm statistics) |"
    yield f"| multiply-adds | {counted.multiply_adds:,} for one image of {size}x{size} pixels |"
    yield f"| fingerprint | {fingerprint(subject.checkpoint.architecture.architecture)} |"
    yield ""
    yield from _latencies(subject)
    if (published := subject.published) is not None:
        top5 = "" if published.top5_percent is None else f", top-5 {published.top5_percent:g}%"
        latency = "" if published.pixel1_latency_ms is None else f", {published.pixel1_latency_ms:g} ms on a Pixel 1"
        yield ""
        yield (
            f"Published for this network on ImageNet: top-1 {published.top1_percent:g}%{top5}{latency}. These numbers "
            "are from the literature, not from the weights in this folder."
        )


def _accuracy(subject: Subject) -> str:
    if not subject.is_trained:
        return "none: not trained"
    accuracy = subject.checkpoint.accuracy
    if accuracy is None:
        return "not known: the checkpoint holds none; measure it with `mnas validate`"
    images = "test images" if accuracy.on == "test" else "training images that were held out"
    average = "the moving average of the weights" if accuracy.of_ema else "the weights"
    position = subject.checkpoint.position
    return f"{accuracy.top1:.2%} of {accuracy.images:,} {images}, {average} after epoch {position.epoch}"


def _latencies(subject: Subject) -> Iterator[str]:
    records = subject.latencies()
    if not records:
        yield "Latency of this network has not been measured. `mnas phones measure model.onnx` times it."
        return
    yield "| phone | latency | spread | protocol | measured |"
    yield "|---|---|---|---|---|"
    for record in records:
        yield _latency_row(record)
    yield ""
    yield (
        "Latency is the median wall time of one image (batch 1). It was measured on this graph with other weights, "
        "during the search; the record with every raw run is in `architecture.yaml`."
    )


def _latency_row(record: LatencyRecord) -> str:
    phone, settings = record.phone, record.settings
    engine = f"{phone.engine} {phone.engine_version}"
    threads = "one thread" if phone.threads == 1 else f"{phone.threads} threads"
    return (
        f"| {markdown_text(f'{phone.name} ({phone.fingerprint})')} | {record.latency_ms:.4g} ms "
        f"| MAD {record.mad_ms:.2g} ms, p90 {record.p90_ms:.4g} ms, min {record.min_ms:.4g} ms "
        f"| {len(record.wall_ms)} runs after a warm-up of {settings.warmup_min_ms:g} ms, {threads} on core "
        f"{phone.core}, {markdown_text(engine)}, settings {settings.digest} "
        f"| {markdown_text(record.measured_at)} |"
    )


def _origin(subject: Subject) -> Iterator[str]:
    architecture = subject.checkpoint.architecture
    yield "## How it was obtained"
    yield ""
    origin = markdown_text(subject.source.origin)
    yield f"Exported by mnas {mnas.__version__} on {datetime.now(timezone.utc):%Y-%m-%d} from {origin}."
    yield ""
    yield "    " + "\n    ".join(format_block(block) for block in architecture.architecture.blocks)
    yield from _search(subject)
    yield ""
    if subject.weights_from is None:
        of_search = (
            "" if subject.source.trial is None else " The search has kept none of this network (`search.keep_weights`)."
        )
        yield f"Weights: initial ones.{of_search}"
        return
    position, average = subject.checkpoint.position, subject.checkpoint.ema is not None
    which = "the moving average of the weights" if average else "the weights"
    after = f" after {position.epoch} epochs, {position.step} steps" if position.step else ""
    yield f"Weights: {which} of the checkpoint {markdown_text(subject.weights_from)}{after}."


def _search(subject: Subject) -> Iterator[str]:
    trial, run = subject.source.trial, subject.source.run
    if trial is None or run is None:
        return
    experiment, reward_images = run.experiment, run.reward_images
    steps = markdown_text((trial.training or {}).get("steps", "?"))
    controller, exponents = markdown_text(experiment.controller.get("name")), experiment.reward.exponents
    held_out = "held-out" if reward_images is None else f"{reward_images:,} held-out"
    numbers = (
        f"accuracy {trial.accuracy:.4f} on {held_out} training images after "
        f"{experiment.training.epochs:g} epochs ({steps} steps), latency {trial.latency_ms:.4g} ms, target "
        f"{experiment.latency.target_ms:g} ms, reward {trial.reward:.4f}"
    )
    space = markdown_text(experiment.space)
    yield ""
    yield (
        f"The search ({controller}, space {space}, seed {experiment.seed}) gave trial {trial.id} the reward "
        f"accuracy x (latency / target)^w with w = {exponents[0]:g} below the target and {exponents[1]:g} above: "
        f"{numbers}."
    )
    yield from _finalist(run, trial)
    if not subject.as_found:
        yield ""
        yield "These numbers are of the network that was searched. This one differs in width or input."


def _finalist(run: Run, trial: Trial) -> Iterator[str]:
    """Yield what trainings with fresh seeds say of the trial, or that its reward is a single one."""
    finalists = run.finalists()
    yield ""
    found = next((finalist for finalist in finalists if finalist.trial.id == trial.id), None)
    if found is None:
        yield (
            "These are numbers of a single training. The best of many of these is optimistic: the search has chosen it "
            "by them."
        )
        return
    standing = found.standing
    yield (
        f"Trained again with fresh seeds ({standing.trainings} times, finalists of the search), its mean reward is "
        f"{standing.mean:.4f}, with accuracy {found.accuracy:.4f} and latency {found.latency_ms:.4g} ms; this mean is "
        f"free of the luck by which the search chose it. The true reward is from {standing.low:.4f} to "
        f"{standing.high:.4f} with a probability of 95%, and it is the best of {len(finalists)} finalists with a "
        f"probability of {standing.probability_best:.3f}."
    )


def _usage(subject: Subject) -> Iterator[str]:
    form = subject.checkpoint.input
    size, crop = form.image_size, form.evaluation_crop
    colours = "RGB" if form.channels == 3 else "grey" if form.channels == 1 else f"{form.channels} channels"
    mode = "RGB" if form.channels == 3 else "L"
    cut = f"the central {crop:.1%} of the shorter side, resized to" if crop < 1 else "the central square, resized to"
    yield "## Intended input"
    yield ""
    yield (
        f"`{INPUT_NAME}`: float32 (batch, {form.channels}, {size}, {size}), {colours}, any batch size. An image is "
        f"{cut} {size}x{size} pixels ({form.interpolation}), then (pixel / 255 - mean) / std with mean "
        f"{_list(form.mean)} and std {_list(form.std)}. `{OUTPUT_NAME}`: float32 (batch, {form.num_classes}), before "
        "softmax. Pictures are turned upright first, as their EXIF orientation says."
    )
    if not subject.is_trained:
        yield ""
        yield "No training has used this preparation yet; a training on other data may change it."
    if form.class_names is None:
        yield ""
        yield (
            "The names of the classes are not known. The labels are 0, 1, ...: for data in class folders, the "
            "positions in the sorted names of the folders."
        )
    elif form.num_classes <= 20:
        yield ""
        yield f"Classes, by label: {', '.join(map(markdown_text, form.class_names))}."
    else:
        yield ""
        yield "The names of the classes, by label, are in the metadata of `model.onnx` (`class_names`, JSON)."
    yield ""
    yield "```python"
    if form.class_names is not None:
        yield "import json"
        yield ""
    yield "import numpy as np, onnxruntime"
    yield "from PIL import Image, ImageOps"
    yield ""
    yield f'picture = ImageOps.exif_transpose(Image.open("picture.jpg")).convert("{mode}")'
    yield f"side = min(picture.size) * {crop:g}"
    yield "left, top = (picture.width - side) / 2, (picture.height - side) / 2"
    yield "box = (left, top, left + side, top + side)"
    yield f"picture = picture.resize(({size}, {size}), Image.Resampling.{form.interpolation.upper()}, box=box)"
    yield f"image = np.asarray(picture, np.float32).reshape({size}, {size}, {form.channels}) / 255"
    yield f"image = (image - np.array({_list(form.mean)})) / np.array({_list(form.std)})"
    yield 'session = onnxruntime.InferenceSession("model.onnx")'
    batch = "image.transpose(2, 0, 1)[None].astype(np.float32)"
    yield f'logits = session.run(None, {{"{INPUT_NAME}": {batch}}})[0]'
    yield "label = int(logits[0].argmax())"
    if form.class_names is None:
        yield "print(label)"
    else:
        yield 'class_names = json.loads(session.get_modelmeta().custom_metadata_map["class_names"])'
        yield "print(class_names[label])"
    yield "```"


def _list(values: tuple[float, ...]) -> str:
    return "[" + ", ".join(f"{value:g}" for value in values) + "]"


def _files(files: Mapping[str, str]) -> Iterator[str]:
    yield "## Files"
    yield ""
    yield "| file | what |"
    yield "|---|---|"
    for name, what in files.items():
        yield f"| {name} | {what} |"


def _verification(subject: Subject, difference: float) -> Iterator[str]:
    yield "## What was verified, and what was not"
    yield ""
    yield (
        f"- Verified at export: `model.onnx` (onnxruntime) and `model.mindir` (MindSpore) give the same logits for "
        f"random images, to {difference:.1e} of the largest; the checkpoint reads back to the exported weights."
    )
    if not subject.is_trained:
        yield "- Not verified: any accuracy. The weights are initial."
    elif subject.checkpoint.accuracy is None:
        yield "- Not verified: any accuracy of these weights."
    else:
        yield (
            "- The accuracy is that of the training's own validation. `mnas validate` on this folder repeats it "
            "independently."
        )
    if not subject.latencies():
        yield "- Not verified: any latency of this network."
    else:
        yield "- Not verified: the latency of the files in this folder; the same graph was timed with other weights."
    yield "- Not verified: MindSpore Lite, Ascend, NNAPI, Core ML or any other converter or delegate."
    yield "- Not verified: behaviour on images unlike those of the training, fairness, robustness."
