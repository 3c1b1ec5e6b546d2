import os
import subprocess
import sys

import pytest

from mnas.errors import DocumentError, OutOfMemoryError, TrainingError
from mnas.kernels.library import machine_has_kernels
from mnas.mindspore_setup import Compute, Precision, mindspore_errors, prepare_mindspore


def run_python(program: str) -> subprocess.CompletedProcess[str]:
    ours = Compute(threads=1).environment()
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    command = [sys.executable, "-W", "always", "-c", program]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)


def test_it_prepares_graph_mode_threads_and_environment_without_a_warning() -> None:
    program = (
        "import os; from mnas.mindspore_setup import Compute, prepare_mindspore\n"
        "prepare_mindspore(Compute(threads=1)); prepare_mindspore(Compute(threads=1))\n"
        "import mindspore as ms; print(ms.get_context('mode') == ms.GRAPH_MODE, ms.get_context('device_target'),"
        " os.environ['ONEDNN_MAX_CPU_ISA'], os.environ['OMP_NUM_THREADS'])"
    )
    finished = run_python(program)
    assert finished.stdout.split() == ["True", "CPU", "AVX2", "1"]
    assert "imported before" not in finished.stderr


def test_it_warns_where_mindspore_came_first() -> None:
    finished = run_python("import mindspore; from mnas.mindspore_setup import prepare_mindspore; prepare_mindspore()")
    assert "RuntimeWarning: MindSpore was imported before mnas could set GLOG_v, ONEDNN_MAX_CPU_ISA" in finished.stderr


def test_importing_mnas_does_not_import_mindspore() -> None:
    modules = "mnas.workers.child, mnas.evaluation.accuracy, mnas.network.onnx_graph"
    assert run_python(f"import sys, {modules}; print('mindspore' in sys.modules)").stdout.strip() == "False"


def test_variables_that_the_user_set_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_mindspore()
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
    prepare_mindspore()
    assert os.environ["ONEDNN_MAX_CPU_ISA"] == "SSE41"


def test_a_worker_has_one_thread_on_a_cpu_and_the_default_on_an_npu() -> None:
    assert Compute.of_worker("CPU") == Compute("CPU", threads=1)
    assert Compute.of_worker("Ascend") == Compute("Ascend", threads=None)


def test_float32_trainings_in_one_thread_of_a_cpu_use_the_kernels_where_the_machine_has_them() -> None:
    assert Compute("CPU", threads=1).uses_kernels("O0") == machine_has_kernels()


@pytest.mark.parametrize(
    ("compute", "precision"),
    [
        (Compute("CPU", threads=None), "O0"),
        (Compute("CPU", threads=2), "O0"),
        (Compute("Ascend", threads=1), "O0"),
        (Compute("CPU", threads=1), "O1"),
        (Compute("CPU", threads=1, kernels=False), "O0"),
    ],
)
def test_other_trainings_do_not_use_the_kernels(compute: Compute, precision: Precision) -> None:
    assert not compute.uses_kernels(precision)


@pytest.mark.parametrize(
    ("cause", "error"),
    [
        (RuntimeError("Allocate memory failed\nmore"), OutOfMemoryError),
        (RuntimeError("Out of memory!!! Request memory size: 9 GB"), OutOfMemoryError),
        (RuntimeError("Device(id:0) memory isn't enough and alloc failed, kernel name: Conv2D"), OutOfMemoryError),
        (RuntimeError("Malloc device memory failed, size[9], ret[207001], Device 0"), OutOfMemoryError),
        (RuntimeError("Run failed\n\nEL0004: [PID: 7] Failed to allocate memory."), OutOfMemoryError),
        (RuntimeError("Sync stream failed, ret[507011]"), TrainingError),
        (TypeError("For primitive[Conv2D], the input must be Float32"), TrainingError),
        (ValueError("For 'Reshape', the shapes differ"), TrainingError),
        (MemoryError(), OutOfMemoryError),
        (RuntimeError("Launch kernel failed"), TrainingError),
    ],
)
def test_errors_of_mindspore_get_their_kind_and_keep_their_cause(cause: Exception, error: type[TrainingError]) -> None:
    with pytest.raises(TrainingError) as caught, mindspore_errors():
        raise cause
    assert type(caught.value) is error
    assert caught.value.__cause__ is cause
    assert "\n" not in str(caught.value)


ASCEND_ERROR = """\
Call aclnnConvolution failed, detail:EZ9999: Inner Error!

----------------------------------------------------
- Ascend Error Message:
----------------------------------------------------
EI0006: [PID: 411] Getting socket times out. Reason: 1. The remote does not initiate a connect request.
        Solution: check the network.
        TraceBack (most recent call last):

- C++ Call Stack: (For framework developers)
----------------------------------------------------
mindspore/ccsrc/plugin/ascend/hal.cc:210 Run
"""


def test_the_reason_that_ascend_gives_below_the_first_line_is_kept() -> None:
    with pytest.raises(TrainingError) as caught, mindspore_errors():
        raise RuntimeError(ASCEND_ERROR)
    assert str(caught.value) == (
        "MindSpore failed: Call aclnnConvolution failed, detail:EZ9999: Inner Error!; EI0006: [PID: 411] Getting "
        "socket times out. Reason: 1. The remote does not initiate a connect request."
    )


def test_our_own_errors_pass_as_they_are() -> None:
    with pytest.raises(DocumentError, match=r"^a key is wrong$"), mindspore_errors():
        raise DocumentError("a key is wrong")
