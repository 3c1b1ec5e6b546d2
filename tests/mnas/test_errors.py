import copy
import pickle

import pytest

from mnas.errors import Error, FailureKind, TrainingDivergedError, TrialError


@pytest.mark.parametrize("error", [TrialError(FailureKind.EXPORT, "no such layer"), TrainingDivergedError(7, 1e30)])
def test_an_error_survives_a_copy_between_processes(error: Error) -> None:
    copied = pickle.loads(pickle.dumps(error))
    assert type(copied) is type(error)
    assert str(copied) == str(error)
    assert vars(copy.copy(error)) == vars(copied)
