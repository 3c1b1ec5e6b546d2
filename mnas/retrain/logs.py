"""The logs of a retraining: two CSV files and one for TensorBoard. A resumed training continues them without a gap."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from mnas.errors import Error
from mnas.files import errors_named, open_for_append, write_atomically
from mnas.tensorboard import TensorBoardFile

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

    def __init__(self, directory: Path, step: int, validated_on: str = "test") -> None:
        """Open the logs to go on after `step` steps; remove later lines, because those steps are trained again.

        Args:
            directory: The run directory.
            step: Steps that the checkpoint has.
            validated_on: What the epochs are validated on, as TensorBoard's tags name it.

        Raises:
            RunDirectoryError: A log is a symbolic link, a folder or a pipe.
            Error: A log holds something else.
        """
        self._validated_on = validated_on
        self._epochs = _CsvLog(directory / EPOCHS_FILE, EpochRow.__struct_fields__, step)
        self._steps = _CsvLog(directory / STEPS_FILE, StepRow.__struct_fields__, step)
        self._board = TensorBoardFile(directory / TENSORBOARD_FOLDER, purge_step=step + 1)

    def epoch(self, row: EpochRow) -> None:
        """Write the line of an epoch."""
        values = msgspec.structs.asdict(row)
        self._epochs.append(values)
        for name in ("top1", "top5", "loss"):
            if values[name] is not None:
                self._board.add_scalar(f"{self._validated_on}/{name}", values[name], row.step)
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
def open_logs(directory: Path, step: int, validated_on: str = "test") -> Iterator[Logs]:
    """Open the logs as `Logs` does, and close them."""
    logs = Logs(directory, step, validated_on)
    try:
        yield logs
    finally:
        logs.close()


def finished_epochs(directory: Path) -> int:
    """Return how many epochs the log of a training tells of, for people who wait; 0 without a log."""
    path = directory / EPOCHS_FILE
    return max(0, path.read_bytes().count(b"\n") - 1) if path.is_file() else 0


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
        with errors_named(self._path), open_for_append(self._path) as file:
            csv.DictWriter(file, self._columns, lineterminator="\n").writerow(row)


def _read(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    if not os.path.lexists(path):
        return []
    open_for_append(path).close()  # refuses links, folders and pipes
    # A crash of the machine may have left half a row at the end.
    content = path.read_bytes().rpartition(b"\n")[0]
    # Strict decoding of the whole would hide which line is not text.
    lines = content.decode("utf-8", errors="replace").split("\n")
    if tuple(lines[0].split(",")) != columns:
        raise Error(f"{path}: its columns are not {', '.join(columns)}; move the file away and start again")
    rows = [dict(zip(columns, line.split(","), strict=False)) for line in lines[1:]]
    for number, (line, row) in enumerate(zip(lines[1:], rows, strict=True), start=2):
        if line.count(",") != len(columns) - 1 or not _is_row(row):
            raise Error(
                f"{path}: line {number} is no row of this table; remove the line, or move the file away (the training "
                "itself is in the checkpoint), and run the same command again"
            )
    return rows


def _is_row(row: Mapping[str, str]) -> bool:
    """Return whether every value is a number or absent, and the step a whole one."""
    try:
        for value in filter(None, row.values()):
            float(value)
        return row["step"].isascii() and row["step"].isdecimal() and len(row["step"]) < 20
    except ValueError:
        return False
