import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", ["errors", "names", "own_parts"])
def test_modules_that_controllers_import_need_the_standard_library_only(name: str) -> None:
    script = f"import sys, mnas.documents.{name}; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {module.partition(".")[0] for module in result.stdout.split()}
    bare = subprocess.run(
        [sys.executable, "-c", "import sys; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    third_party = loaded - {module.partition(".")[0] for module in bare.stdout.split()} - sys.stdlib_module_names
    assert third_party == {"mnas"}
