"""The commands that look at things: help, spaces, architectures, one measurement."""

import json
from pathlib import Path
from typing import Any

import pytest

from mnas.cli import main
from mnas.network.onnx_graph import build_onnx
from search_space import SearchSpace, lower, reference


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def run_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    return json.loads(run(capsys, *arguments, "--json"))


@pytest.mark.parametrize(
    ("width", "trainable_params", "params", "multiply_adds"),
    [
        ("0.5", 2218512, 2239136, 104455968),
        ("0.75", 3170208, 3200016, 215493104),
        ("1.0", 4383312, 4421232, 314415872),
        ("1.3", 6282256, 6331072, 526362432),
        ("1.4", 7115728, 7168176, 588799408),
    ],
)
def test_mnasnet_b1_is_counted_as_published(
    width: str, trainable_params: int, params: int, multiply_adds: int, capsys: pytest.CaptureFixture[str]
) -> None:
    described = run_json(capsys, "arch", "describe", "mnasnet-b1", "--width", width)
    counted = (described["trainable_params"], described["params"], described["multiply_adds"])
    assert counted == (trainable_params, params, multiply_adds)


def test_an_architecture_is_described_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "arch", "describe", "mnasnet-a1")
    assert "3,887,038 trainable" in out
    assert "r3_k5_s22_e3_i24_o40_se0.25" in out


def test_a_space_is_described_with_every_decision(capsys: pytest.CaptureFixture[str]) -> None:
    described = run_json(capsys, "space", "describe", "mnasnet")
    assert described["cardinality"] == 432**5 * 288**2
    assert len(described["decisions"]) == 42


def test_every_bundled_space_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    listed = [line.split()[0] for line in run(capsys, "space", "list").splitlines()[1:]]
    assert listed == list(SearchSpace.names())


def test_a_model_is_timed_with_every_run_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.onnx"
    network = lower(reference("mnasnet-small").architecture, image_size=64)
    path.write_bytes(build_onnx(network).SerializeToString())
    # Whether this machine is steady now is not what is tested.
    limits = ("contention_limit=10", "relative_mad_limit=1", "switches_per_s_limit=1e6", "others_busy_limit=100")
    lenient = [word for limit in (*limits, "drift_limit=100") for word in ("--set", limit)]
    # A measurement that takes over two seconds says on standard error what it waits for.
    assert main(["phones", "measure", str(path), "--phone", "host", "--runs", "20", "--json", *lenient]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["accepted"]
    (session,) = record["sessions"]
    runs_ms = sorted(session["window"]["wall_ms"])
    assert len(runs_ms) == 20
    assert runs_ms[9] <= record["latency_ms"] <= runs_ms[10]
