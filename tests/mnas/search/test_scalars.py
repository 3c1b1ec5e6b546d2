import errno
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event

from mnas.search.run import Run
from mnas.search.scalars import TENSORBOARD_FOLDER, scalar_observer


def events(folder: Path) -> Iterator[Event]:
    """Read the records of TensorBoard's files: length, its checksum, an event, its checksum."""
    for path in sorted(folder.glob("events.*")):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            yield Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]


def scalars(run_directory: Path, name: str) -> list[tuple[int, float]]:
    return [
        (event.step, round(value.simple_value, 6))  # TensorBoard keeps 32 bits
        for event in events(run_directory / TENSORBOARD_FOLDER)
        for value in event.summary.value
        if value.tag == name
    ]


@pytest.mark.parametrize("sessions", [1, 2])
def test_the_curves_are_those_of_the_store_after_any_session(searched_run: Path, tmp_path: Path, sessions: int) -> None:
    trials = Run.open(searched_run).trials
    for _ in range(sessions):
        with scalar_observer(tmp_path, trials[:2]) as observer:
            observer.trial_finished(trials[2])
    assert scalars(tmp_path, "search/trial") == [(1, 1), (2, 2), (3, 3)]
    assert scalars(tmp_path, "search/reward") == [(1, 0.28), (2, 0.57)]
    assert scalars(tmp_path, "search/best_reward")[-1] == (3, 0.57)
    assert scalars(tmp_path, "search/failed") == [(1, 0), (2, 0), (3, 1)]
    assert scalars(tmp_path, "search/latency_ms_pixel6") == [(2, 2.1)]


def test_tensorboards_own_reader_has_the_numbers_of_the_store(searched_run: Path, tmp_path: Path) -> None:
    reader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="TensorBoard is not installed"
    )
    trials = Run.open(searched_run).trials
    with scalar_observer(tmp_path, trials):
        pass
    found = reader.EventAccumulator(str(tmp_path / TENSORBOARD_FOLDER)).Reload()
    shown = [(event.step, event.value) for event in found.Scalars("search/reward")]
    assert shown == [(trial.id, pytest.approx(trial.reward)) for trial in trials if trial.reward is not None]


def test_curves_on_a_full_disk_raise_and_do_not_wait(
    searched_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with scalar_observer(tmp_path, []) as observer:
        monkeypatch.setattr("tensorboardX.record_writer.RecordWriter.write", full)
        with pytest.raises(OSError, match=r"No space left on device: '.*tensorboard'"):
            observer.trial_finished(Run.open(searched_run).trials[0])
