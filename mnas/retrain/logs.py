"""The logs of a retraining: two CSV files and one for TensorBoard. A resumed training continues them without a gap."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from mnas.errors import Error
from mnas.files import write_atomically

EPOCHS_FILE = "epochs.csv"
STEPS_FILE = "steps.csv"
TENSORBOARD_FOLDER = "tensorboard"


class EpochRow(msgspec.Struct, frozen=True, kw_only=True):
    """One epoch, and its validation if there was one.

    Attributes:
        epoch: Number of the epoch, counted from 1.
        step: Steps taken until its end, counted from the start of the training.
        learning_rate: Learning rate of its last step.
        train_loss: Mean loss of its steps.
        top1: Top-1 accuracy on the test set, 0 to 1; None without a validation.
        top5: Top-5 accuracy on the test set, 0 to 1; None without a validation.
        loss: Mean cross entropy on the test set; None without a validation.
        images_per_s: Speed of training, without compiling and validating; of the part after a resume.
        ms_per_step: The same speed as time per step.
        train_s: Seconds of training.
        validate_s: Seconds of validating.
    """

    epoch: int
    step: int
    learning_rate: float
    train_loss: float
    top1: float | None
    top5: float | None
    loss: float | None
    images_per_s: float
    ms_per_step: float
    train_s: float
    validate_s: float


class StepRow(msgspec.Struct, frozen=True, kw_only=True):
    """Some consecutive steps.

    Attributes:
        step: Steps taken until the last of them, counted from the start of the training.
        epoch: Number of their epoch, counted from 1.
        train_loss: Mean loss, skipped steps left out.
        learning_rate: Learning rate of the last of them.
        loss_scale: Loss scale after the last of them.
        skipped: How many of them were skipped.
    """

    step: int
    epoch: int
    train_loss: float
    learning_rate: float
    loss_scale: float
    skipped: int


class Logs:
    """The open logs of one run directory."""

    def __init__(self, directory: Path, step: int) -> None:
        """Open the logs to go on after `step` steps; remove later lines, because those steps are trained again."""
        from tensorboardX import SummaryWriter

        self._epochs = _CsvLog(directory / EPOCHS_FILE, EpochRow.__struct_fields__, step)
        self._steps = _CsvLog(directory / STEPS_FILE, StepRow.__struct_fields__, step)
        self._board = SummaryWriter(str(directory / TENSORBOARD_FOLDER), purge_step=step + 1)

    def epoch(self, row: EpochRow) -> None:
        """Write the line of an epoch."""
        values = msgspec.structs.asdict(row)
        self._epochs.append(values)
        for name in ("top1", "top5", "loss"):
            if values[name] is not None:
                self._board.add_scalar(f"test/{name}", values[name], row.step)
        self._board.add_scalar("speed/images_per_s", row.images_per_s, row.step)
        self._board.flush()

    def steps(self, row: StepRow) -> None:
        """Write the line of some steps."""
        self._steps.append(msgspec.structs.asdict(row))
        self._board.add_scalar("train/loss", row.train_loss, row.step)
        self._board.add_scalar("train/learning_rate", row.learning_rate, row.step)

    def close(self) -> None:
        """Write what is buffered."""
        self._board.close()


@contextmanager
def open_logs(directory: Path, step: int) -> Iterator[Logs]:
    """Open the logs as `Logs` does, and close them."""
    logs = Logs(directory, step)
    try:
        yield logs
    finally:
        logs.close()


class _CsvLog:
    def __init__(self, path: Path, columns: tuple[str, ...], step: int) -> None:
        self._path, self._columns = path, columns
        kept = [row for row in _read(path, columns) if int(row["step"]) <= step]
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept)
        write_atomically(path, text.getvalue().encode())

    def append(self, row: Mapping[str, object]) -> None:
        with self._path.open("a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, self._columns, lineterminator="\n").writerow(row)


def _read(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames is None or tuple(reader.fieldnames) != columns:
            raise Error(f"{path}: its columns are not {', '.join(columns)}; move the file away and start again")
        # A crash of the machine may have left half a row at the end.
        return [row for row in reader if None not in row.values()]
