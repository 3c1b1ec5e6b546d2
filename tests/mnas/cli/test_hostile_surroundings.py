"""Whatever surrounds a command, it ends with a line and an exit code, never with a traceback."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from mnas.cli import main
from mnas.cli.errors import explained
from mnas.cli.output import LateFile
from mnas.files import RunDirectoryError
from search_space import read_architecture

NOT_UTF_8 = os.fsdecode(b"caf\xe9 \xff")


def code_of(*arguments: object) -> int:
    """Run the command line and return its exit code."""
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as stop:  # argparse's way to refuse, and to print a help text
        return int(str(stop.code or 0))


class FullDisk(io.StringIO):
    """A file on a full disk."""

    def write(self, _: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


class FullAtTheEnd(io.StringIO):
    """A file on a full disk, of which the buffer learns late."""

    def flush(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


class NoReader(io.StringIO):
    """A pipe whose reader has gone."""

    def write(self, _: str) -> int:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


ANSWERS = [
    ("--help",),
    ("--version",),
    ("show", "--help"),
    ("show", "RUN"),
    ("show", "RUN", "--json"),
    ("best", "RUN"),
    ("best", "RUN", "--yaml"),
    ("best", "RUN", "--json"),
    ("arch", "describe", "mnasnet-a1"),
    ("arch", "describe", "mnasnet-a1", "--json"),
    ("space", "list"),
    ("space", "describe", "tiny16"),
    ("schema",),
    ("completion", "bash"),
    ("phones", "list"),
    ("clean",),
    ("init", "--to", "NEW"),
]


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (lambda: None, "standard output is closed"),
        (FullDisk, "standard output: No space left on device"),
        (FullAtTheEnd, "standard output: No space left on device"),
        (NoReader, ""),
    ],
    ids=["closed", "full", "full at the end", "no reader"],
)
@pytest.mark.parametrize("words", ANSWERS, ids=" ".join)
def test_an_answer_that_cannot_be_printed(
    words: tuple[str, ...],
    output: Callable[[], io.StringIO | None],
    said: str,
    searched_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if words[-1] in ("--help", "--version") and output is NoReader:
        pytest.skip("argparse prints these, and drops what nobody reads")
    places = {"RUN": searched_run, "NEW": tmp_path / "new.yaml"}
    monkeypatch.setattr(sys, "stdout", output())
    code = code_of(*(places.get(word, word) for word in words))
    message = capsys.readouterr().err
    assert (code, said in message, message.count("\n")) == (1, True, 1 if said else 0)


@pytest.mark.parametrize("redirection", [">&-", "> /dev/full", "| head -0", ">&- 2>&-", "2> /dev/full > /dev/full"])
def test_a_real_shell(redirection: str, searched_run: Path) -> None:
    command = f"{sys.executable} -m mnas show {searched_run} {redirection}"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, "Traceback" in done.stderr, done.stderr.count("\n") <= 1) == (1, False, True)


def test_a_closed_standard_output_is_no_file_of_the_run(tmp_path: Path) -> None:
    number = "open(sys.argv[1], 'w').fileno()"
    code = f"import sys; from mnas.cli.errors import explained; sys.exit(explained(lambda: {number}))"
    command = f'{sys.executable} -c "{code}" {tmp_path}/file >&- <&-'
    assert subprocess.run(["bash", "-c", command], check=False).returncode > 2


def test_messages_that_cannot_be_printed_stop_nothing(
    searched_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stderr", FullDisk())

    def run() -> int:
        print("progress", file=sys.stderr)
        print("answer")
        return 0

    assert (explained(run), capsys.readouterr().out) == (0, "answer\n")


def test_a_locale_without_the_characters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(content, encoding="ascii"))

    def run() -> int:
        print("café")
        return 0

    assert (explained(run), content.getvalue()) == (0, b"caf\\xe9\n")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "a/b"), "a/b: No space left on device; free some space"),
        (PermissionError(errno.EACCES, "Permission denied", b"a"), "a: Permission denied; make it writable"),
        (OSError(errno.EXDEV, "Invalid link", "a", None, "b"), "a -> b: Invalid link; check the path"),
        (OSError("something"), "something; check the path"),
    ],
)
def test_an_error_of_the_system_is_a_line(error: OSError, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    def run() -> int:
        raise error

    assert (explained(run), capsys.readouterr().err.startswith(f"mnas: {said}")) == (1, True)


@pytest.mark.parametrize(
    "words",
    [
        ("show", "run"),
        ("best", "run"),
        ("search", "quickstart"),
        ("search", "search.yaml"),
        ("init",),
        ("init", "--data", "photos"),
        ("export", "mnasnet-a1", "--out", "out"),
        ("retrain", "mnasnet-a1", "--recipe", "cifar10"),
        ("validate", "model", "--data", "digits"),
        ("phones", "measure", "model.onnx"),
    ],
    ids=" ".join,
)
def test_a_working_directory_that_is_gone(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    code = code_of(*words)
    os.chdir(tmp_path)
    assert (code, capsys.readouterr()) == (
        2,
        ("", "mnas: the working directory has been deleted; change to another one\n"),
    )


@pytest.fixture
def odd_run(searched_run: Path, tmp_path: Path) -> Path:
    """The run in a folder whose name is no UTF-8."""
    return shutil.copytree(searched_run, tmp_path / NOT_UTF_8)


def test_a_run_whose_name_is_no_utf_8_is_shown(odd_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (("show", odd_run), ("show", odd_run, "--json"), ("best", odd_run), ("best", odd_run, "--json")):
        assert code_of(*words) == 0
    capsys.readouterr()
    main(["show", str(odd_run), "--json"])
    assert json.loads(capsys.readouterr().out)["run"] == str(odd_run)


def test_a_run_whose_name_is_no_utf_8_is_written_as_yaml(
    odd_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert code_of("best", odd_run, "--yaml") == 0
    (tmp_path / "found.yaml").write_text(capsys.readouterr().out, encoding="utf-8")
    assert read_architecture(tmp_path / "found.yaml").lineage["run"].endswith("caf\\udce9 \\udcff")


@pytest.mark.parametrize(
    "words",
    [
        (NOT_UTF_8,),
        ("show", NOT_UTF_8),
        ("best", NOT_UTF_8),
        ("show", "run", f"--{NOT_UTF_8}"),
        ("search", NOT_UTF_8),
        ("search", f"{NOT_UTF_8}.yaml"),
        ("search", "quickstart", "--set", f"search.trials={NOT_UTF_8}"),
        ("search", "quickstart", "--set", f"{NOT_UTF_8}=3"),
        ("search", "quickstart", "--set", f"data.directory={NOT_UTF_8}"),
        ("init", NOT_UTF_8),
        ("init", "--data", NOT_UTF_8),
        ("export", NOT_UTF_8, "--out", "none/out"),
        ("export", f"{NOT_UTF_8}/run", "--out", "none/out"),
        ("export", "mnasnet-a1", "--checkpoint", NOT_UTF_8, "--out", "none/out"),
        ("retrain", NOT_UTF_8, "--recipe", "cifar10"),
        ("retrain", "mnasnet-a1", "--recipe", NOT_UTF_8),
        ("validate", NOT_UTF_8, "--data", "digits"),
        ("space", "describe", NOT_UTF_8),
        ("space", "latency", NOT_UTF_8),
        ("arch", "describe", NOT_UTF_8),
        ("phones", "measure", NOT_UTF_8),
        ("phones", "check", NOT_UTF_8),
        ("phones", "remove", NOT_UTF_8),
        ("phones", "measure", "none.onnx", "--set", f"{NOT_UTF_8}=3"),
    ],
    ids=[f"words{number}" for number in range(24)],
)
def test_an_argument_that_is_no_utf_8(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    code = code_of(*words)
    captured = capsys.readouterr()
    assert (code in (1, 2), captured.out) == (True, "")
    assert captured.err.encode("utf-8")


def test_an_experiment_whose_name_is_no_utf_8_is_written(tmp_path: Path) -> None:
    path = tmp_path / f"{NOT_UTF_8}.yaml"
    assert code_of("init", "--to", path) == 0
    assert yaml.safe_load(path.read_text(encoding="utf-8"))["space"] == "tiny16"


@pytest.mark.parametrize("place", [f"photos/train/{NOT_UTF_8}", f"{NOT_UTF_8}/train/bee"])
def test_images_whose_place_is_no_utf_8_are_refused(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(place).mkdir(parents=True)
    assert code_of("init", "--data", place.partition("/")[0], "--to", "new.yaml") == 2
    assert ("UTF-8" in capsys.readouterr().err, Path("new.yaml").exists()) == (True, False)


def test_a_failed_write_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = Path.open

    def opened(path: Path, mode: str = "r", *rest: Any, **more: Any) -> Any:
        file = before(path, mode, *rest, **more)
        return FullAtTheEnd() if mode == "x" else file

    monkeypatch.setattr(Path, "open", opened)
    assert code_of("init", "--to", tmp_path / "new.yaml") == 2
    assert ("No space left" in capsys.readouterr().err, os.listdir(tmp_path)) == (True, [])


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, searched_run: Path) -> Path:
    """A home folder with a run, a space and an architecture."""
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copytree(searched_run, tmp_path / "run")
    (tmp_path / "space.yaml").write_text((files("search_space") / "spaces" / "tiny16.yaml").read_text())
    (tmp_path / "network.yaml").write_text("blocks: [r1_k3_s11_e1_i8_o8]\nstem_filters: 8\n")
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        ("show", "~/run"),
        ("best", "~/run"),
        ("arch", "describe", "~/network.yaml"),
        ("space", "describe", "~/space.yaml"),
        ("init", "--to", "~/new.yaml"),
    ],
    ids=" ".join,
)
def test_the_home_folder_is_filled_in(words: tuple[str, ...], home: Path) -> None:
    assert code_of(*words) == 0
    assert not Path("~").exists()


def test_the_home_folder_is_filled_in_yaml(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for key, value, said in (
        ("space", "~/none.yaml", f"{home}/none.yaml: no such file"),
        (
            "data",
            {"format": "cifar10_binary", "directory": "~/none", "reward_images": 2},
            f"{home}/none: no such folder",
        ),
    ):
        document = {
            "space": "~/space.yaml",
            "data": {"format": "digits", "image_size": 16, "reward_images": 100},
            "training": {"epochs": 1, "learning_rate": 0.01},
            "search": {"trials": 2},
            "latency": {"target_ms": 1.0},
            key: value,
        }
        (home / "search.yaml").write_text(yaml.safe_dump(document))
        assert code_of("search", "~/search.yaml", "--run-dir", "~/new") == 2
        assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ("show", ""),
        ("best", ""),
        ("search", ""),
        ("search", "quickstart", "--run-dir", ""),
        ("init", "--data", ""),
        ("init", "--to", ""),
        ("export", "", "--out", "none/out"),
        ("export", "mnasnet-a1", "--out", ""),
        ("validate", "", "--data", "digits"),
        ("arch", "describe", ""),
        ("phones", "measure", ""),
    ],
    ids=[f"words{number}" for number in range(11)],
)
def test_an_empty_path_is_not_the_working_directory(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert (code_of(*words), "is empty; give a name or a path" in capsys.readouterr().err) == (2, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("validate", "export/final", "--data", "digits", "--image-size", "32"), "--image-size"),
        (("validate", "last.safetensors", "--data", "digits", "--image-size", "32"), "--image-size"),
        (("validate", "w.ckpt", "--data", "digits", "--tolerance", "0.5"), "--tolerance"),
        (("validate", "w.ckpt", "--data", "digits", "--width", "1"), "--width"),
        (("validate", "w.ckpt", "--data", "digits", "--engine", "onnx", "--device", "Ascend"), "--device"),
        (("clean", "--yes"), "--yes"),
        (("phones", "measure", "none.onnx", "--runs", "3", "--set", "runs=5"), "--runs and --set runs=5"),
        (("phones", "measure", "none.onnx", "--sessions", "3", "--set", "sessions=2"), "--sessions and --set"),
        (("arch", "describe", "mnasnet-a1", "--width", "nan"), "--width"),
        (("arch", "describe", "mnasnet-a1", "--channels", "0"), "--channels"),
        (("arch", "describe", "mnasnet-a1", "--classes", "0"), "--classes"),
        (("export", "mnasnet-a1", "--out", "none/out", "--channels", "0"), "--channels"),
        (("export", "mnasnet-a1", "--out", "none/out", "--width", "0"), "--width"),
        (("space", "latency", "tiny16", "--seed", "-1"), "--seed"),
        (("phones", "measure", "none.onnx", "--runs", "0"), "--runs"),
        (("phones", "measure", "none.onnx", "--set", "runs=0"), "mnas: --set runs is 0"),
        (("space", "latency", "tiny16", "--set", "cooldown_s=nan"), "mnas: --set cooldown_s is nan"),
        (("search", "quickstart", "--set", "search.trials=0"), "mnas: --set 'search.trials'"),
        (("search", "quickstart", "--set", "latency.phone=pixel"), "mnas: --set latency.phone"),
        (("search", "quickstart", "--set", "latency.measurement.runs=0"), "mnas: --set latency.measurement"),
        (("search", "quickstart", "--set", "space=none"), "mnas: --set space"),
        (("search", "quickstart", "--set", "controller.name=none"), "mnas: --set controller"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_does_not_apply_is_refused_by_its_option(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = code_of(*words)
    captured = capsys.readouterr()
    assert (code, captured.out, said in captured.err) == (2, "", True)


def test_an_error_of_the_file_names_no_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "search.yaml").write_text("space: none\n")
    assert code_of("search", tmp_path / "search.yaml", "--set", "search.trials=3") == 2
    assert "--set" not in capsys.readouterr().err


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_a_log_that_is_no_file_is_refused(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "ray.log")
    with pytest.raises(RunDirectoryError, match=r"ray\.log"):
        LateFile(tmp_path / "ray.log")


def test_a_log_on_a_full_disk_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = LateFile(tmp_path / "ray.log")
    monkeypatch.setattr("mnas.cli.output.open_for_append", lambda _: FullDisk())
    assert log.write("text") == 4
