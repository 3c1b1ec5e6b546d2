import pickle

import pytest

from mnas.documents.errors import DocumentError, Error
from mnas.errors import FailureKind, TrainingDivergedError, TrialError

ERRORS = [
    Error("anything"),
    DocumentError("a.yaml: no such file"),
    TrainingDivergedError(7, float("inf")),
    TrialError(FailureKind.PHONE, "unplugged"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_is_the_same_after_a_trip_to_another_process(error: Error) -> None:
    copied = pickle.loads(pickle.dumps(error))
    assert (type(copied), str(copied), vars(copied)) == (type(error), str(error), vars(error))
