"""What `mnas retrain` finds under the name that a user gives, before any training."""

from pathlib import Path

import pytest

from mnas.cli.retrain import _find
from mnas.errors import ConfigurationError
from mnas.files import RunDirectoryError

RECIPE = """\
data: {format: digits, image_size: 16}
training: {epochs: 1, learning_rate: 0.01, norm_momentum: 0.9}
threads: 1
"""


def test_a_run_gives_its_best_trial(searched_run: Path) -> None:
    file, name = _find(str(searched_run), None)
    assert (file.lineage["trial"], name) == (2, "digits-trial2")


def test_a_trial_of_a_run_can_be_named(searched_run: Path) -> None:
    file, name = _find(str(searched_run), 1)
    assert (file.lineage["trial"], name) == (1, "digits-trial1")


def test_a_failed_trial_is_refused(searched_run: Path) -> None:
    with pytest.raises(RunDirectoryError, match="trial 3 is failed"):
        _find(str(searched_run), 3)


def test_only_a_run_has_trials() -> None:
    with pytest.raises(ConfigurationError, match="--trial"):
        _find("mnasnet-a1", 1)


def test_an_architecture_file_keeps_its_name(searched_run: Path) -> None:
    assert _find("mnasnet-a1", None)[1] == "mnasnet-a1"
