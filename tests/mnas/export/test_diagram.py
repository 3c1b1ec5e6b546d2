import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from mnas.export.diagram import block_label, network_svg
from search_space import Architecture, SearchSpace, lower, parse_block, reference

SVG = "{http://www.w3.org/2000/svg}"


def words(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def draw(architecture: Architecture, image_size: int = 224) -> str:
    return network_svg(architecture, lower(architecture, image_size=image_size), "A network")


@pytest.mark.parametrize(
    ("block", "label"),
    [
        ("r1_k3_s11_e1_i32_o16_noskip", "SepConv 3x3"),
        ("r2_k3_s22_e6_i16_o24", "MBConv6 3x3"),
        ("r3_k5_s22_e3_i24_o40_se0.25", "MBConv3 5x5, SE"),
        ("r1_k5_s11_e1_i24_o40_se0.25_pool_conv", "Conv 5x5, SE, pool"),
    ],
)
def test_blocks_have_the_papers_names(block: str, label: str) -> None:
    assert block_label(parse_block(block)) == label


def test_mnasnet_a1_is_drawn_with_the_shapes_of_the_papers_figure() -> None:
    shapes = [word for word in words(draw(reference("mnasnet-a1").architecture)) if re.fullmatch(r"\d+x\d+x\d+", word)]
    assert shapes == [
        "224x224x3",
        "112x112x32",
        "112x112x16",
        "56x56x24",
        "28x28x40",
        "14x14x80",
        "14x14x112",
        "7x7x160",
        "7x7x320",
    ]


def test_repeated_layers_are_boxed_with_their_number() -> None:
    repeats = [word for word in words(draw(reference("mnasnet-a1").architecture)) if re.fullmatch(r"\dx", word)]
    assert repeats == ["2x", "3x", "4x", "2x", "3x"]


def test_the_parameters_of_the_boxes_add_up() -> None:
    drawn = words(draw(reference("mnasnet-a1").architecture))
    whole, *parts = [int(word.split()[0].replace(",", "")) for word in drawn if " parameters, " in word]
    assert whole == sum(parts) == 3_887_038


def test_each_kind_of_layer_is_drawn_once() -> None:
    titles = [word for word in words(draw(reference("mnasnet-b1").architecture)) if word.endswith("residual")]
    assert titles == [
        "MBConv3 3x3, residual",
        "MBConv3 5x5, residual",
        "MBConv6 5x5, residual",
        "MBConv6 3x3, residual",
    ]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("space_name", SearchSpace.names())
def test_random_networks_of_every_space_stay_inside_the_picture(space_name: str, seed: int) -> None:
    space = SearchSpace.load(space_name)
    architecture = space.decode(space.sample(np.random.default_rng(seed)))
    root = ElementTree.fromstring(draw(architecture, space.image_size))
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for box in root.iter(f"{SVG}rect"):
        corner = (float(box.get("x", 0)), float(box.get("y", 0)))
        far = (corner[0] + float(box.attrib["width"]), corner[1] + float(box.attrib["height"]))
        assert min(corner) >= 0
        assert far[0] <= width
        assert far[1] <= height


def test_a_title_is_text_and_not_markup() -> None:
    architecture = reference("mnasnet-small").architecture
    svg = network_svg(architecture, lower(architecture), "best of <runs> & more")
    assert "best of <runs> & more" in words(svg)
