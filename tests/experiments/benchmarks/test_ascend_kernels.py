import pytest

from experiments.benchmarks.ascend_kernels import CensusError, Kernels, read_log

# Lines of MindSpore 2.10.0, shortened.
PLACE = "[INFO] DEVICE(1,7f,python):2026-11-25-03:21:17 [mindspore/ccsrc/plugin/ascend/x.cc:1]"
LOG = [
    f"{PLACE} CollectOpSelectedType] Conv2D select aclop kernel",
    f"{PLACE} GenerateKernelBuildInfo] Default/network-_Classifier/0-_Group/Conv2D-op0 input_num: 2",
    f"{PLACE} IsEnableAclnn] Kernel Default/concatenate-Concatenate/Reshape-op52 is view op and not support aclnn",
    f"{PLACE} GenerateKernelBuildInfo] Default/concatenate-Concatenate/Reshape-op52 input_num: 2",
    f"{PLACE} CollectOpSelectedType] ReLU select aclnn kernel",
    f"{PLACE} GenerateKernelBuildInfo] Default/network-_Classifier/0-_Group/ReLU-op0 input_num: 1",
    f"{PLACE} GenerateKernelBuildInfo] Default/network-_Classifier/1-_Group/ReLU-op1 input_num: 1",
    f"{PLACE} PrintOpSelectedNum] Number of INTERNAL_KERNEL, OPAPI_KERNEL, ACL_KERNEL, ATB_KERNEL, HCCL_KERNEL:",
]


def test_kernels_are_counted_by_primitive_and_path() -> None:
    assert read_log([*LOG, f"{PLACE} PrintOpSelectedNum] 0 2 1 0 0 \n"]) == [
        Kernels("ReLU", "aclnn", 2),
        Kernels("Conv2D", "aclop", 1),
        Kernels("Reshape", "view", 1),
    ]


def test_what_falls_back_to_the_cpu_is_counted() -> None:
    back = f"{PLACE} TryBackoffCpu] Try to use backoff CPU kernel, node:Default/BesselJ0-op0"
    assert read_log([back, *LOG, f"{PLACE} PrintOpSelectedNum] 0 2 1 0 0"])[-1] == Kernels("BesselJ0", "cpu", 1)


def test_counts_that_differ_from_mindspores_totals_are_refused() -> None:
    with pytest.raises(CensusError, match="names 2 aclnn kernels and gives 3 as their total"):
        read_log([*LOG, f"{PLACE} PrintOpSelectedNum] 0 3 1 0 0"])


def test_a_kernel_without_a_path_is_refused() -> None:
    with pytest.raises(CensusError, match="does not say by which path it takes Conv2D"):
        read_log([*LOG[1:], f"{PLACE} PrintOpSelectedNum] 0 2 1 0 0"])


def test_a_log_without_totals_is_refused_with_the_last_error() -> None:
    with pytest.raises(CensusError, match="ended before it had selected the kernels; RuntimeError: no kernel"):
        read_log([*LOG, "RuntimeError: no kernel\n"])
