from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from latency.host.runner import LoadedModel
from latency.measurement.output_check import difference
from latency.measurement.reference_network import reference_model
from latency.runtime import RuntimeBundle

Answer = dict[str, Any]
Ask = Callable[..., Answer]
Start = Callable[..., Answer]
CORE = max(os.sched_getaffinity(0))
COMMON_FIELDS = {
    *("schema", "ok", "engine", "engine_version", "threads", "core", "affinity", "moved", "governor", "load_lib_ms"),
    *("reference_checksum", "max_rss_kb", "others_busy"),
    *("frequency_khz_max",),
    *("frequency_khz_before", "frequency_khz_after", "temperature_c_before", "temperature_c_after"),
}
MODEL_FIELDS = {
    *("load_ms", "first_run_ms", "warmup_runs", "warmup_ms", "output_checksum", "involuntary_switches"),
    *("output_sums",),
    *("reference_before_ms", "reference_after_ms", "wall_ms", "cpu_ms"),
}


def model_of(nodes: list[Any], inputs: list[Any], outputs: list[Any], weights: tuple[Any, ...] = ()) -> bytes:
    graph = helper.make_graph(nodes, "graph", inputs, outputs, list(weights))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(model.SerializeToString())


def cast_model() -> bytes:
    """One float input, and an output of every numeric type."""
    types = [
        *(TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BOOL),
        *(TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64),
        *(TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64),
    ]
    nodes = [helper.make_node("Abs", ["images"], ["positive"])]
    nodes.append(helper.make_node("Mul", ["positive", "hundred"], ["scaled"]))
    nodes += [helper.make_node("Cast", ["scaled"], [f"as{kind}"], to=kind) for kind in types]
    return model_of(
        nodes,
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [3, 37])],
        [helper.make_tensor_value_info(f"as{kind}", kind, [3, 37]) for kind in types],
        (numpy_helper.from_array(np.array(100.0, np.float32), "hundred"),),
    )


def string_output_model() -> bytes:
    return model_of(
        [
            helper.make_node("Cast", ["x"], ["text"], to=TensorProto.STRING),
            helper.make_node("Neg", ["x"], ["negated"]),
        ],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [8])],
        [
            helper.make_tensor_value_info("text", TensorProto.STRING, [8]),
            helper.make_tensor_value_info("negated", TensorProto.FLOAT, [8]),
        ],
    )


