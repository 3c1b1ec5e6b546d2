"""Networks to compare with: what is refused. `tests/mnas/cli/test_scale_command.py` has what is shown."""

import json
from pathlib import Path
from typing import Any

import pytest

from mnas.cli import main

MEASURED = {"width": 1.0, "image_size": 16, "latency_ms": 1.5, "top1": 0.9, "images": 300, "on": "test"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"phone": "pixel6"}, "was timed on pixel6 with 10 classes, and no run of this report has the same phone"),
        ({"num_classes": 1000}, "was timed on host with 1000 classes"),
        ({"networks": [MEASURED | {"top1": None}]}, "run `mnas scale` with --phone and --trained"),
        ({"networks": [MEASURED | {"top1": 90}]}, "'networks[0].top1' is 90"),
        ({"networks": "none"}, "'networks' is 'none'"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    change: dict[str, Any], said: str, searched_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "reference.json", tmp_path / "report.html"
    path.write_text(json.dumps({"network": "net", "num_classes": 10, "phone": "host", "networks": [MEASURED]} | change))
    assert main(["report", str(searched_run), "--out", str(out), "--reference", str(path)]) == 2
    assert said in capsys.readouterr().err
    assert not out.exists()
