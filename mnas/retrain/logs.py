"""The logs of a retraining: two CSV files and one for TensorBoard; a resumed training continues them without a seam."""

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
    """One epoch, counted from 1, and its validation where there was one.

    step: steps taken until its end. train_loss: mean over its steps. top1, top5, loss: of the test set.
    images_per_s, ms_per_step: of training, without compiling and validating; of the part after a resume.
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
    """Some consecutive steps: `step` steps have been taken at their end; mean loss, last learning rate and scale."""

    step: int
    epoch: int
    train_loss: float
    learning_rate: float
    loss_scale: float
    skipped: int


class Logs:
    """The open logs of one run directory."""

    def __init__(self, directory: Path, step: int) -> None:
        """Open the logs to go on after `step` steps; what was logged beyond is removed, since it is trained again."""
        from tensorboardX import SummaryWriter

        self._epochs = _CsvLog(directory / EPOCHS_FILE, EpochRow.__struct_fields__, step)
        self._steps = _CsvLog(directory / STEPS_FILE, StepRow.__struct_fields__, step)
        self._board = SummaryWriter(str(directory / TENSORBOARD_FOLDER), purge_step=step + 1)

    def epoch(self, row: EpochRow) -> None:
        """Log an epoch."""
        values = msgspec.structs.asdict(row)
        self._epochs.append(values)
        for name in ("top1", "top5", "loss"):
            if values[name] is not None:
                self._board.add_scalar(f"test/{name}", values[name], row.step)
        self._board.add_scalar("speed/images_per_s", row.images_per_s, row.step)
        self._board.flush()

    def steps(self, row: StepRow) -> None:
        """Log some steps."""
        self._steps.append(msgspec.structs.asdict(row))
        self._board.add_scalar("train/loss", row.train_loss, row.step)
        self._board.add_scalar("train/learning_rate", row.learning_rate, row.step)

    def close(self) -> None:
        """Write what is still held back."""
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
        # A machine that went down may have left half a row at the end.
        return [row for row in reader if None not in row.values()]