def two_input_model() -> bytes:
    """Weighs its inputs differently, so that exchanging them shows."""
    return model_of(
        [helper.make_node("Mul", ["first", "first"], ["square"]), helper.make_node("Sub", ["square", "second"], ["y"])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", 50]) for name in ("first", "second")],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 50])],
    )


def scalar_input_model() -> bytes:
    return model_of(
        [helper.make_node("Neg", ["x"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [])],
    )


def infinite_output_model() -> bytes:
    return model_of(
        [helper.make_node("Sub", ["x", "x"], ["zero"]), helper.make_node("Reciprocal", ["zero"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])],
    )


def test_the_answer_has_the_fields_of_the_schema(ask: Ask, tiny_model: bytes) -> None:
    answer = ask(tiny_model)
    assert set(answer) == COMMON_FIELDS | MODEL_FIELDS


def test_every_run_is_reported_raw(ask: Ask, tiny_model: bytes) -> None:
    answer = ask(tiny_model, "--runs", "17")
    assert len(answer["wall_ms"]) == len(answer["cpu_ms"]) == 17
    assert min(answer["wall_ms"] + answer["cpu_ms"]) > 0


def test_after_its_budget_a_window_ends_with_the_least_number_of_runs(ask: Ask, tiny_model: bytes) -> None:
    answer = ask(tiny_model, "--runs", "1000", "--min-runs", "7", "--budget-ms", "0")
    assert len(answer["wall_ms"]) == 7


def test_warm_up_goes_on_until_both_minima_are_reached(ask: Ask, tiny_model: bytes) -> None:
    by_count = ask(tiny_model, "--warmup-runs", "23", "--warmup-min-ms", "0")
    by_time = ask(tiny_model, "--warmup-runs", "0", "--warmup-min-ms", "20")
    assert by_count["warmup_runs"] == 23
    assert by_time["warmup_ms"] >= 20


@pytest.mark.parametrize("fixture", ["tiny_model", "dynamic_batch_model", "slow_model"])
def test_convolutions_give_the_hosts_checksum(ask: Ask, fixture: str, request: pytest.FixtureRequest) -> None:
    model: bytes = request.getfixturevalue(fixture)
    _, expected = LoadedModel(model).first_run()
    assert ask(model)["output_checksum"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("make", [cast_model, string_output_model, two_input_model, scalar_input_model])
def test_any_inputs_and_outputs_give_the_hosts_checksum_and_sums(ask: Ask, make: Callable[[], bytes]) -> None:
    model = LoadedModel(make())
    _, expected = model.first_run()
    answer = ask(make())
    assert answer["output_checksum"] == pytest.approx(expected, rel=1e-5)
    assert (difference(answer["output_sums"], model.output_sums) or 0.0) < 1e-6
    assert len(answer["output_sums"]) == len(model.output_sums) > 0


def test_elements_that_are_not_finite_are_counted_as_on_the_host(ask: Ask) -> None:
    model = LoadedModel(infinite_output_model())
    model.first_run()
    assert ask(infinite_output_model())["output_sums"] == list(model.output_sums)
    assert model.output_sums[-1] > 0


def test_the_reference_network_gives_the_hosts_checksum(ask: Ask, tiny_model: bytes) -> None:
    _, expected = LoadedModel(reference_model()).first_run()
    assert ask(tiny_model)["reference_checksum"] == pytest.approx(expected, rel=1e-5)


def test_a_checksum_that_is_not_finite_is_null(ask: Ask) -> None:
    assert ask(infinite_output_model())["output_checksum"] is None


def test_the_engine_and_its_version_are_reported(ask: Ask, bundle: RuntimeBundle, tiny_model: bytes) -> None:
    answer = ask(tiny_model)
    assert (answer["engine"], answer["engine_version"]) == (bundle.engine, bundle.engine_version)


@pytest.mark.parametrize("core", sorted(os.sched_getaffinity(0))[:2])
def test_it_runs_on_the_named_core_only(ask: Ask, tiny_model: bytes, core: int) -> None:
    answer = ask(tiny_model, "--cpu", str(core))
    assert (answer["core"], answer["affinity"], answer["moved"]) == (core, [core], False)


def test_calibration_times_the_reference_again_and_again(ask: Ask) -> None:
    answer = ask(None, "--calibrate-s", "0.2")
    assert set(answer) == COMMON_FIELDS | {"reference_ms"}
    assert len(answer["reference_ms"]) == len(answer["others_busy"]) > 1


def test_calibration_times_the_reference_once_at_least(ask: Ask) -> None:
    assert len(ask(None, "--calibrate-s", "0")["reference_ms"]) == 1


def test_runs_leave_no_memory_behind(ask: Ask, tiny_model: bytes) -> None:
    few = ask(tiny_model, "--warmup-runs", "10")
    many = ask(tiny_model, "--warmup-runs", "50000")
    # The smallest leak, one value header per run, would be some 5000 kB.
    assert many["max_rss_kb"] - few["max_rss_kb"] < 2000


def test_an_input_that_is_not_float_is_the_inputs_stage_with_the_hosts_words(
    ask: Ask, integer_input_model: bytes
) -> None:
    answer = ask(integer_input_model)
    assert answer["stage"] == "inputs"
    assert answer["error"] == "input 'tokens' is tensor(int64); only tensor(float) can be timed"


def test_an_open_dimension_that_is_no_batch_is_the_inputs_stage(ask: Ask) -> None:
    model = model_of(
        [helper.make_node("Neg", ["x"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, "height"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3, "height"])],
    )
    answer = ask(model)
    assert (answer["stage"], answer["error"]) == ("inputs", "input 'x': its dimension 2 is not fixed; give its shape")


def test_other_work_is_read_from_the_cores_if_the_load_is_hidden(
    calibrate_with_files: Callable[[str], Answer],
) -> None:
    # procs_running counts the runner too.
    stat = "cpu0 100 0 0 900 0 0 0 0\\ncpu1 100 0 0 900 0 0 0 0\\nctxt 5\\nprocs_running 3\\n"
    script = f'cd "$(mktemp -d)"; printf "{stat}" > stat; mount --bind stat /proc/stat; cd "$OLDPWD"'
    answer = calibrate_with_files(f"{script}; mount --bind /dev/null /proc/loadavg")
    assert answer["others_busy"] == [pytest.approx(2 / 2)]


def test_a_graph_that_the_engine_rejects_is_the_load_stage(ask: Ask) -> None:
    assert ask(b"no model at all")["stage"] == "load"


def test_a_first_inference_that_fails_is_the_run_stage(ask: Ask, failing_run_model: bytes) -> None:
    answer = ask(failing_run_model)
    assert answer["stage"] == "run"
    assert "Reshape" in answer["error"]


def test_a_broken_reference_is_not_the_models_fault(ask: Ask, tiny_model: bytes, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model at all")
    assert ask(tiny_model, "--reference", str(broken))["stage"] == "reference"


def test_a_missing_file_is_the_io_stage_and_named(ask: Ask) -> None:
    answer = ask(None, "nowhere.onnx")
    assert answer["stage"] == "io"
    assert "nowhere.onnx" in answer["error"]


def test_an_error_text_with_any_characters_is_valid_json(ask: Ask) -> None:
    assert 'a"b\\c\nd\x01' in ask(None, 'a"b\\c\nd\x01.onnx')["error"]


def test_a_core_that_is_not_there_is_the_affinity_stage(ask: Ask, tiny_model: bytes) -> None:
    assert ask(tiny_model, "--cpu", "1023")["stage"] == "affinity"


@pytest.mark.parametrize(("library", "stage"), [("./nowhere.so", "dlopen"), ("./libm.so.6", "api")])
def test_a_library_that_is_not_the_engine(ask: Ask, tiny_model: bytes, library: str, stage: str) -> None:
    assert ask(tiny_model, "--lib", library)["stage"] == stage


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--runs", "0"], "--runs is 0; it must be an integer from 1 to 1e+06"),
        (["--runs", "1.5"], "--runs is 1.5"),
        (["--runs", ""], "--runs is "),
        (["--budget-ms", "nan"], "--budget-ms is nan; it must be a number from 0"),
        (["--budget-ms", "5s"], "--budget-ms is 5s"),
        (["--cpu", "1024"], "--cpu is 1024"),
        (["--threads", "2"], "--threads is 2"),
        (["--fast", "1"], "unknown option --fast"),
        (["one.onnx", "two.onnx"], "two.onnx: there is a model already, one.onnx"),
        (["one.onnx", "--runs"], "--runs needs a value"),
        (["one.onnx", "--calibrate-s", "1"], "give either a model or --calibrate-s"),
        ([], "give either a model or --calibrate-s"),
    ],
)
def test_arguments_are_checked(ask: Ask, arguments: list[str], error: str) -> None:
    answer = ask(None, *arguments)
    assert answer["stage"] == "args"
    assert error in answer["error"]


@pytest.fixture
def calibrate_with_files(start: Start, bundle: RuntimeBundle, reference_path: Path) -> Callable[[str], Answer]:
    """Calibrate in a mount namespace, after a shell script that puts other files in place of the kernel's."""
    if not shutil.which("unshare") or subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("needs a mount namespace, which this machine does not let its users make (unshare -rm)")

    def calibrate(script: str) -> Answer:
        arguments = ["--cpu", str(CORE), "--reference", str(reference_path), "--calibrate-s", "0"]
        namespace = ["unshare", "-rm", "sh", "-ec", f'{script}\nexec "$@"', "sh"]
        return start(bundle.folder, [*namespace, *bundle.command(arguments)])

    return calibrate


def test_an_unreadable_load_is_null(calibrate_with_files: Callable[[str], Answer]) -> None:
    assert calibrate_with_files("mount --bind /dev/null /proc/loadavg; mount --bind /dev/null /proc/stat")[
        "others_busy"
    ] == [None]


def test_the_load_of_other_threads_is_a_share_of_the_cores(calibrate_with_files: Callable[[str], Answer]) -> None:
    script = 'cd "$(mktemp -d)"; echo 0.20 0.18 0.12 7/80 11206 > load; mount --bind load /proc/loadavg; cd "$OLDPWD"'
    assert calibrate_with_files(script)["others_busy"] == [pytest.approx(6 / (os.cpu_count() or 1))]


def test_the_clock_and_its_governor_are_read(calibrate_with_files: Callable[[str], Answer]) -> None:
    folder = f"/sys/devices/system/cpu/cpu{CORE}"
    answer = calibrate_with_files(
        f"mount -t tmpfs none {folder}; mkdir {folder}/cpufreq; "
        f"echo schedutil > {folder}/cpufreq/scaling_governor; echo 1804800 > {folder}/cpufreq/scaling_cur_freq"
    )
    assert answer["governor"] == "schedutil"
    assert answer["frequency_khz_before"] == answer["frequency_khz_after"] == 1804800


@pytest.mark.parametrize(
    ("zones", "hottest"),
    [
        ({"cpu-0-0-usr": "41200", "cpu-1-3-usr": "47800", "battery": "61000"}, 47.8),
        ({"BIG": "55000", "LITTLE": "39000"}, 55.0),
        ({"mtktscpu": "44"}, 44.0),
        ({"cpu-0-0-usr": "-274000", "cpu-1-0-usr": "0", "soc_thermal": "36500"}, 36.5),
        ({"battery": "31000"}, None),
        ({}, None),
    ],
)
def test_the_temperature_is_the_processors_hottest_plausible_one(
    calibrate_with_files: Callable[[str], Answer], zones: dict[str, str], hottest: float | None
) -> None:
    folder = "/sys/class/thermal"
    script = f"mount -t tmpfs none {folder}\n" + "\n".join(
        f"mkdir {folder}/thermal_zone{number}; cd {folder}/thermal_zone{number}; echo {kind} > type; "
        f'echo {temperature} > temp; cd "$OLDPWD"'
        for number, (kind, temperature) in enumerate(zones.items())
    )
    assert calibrate_with_files(script)["temperature_c_before"] == hottest
