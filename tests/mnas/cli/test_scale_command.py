import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from latency import LatencyRecord, MeasurementSettings, PhoneIdentity
from latency.measurement.record import model_sha256
from mnas import phone as phone_module
from mnas.checkpoints.checkpoint import Accuracy, Checkpoint, write_checkpoint
from mnas.checkpoints.image_input import conventional_input
from mnas.cli import main
from mnas.network.onnx_graph import build_onnx
from mnas.network.weights import initial_weights
from mnas.report.data import report_data
from mnas.search.run import Run
from search_space import find_architecture_file, lower, reference

SMALL = ("scale", "mnasnet-small", "--widths", "0.5,1.0", "--resolutions", "32,64", "--classes", "10")


class RecordingPhone:
    """A phone that keeps the models that it is given; its latencies are 1 ms, 2 ms and so on."""

    name = "recording"

    def __init__(self, record: LatencyRecord) -> None:
        self._record = record
        self.settings: list[MeasurementSettings] = []
        self.models: list[str] = []

    def identify(self) -> PhoneIdentity:
        return self._record.phone

    def measure(self, model: bytes, settings: MeasurementSettings) -> LatencyRecord:
        self.models.append(model_sha256(model))
        self.settings.append(settings)
        (session,) = self._record.sessions
        ms = float(len(self.models))
        window = replace(session.window, wall_ms=(ms, ms, ms))
        return replace(self._record, settings=settings, sessions=(replace(session, window=window),))

    def close(self) -> None:
        pass


@pytest.fixture
def phone(latency_record: LatencyRecord, monkeypatch: pytest.MonkeyPatch) -> RecordingPhone:
    phone = RecordingPhone(latency_record)
    monkeypatch.setattr(phone_module, "create_phones", lambda name, leases: [phone])
    return phone


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def run(*arguments: str) -> str:
        assert main(arguments) == 0
        return capsys.readouterr().out

    return run


@pytest.fixture
def run_json(run: Callable[..., str]) -> Callable[..., Any]:
    return lambda *arguments: json.loads(run(*arguments, "--json"))


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    try:
        code = main(["scale", "mnasnet-a1", *arguments])
    except SystemExit as stop:  # argparse's way to refuse
        code = int(str(stop.code))
    assert code == 2
    return capsys.readouterr().err


def test_the_defaults_are_the_papers_figure_5(run_json: Callable[..., Any]) -> None:
    document = run_json("scale", "mnasnet-a1")
    places = [(row["width"], row["image_size"]) for row in document["networks"]]
    assert places == [(w, r) for w in (0.35, 0.5, 0.75, 1.0, 1.4) for r in (96, 128, 160, 192, 224)]
    by_place = dict(zip(places, document["networks"], strict=True))
    assert by_place[1.0, 224]["trainable_params"] == 3_887_038


def test_a_range_is_the_list_with_a_step_of_32(run: Callable[..., str]) -> None:
    assert run("scale", "mnasnet-a1", "--resolutions", "96..224") == run("scale", "mnasnet-a1")


def test_the_numbers_are_those_of_arch_describe(run_json: Callable[..., Any]) -> None:
    (row,) = run_json("scale", "mnasnet-b1", "--widths", "0.75", "--resolutions", "160")["networks"]
    described = run_json("arch", "describe", "mnasnet-b1", "--width", "0.75", "--image-size", "160")
    assert row == {key: described[key] for key in row}


def test_without_a_phone_or_a_checkpoint_there_is_no_such_column(run: Callable[..., str]) -> None:
    assert run(*SMALL).splitlines()[0].split() == ["width", "pixels", "parameters", "multiply-adds"]


def test_each_network_is_timed_in_its_row(phone: RecordingPhone, run_json: Callable[..., Any]) -> None:
    rows = run_json(*SMALL, "--phone", "host", "--set", "runs=7")["networks"]
    assert [row["latency_ms"] for row in rows] == [1.0, 2.0, 3.0, 4.0]
    network = lower(reference("mnasnet-small").architecture.scaled(0.5), image_size=64, num_classes=10)
    assert phone.models[1] == model_sha256(build_onnx(network).SerializeToString())
    assert {settings.runs for settings in phone.settings} == {7}


@pytest.mark.usefixtures("phone")
def test_people_see_the_latency_of_a_phone(run: Callable[..., str]) -> None:
    lines = run(*SMALL, "--phone", "host").splitlines()
    assert lines[0].endswith("latency_ms")
    assert lines[1].endswith("1.0000")


@pytest.fixture
def trained_half(tmp_path: Path) -> Path:
    """A checkpoint of mnasnet-small at width 0.5 for 32 pixels and 10 classes."""
    path = tmp_path / "half.safetensors"
    file = find_architecture_file("mnasnet-small")
    half = Checkpoint(
        replace(file, architecture=file.architecture.scaled(0.5)),
        conventional_input(32, 3, 10),
        {},
        accuracy=Accuracy(top1=0.5125, top5=0.75, loss=1.25, images=1000, of_ema=False, on="validation"),
    )
    write_checkpoint(path, replace(half, weights=initial_weights(half.network(), seed=0)))
    return path


def test_a_trained_network_has_its_accuracy_and_the_others_none(trained_half: Path, run: Callable[..., str]) -> None:
    lines = run(*SMALL, "--trained", str(trained_half)).splitlines()
    assert lines[0].split()[-2:] == ["top1_percent", "images"]
    assert lines[1].split()[-3:] == ["51.25", "1,000", "validation"]
    assert [line.split()[-2:] for line in lines[2:]] == [["-", "-"]] * 3


def test_a_report_shows_what_is_timed_and_trained(
    phone: RecordingPhone, trained_half: Path, run: Callable[..., str], searched_run: Path, tmp_path: Path
) -> None:
    path = tmp_path / "small.json"
    path.write_text(run(*SMALL, "--phone", "host", "--trained", str(trained_half), "--json"))
    (shown,) = report_data([Run.open(searched_run)], [path])["references"]
    assert (shown["network"], shown["latency_ms"], shown["accuracy"]) == ("mnasnet-small x0.5", 1.0, 0.5125)
    assert (shown["images"], shown["on"]) == (1000, "validation")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--resolutions", "96..200"), "96..200 is no range with a step of 32; write one such as 96..224, or a list"),
        (("--resolutions", "224..96"), "224..96 is no range with a step of 32"),
        (("--resolutions", "32..32000000"), "32..32000000 has more than 100 sizes; give a shorter range"),
        (("--resolutions", "96,96..128"), "lists 96 twice; give every number once"),
        (("--resolutions", "96,,128"), "invalid resolutions value: '96,,128'"),
        (("--resolutions", "0"), "must be at least 1"),
        (("--widths", "1,1.0"), "lists 1 twice; give every number once"),
        (("--widths", "0.5,-1"), "must be above 0"),
        (("--widths", ",".join(map(str, range(1, 102)))), "lists 101 numbers; give at most 100"),
        (("--widths", "1e308"), "width is 1e+308; 32 filters times it are too many for a number"),
        (("--set", "runs=7"), "--set changes how a phone measures; give --phone, too, or leave --set out"),
        (("--trained", "none.safetensors"), "none.safetensors"),
        (("--phone", "unknown"), "unknown"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refused(capsys, *arguments)


def test_an_unknown_network_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scale", "mnasnet-a2"]) == 2
    assert "did you mean 'mnasnet-" in capsys.readouterr().err
