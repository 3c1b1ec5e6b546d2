"""Which failure an error of a training is."""

import pytest

from mnas.errors import DataError, Error, FailureKind, OutOfMemoryError, TrainingDivergedError, TrainingError
from mnas.workers.worker import failure_of


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OutOfMemoryError("no device memory"), FailureKind.OUT_OF_MEMORY),
        (MemoryError("Unable to allocate 9.31 GiB"), FailureKind.OUT_OF_MEMORY),
        (TrainingDivergedError(3, float("nan")), FailureKind.TRAINING_DIVERGED),
        (TrainingError("MindSpore failed"), FailureKind.INTERNAL),
        (DataError("a broken image"), FailureKind.INTERNAL),
    ],
)
def test_an_error_has_a_kind_and_keeps_its_text(error: Error | MemoryError, kind: FailureKind) -> None:
    failure = failure_of(error)
    assert failure.kind is kind
    assert str(error) in failure.message
