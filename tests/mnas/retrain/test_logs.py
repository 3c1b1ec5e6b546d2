import csv
import errno
import os
import resource
import signal
from pathlib import Path

import pytest

from mnas.errors import Error
from mnas.files import RunDirectoryError
from mnas.retrain.logs import EpochRow, StepRow, open_logs


def epoch_row(epoch: int) -> EpochRow:
    return EpochRow(
        epoch=epoch,
        step=10 * epoch,
        learning_rate=0.1,
        train_loss=1.5,
        top1=0.25 if epoch % 2 else None,
        top5=None,
        loss=None,
        images_per_s=100.0,
        ms_per_step=20.0,
        train_s=2.0,
        validate_s=0.5,
    )


def step_row(step: int) -> StepRow:
    return StepRow(step=step, epoch=1, train_loss=1 / step, learning_rate=0.1, loss_scale=1.0, skipped=0)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_rows_are_on_disk_at_once_and_unknown_values_are_empty(tmp_path: Path) -> None:
    with open_logs(tmp_path, step=0) as logs:
        logs.epoch(epoch_row(1))
        logs.epoch(epoch_row(2))
        assert [(row["epoch"], row["top1"]) for row in rows(tmp_path / "epochs.csv")] == [("1", "0.25"), ("2", "")]


def test_what_was_logged_beyond_the_checkpoint_is_removed(tmp_path: Path) -> None:
    with open_logs(tmp_path, step=0) as logs:
        for step in (5, 10, 15, 20, 25):
            logs.steps(step_row(step))
        logs.epoch(epoch_row(1))
        logs.epoch(epoch_row(2))
    with open_logs(tmp_path, step=15) as logs:
        logs.steps(step_row(20))
    assert [row["step"] for row in rows(tmp_path / "steps.csv")] == ["5", "10", "15", "20"]
    assert [row["step"] for row in rows(tmp_path / "epochs.csv")] == ["10"]


def test_half_a_row_is_dropped(tmp_path: Path) -> None:
    with open_logs(tmp_path, step=0) as logs:
        logs.steps(step_row(5))
    path = tmp_path / "steps.csv"
    path.write_text(path.read_text() + "10,1,0.")
    with open_logs(tmp_path, step=20):
        assert [row["step"] for row in rows(path)] == ["5"]


def test_another_table_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "steps.csv").write_text("my,own,notes\n")
    with pytest.raises(Error, match=r"steps\.csv: its columns are not step, epoch"), open_logs(tmp_path, step=0):
        pass
    assert (tmp_path / "steps.csv").read_text() == "my,own,notes\n"


def test_tensorboard_gets_the_scalars(tmp_path: Path) -> None:
    with open_logs(tmp_path, step=0) as logs:
        logs.steps(step_row(5))
        logs.epoch(epoch_row(1))
    (events,) = (tmp_path / "tensorboard").iterdir()
    content = events.read_bytes()
    for tag in (b"train/loss", b"train/learning_rate", b"test/top1", b"speed/images_per_s"):
        assert tag in content


@pytest.mark.parametrize(
    "garbage",
    [b"\xff\xfe\x00,1\n", b"five,1,0.5,0.1,1.0,0\n", b"5,1,much,0.1,1.0,0\n", b"5\n", b"-5,1,0.5,0.1,1.0,0\n"],
)
def test_a_line_that_is_no_row_is_named(tmp_path: Path, garbage: bytes) -> None:
    with open_logs(tmp_path, step=0) as logs:
        logs.steps(step_row(5))
    path = tmp_path / "steps.csv"
    path.write_bytes(path.read_bytes() + garbage)
    with pytest.raises(Error, match=r"steps\.csv: line 3 is no row of this table; remove"), open_logs(tmp_path, step=9):
        pass


def test_a_log_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "steps.csv").symlink_to(tmp_path / "victim")
    with pytest.raises(RunDirectoryError, match="symbolic link"), open_logs(tmp_path, step=0):
        pass
    assert (tmp_path / "victim").read_text() == "mine"


def test_tensorboard_on_a_full_disk_raises_and_does_not_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with open_logs(tmp_path, step=0) as logs:
        monkeypatch.setattr("tensorboardX.record_writer.RecordWriter.write", full)
        with pytest.raises(OSError, match="No space left"):
            logs.epoch(epoch_row(1))


def test_tensorboard_names_held_out_images(tmp_path: Path) -> None:
    with open_logs(tmp_path, step=0, validated_on="validation") as logs:
        logs.epoch(epoch_row(1))
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert b"validation/top1" in events.read_bytes()


def test_a_folder_of_tensorboard_elsewhere_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "tensorboard").symlink_to(tmp_path / "elsewhere")
    with (
        pytest.raises(RunDirectoryError, match="is no folder of this run"),
        open_logs(tmp_path / "run", step=0),
    ):
        pass
    assert os.listdir(tmp_path / "elsewhere") == []


def log_steps(folder: Path, count: int) -> None:
    with open_logs(folder, step=0) as logs:
        for step in range(1, count):
            logs.steps(step_row(step))


def test_a_full_disk_is_an_error_of_the_training_itself(tmp_path: Path) -> None:
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200, limit[1]))
        with pytest.raises(OSError, match=r"File too large: '.*(steps\.csv|tensorboard)'"):
            log_steps(tmp_path, 200)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, ignored)
