from pathlib import Path

import pytest

from mnas.documents.errors import DocumentError
from search_space import (
    ArchitectureFile,
    SpaceError,
    find_architecture,
    format_block,
    reference,
    reference_names,
    write_architecture,
)


def test_reference_networks() -> None:
    assert reference_names() == ("mnasnet-a1", "mnasnet-b1", "mnasnet-small", "mobilenet-v2")


@pytest.mark.parametrize(
    ("name", "width", "top1_percent", "pixel1_latency_ms"),
    [
        ("mnasnet-a1", 0.35, 64.1, 22),
        ("mnasnet-a1", 0.5, 68.9, 32),
        ("mnasnet-a1", 0.75, 73.3, 61),
        ("mnasnet-a1", 1.0, 75.2, 78),
        ("mnasnet-a1", 1.4, 77.2, 135),
        ("mnasnet-b1", 0.75, 71.77, None),
        ("mnasnet-b1", 1.0, 74.5, 77),
        ("mobilenet-v2", 1.0, 72.0, 75),
    ],
)
def test_published_numbers(name: str, width: float, top1_percent: float, pixel1_latency_ms: float | None) -> None:
    published = {row.width: row for row in reference(name).published}[width]
    assert (published.top1_percent, published.pixel1_latency_ms) == (top1_percent, pixel1_latency_ms)


@pytest.mark.parametrize("name", reference_names())
def test_published_numbers_are_in_order_of_width(name: str) -> None:
    widths = [row.width for row in reference(name).published]
    assert widths == sorted(set(widths))


def test_mnasnet_a1_is_the_published_network() -> None:
    blocks = reference("mnasnet-a1").architecture.blocks
    assert ", ".join(map(format_block, blocks)) == (
        "r1_k3_s11_e1_i32_o16_noskip, r2_k3_s22_e6_i16_o24, r3_k5_s22_e3_i24_o40_se0.25, r4_k3_s22_e6_i40_o80, "
        "r2_k3_s11_e6_i80_o112_se0.25, r3_k5_s22_e6_i112_o160_se0.25, r1_k3_s11_e6_i160_o320"
    )


def test_an_architecture_is_found_by_name_or_path(tmp_path: Path) -> None:
    architecture = reference("mnasnet-b1").architecture
    path = tmp_path / "b1.yaml"
    write_architecture(path, ArchitectureFile(architecture))
    assert find_architecture("mnasnet-b1") == find_architecture(path) == find_architecture(str(path)) == architecture


def test_an_unknown_network_is_answered_with_the_nearest() -> None:
    with pytest.raises(
        SpaceError, match=r"no reference network is called 'MnasNet_B1' \(did you mean 'mnasnet-b1'\?\)"
    ):
        find_architecture("MnasNet_B1")


def test_a_missing_architecture_file_is_named() -> None:
    with pytest.raises(DocumentError, match=r"nowhere\.yaml: no such file"):
        find_architecture("nowhere.yaml")
