import pytest

from mnas.search.run import Run
from tests.mnas.report.stand_in import stand_in_run


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of twelve trials on the digits, some of them failed."""
    return Run.open(stand_in_run(tmp_path_factory.mktemp("runs") / "digits", 12))
