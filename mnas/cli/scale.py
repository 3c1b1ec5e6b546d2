"""`mnas scale NETWORK`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, TypeVar

from latency import LatencyRecord
from mnas.checkpoints.checkpoint import Accuracy
from mnas.cli.counted_progress import counted_progress
from mnas.cli.errors import DONE
from mnas.cli.options import name_or_path, path, positive
from mnas.cli.options import width as width_option
from mnas.cli.output import number, print_json, print_table
from mnas.cli.phones.settings import add_option, changes
from mnas.data import ImageForm
from mnas.errors import ConfigurationError
from mnas.scaling import ScaledNetwork, scaled_networks, trained_accuracies
from mnas.space_latency import time_networks
from search_space import find_architecture, fingerprint

Number = TypeVar("Number", int, float)
RANGE_STEP = 32
MAX_VALUES = 100
_WIDTHS = (0.35, 0.5, 0.75, 1.0, 1.4)
_RESOLUTIONS = (96, 128, 160, 192, 224)
_DESCRIPTION = """\
Compare a network at several widths and image sizes, as the paper's figure 5
does: parameters and multiply-adds, with --phone the latency, and with --trained
the accuracy of checkpoints. A network that was not trained has no accuracy.
"""
_EPILOG = """\
examples:
  mnas scale mnasnet-a1
  mnas scale mnasnet-a1 --widths 0.5,1.0 --resolutions 96..224 --phone pixel6
  mnas scale architecture.yaml --resolutions 32 --classes 10 \\
      --widths 0.5,1 --trained runs/half/best/epoch-0030.safetensors
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], summary: str) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "scale",
        help=summary,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "architecture",
        metavar="NETWORK",
        type=name_or_path,
        help="a reference (mnasnet-a1, mnasnet-b1, ...) or an architecture.yaml",
    )
    parser.add_argument(
        "--widths",
        metavar="LIST",
        type=widths,
        default=_WIDTHS,
        help=f"multiply every width but the head's by each of these (default: {','.join(map(str, _WIDTHS))})",
    )
    parser.add_argument(
        "--resolutions",
        metavar="LIST",
        type=resolutions,
        default=_RESOLUTIONS,
        help="heights and widths of the input; 96..224 is a range with a step of "
        f"{RANGE_STEP} (default: {','.join(map(str, _RESOLUTIONS))})",
    )
    parser.add_argument("--channels", type=positive, default=3, help="channels of the input (default: 3)")
    parser.add_argument("--classes", type=positive, default=1000, help="number of classes (default: 1000)")
    parser.add_argument("--phone", help="also time each network on a phone that was added, or on `host`")
    add_option(parser, "of --phone")
    parser.add_argument(
        "--trained",
        metavar="CHECKPOINT",
        type=path,
        action="append",
        default=[],
        help="a checkpoint of `mnas retrain` whose accuracy belongs to one of the networks; again for more",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def widths(text: str) -> tuple[float, ...]:
    """Return the widths of a list such as `0.5,1.0`."""
    return _without_repeats([width_option(part) for part in text.split(",")])


def resolutions(text: str) -> tuple[int, ...]:
    """Return the image sizes of a list such as `96,128` or `96..224`, or of both."""
    sizes: list[int] = []
    for part in text.split(","):
        low, dots, high = part.partition("..")
        sizes += _range(positive(low), positive(high)) if dots else [positive(part)]
    return _without_repeats(sizes)


def _range(low: int, high: int) -> range:
    if high < low or (high - low) % RANGE_STEP:
        raise argparse.ArgumentTypeError(
            f"{low}..{high} is no range with a step of {RANGE_STEP}; write one such as "
            f"{low}..{low + 4 * RANGE_STEP}, or a list of sizes"
        )
    if (high - low) // RANGE_STEP >= MAX_VALUES:
        raise argparse.ArgumentTypeError(f"{low}..{high} has more than {MAX_VALUES} sizes; give a shorter range")
    return range(low, high + 1, RANGE_STEP)


def _without_repeats(values: Sequence[Number]) -> tuple[Number, ...]:
    repeated = [value for place, value in enumerate(values) if value in values[:place]]
    if repeated:
        raise argparse.ArgumentTypeError(f"lists {repeated[0]:g} twice; give every number once")
    if len(values) > MAX_VALUES:
        raise argparse.ArgumentTypeError(f"lists {len(values)} numbers; give at most {MAX_VALUES}")
    return tuple(values)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    settings = changes(arguments.set)
    if settings and arguments.phone is None:
        raise ConfigurationError("--set changes how a phone measures; give --phone, too, or leave --set out")
    forms = [ImageForm(size, arguments.channels, arguments.classes) for size in arguments.resolutions]
    networks = scaled_networks(find_architecture(arguments.architecture), arguments.widths, forms)
    accuracies = trained_accuracies(networks, arguments.trained)
    records = [] if arguments.phone is None else _timed(networks, arguments.phone, settings)
    if arguments.json:
        print_json(_document(arguments, networks, records, accuracies))
        return DONE
    _print(networks, records, accuracies)
    return DONE


def _timed(networks: Sequence[ScaledNetwork], phone: str, settings: dict[str, int | float]) -> list[LatencyRecord]:
    records = []
    with counted_progress("networks timed", len(networks)) as on_done:
        for record in time_networks([network.network() for network in networks], phone, settings):
            records.append(record)
            on_done(len(records))
    return records


def _document(
    arguments: argparse.Namespace,
    networks: Sequence[ScaledNetwork],
    records: Sequence[LatencyRecord],
    accuracies: Sequence[Accuracy | None],
) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    for network in networks:
        counted = network.cost()
        rows.append(
            {
                "width": network.width,
                "image_size": network.form.image_size,
                "fingerprint": fingerprint(network.architecture),
                "trainable_params": counted.trainable_params,
                "params": counted.params,
                "multiply_adds": counted.multiply_adds,
            }
        )
    for row, record in zip(rows, records, strict=False):
        row |= {"latency_ms": record.latency_ms, "mad_ms": record.mad_ms}
    for row, accuracy in zip(rows, accuracies, strict=True):
        if accuracy is not None:
            row |= {"top1": accuracy.top1, "top5": accuracy.top5, "images": accuracy.images, "on": accuracy.on}
    return {
        "network": arguments.architecture,
        "channels": arguments.channels,
        "num_classes": arguments.classes,
        "phone": arguments.phone,
        "networks": rows,
    }


def _print(
    networks: Sequence[ScaledNetwork], records: Sequence[LatencyRecord], accuracies: Sequence[Accuracy | None]
) -> None:
    header = ["width", "pixels", "parameters", "multiply-adds"]
    rows: list[list[str]] = []
    for network in networks:
        counted = network.cost()
        rows.append(
            [
                f"{network.width:g}",
                str(network.form.image_size),
                f"{counted.trainable_params:,}",
                f"{counted.multiply_adds:,}",
            ]
        )
    if records:
        header.append("latency_ms")
        for row, record in zip(rows, records, strict=True):
            row.append(number(record.latency_ms, 4))
    if any(accuracies):
        header += ["top1_percent", "images"]
        for row, accuracy in zip(rows, accuracies, strict=True):
            row += (
                ["-", "-"] if accuracy is None else [f"{100 * accuracy.top1:.2f}", f"{accuracy.images:,} {accuracy.on}"]
            )
    print_table(header, rows)
