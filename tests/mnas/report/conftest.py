import pytest

from mnas.search.run import Run
from tests.mnas.report.stand_in import stand_in_run


@pytest.fixture(scope="session")
def two_phones(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run in progress with two phones, failures, repeats and rejected windows."""
    return Run.open(stand_in_run(tmp_path_factory.mktemp("report") / "two phones", 60, other="pixel6", pending=3))
