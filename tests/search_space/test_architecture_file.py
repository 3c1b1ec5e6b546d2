import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnas.documents.errors import DocumentError
from search_space import (
    Architecture,
    ArchitectureFile,
    SearchSpace,
    architecture_from_dict,
    architecture_to_dict,
    parse_block,
    read_architecture,
    reference,
    reference_names,
    write_architecture,
)

SPACES = [SearchSpace.load(name) for name in SearchSpace.names()]
SMALL = Architecture((parse_block("r1_k3_s11_e1_i32_o16"),))

NUMBERS = st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=40)
@given(
    st.sampled_from(SPACES),
    st.integers(0, 2**32),
    st.dictionaries(
        st.text(),
        st.integers(-(2**63) + 1, 2**63 - 1)
        | st.text()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.lists(st.text()),
    ),
)
def test_indices_to_architecture_to_file_and_back(
    tmp_path_factory: pytest.TempPathFactory, space: SearchSpace, seed: int, lineage: dict[str, object]
) -> None:
    indices = space.sample(np.random.default_rng(seed))
    file = ArchitectureFile(space.decode(indices), name="1e5", space=space.name, indices=indices, lineage=lineage)
    path = tmp_path_factory.mktemp("files") / "architecture.yaml"
    write_architecture(path, file)
    read_back = read_architecture(path)
    assert read_back == file
    assert read_back.indices is not None
    assert space.decode(read_back.indices) == read_back.architecture


@pytest.mark.parametrize("name", reference_names())
def test_a_network_goes_through_json_unchanged(name: str) -> None:
    architecture = reference(name).architecture
    assert architecture_from_dict(json.loads(json.dumps(architecture_to_dict(architecture)))) == architecture


def test_file_is_readable(tmp_path: Path) -> None:
    path = tmp_path / "architecture.yaml"
    write_architecture(path, ArchitectureFile(SMALL, name="small", indices=(0, 2, 1), lineage={"trial": 7}))
    assert path.read_text() == (
        "name: small\nstem_filters: 32\nstem_stride: 2\nhead_filters: 1280\nactivation: relu\n"
        "blocks:\n- r1_k3_s11_e1_i32_o16\nindices: [0, 2, 1]\nlineage:\n  trial: 7\n"
    )


def test_blocks_alone_make_an_architecture(tmp_path: Path) -> None:
    path = tmp_path / "architecture.yaml"
    path.write_text("blocks: [r1_k3_s11_e1_i32_o16]")
    assert read_architecture(path) == ArchitectureFile(SMALL)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stem_filters: 8", "key 'blocks' is missing; it takes a list"),
        ("blocks: []", "'blocks' is a list of 0"),
        ("blocks: [r1_k3]", "blocks[0]: block string 'r1_k3': field 's' is missing"),
        (
            "blocks: [r1_k3_s11_e1_i32_o16, r1_k3_s11_e1_i32_o16]",
            "blocks[0] has 16 output filters but blocks[1] has 32",
        ),
        ("blocks: [r1_k3_s11_e1_i32_o16]\nhead: 5", "unknown key 'head'; allowed keys: "),
        ("blocks: [r1_k3_s11_e1_i32_o16]\nactivation: swish", "'activation' is 'swish'; allowed: 'relu', 'relu6'"),
        ("blocks: [r1_k3_s11_e1_i32_o16]\nindices: [-1]", "'indices[0]' is -1; allowed: an integer >= 0"),
        ("blocks: [r1_k3_s11_e1_i32_o16]\nlineage: 5", "'lineage' is 5; allowed: a mapping from text to any value"),
    ],
)
def test_a_file_that_is_no_architecture_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "architecture.yaml"
    path.write_text(text)
    with pytest.raises(DocumentError) as caught:
        read_architecture(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def test_a_lineage_that_is_no_plain_data_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "architecture.yaml"
    with pytest.raises(DocumentError, match="cannot be written as YAML"):
        write_architecture(path, ArchitectureFile(SMALL, lineage={"x": object()}))
    assert not path.exists()


def test_the_source_of_a_dict_is_named() -> None:
    with pytest.raises(DocumentError, match="trial 7: 'stem_stride' is 3; allowed: 1, 2"):
        architecture_from_dict({"blocks": ["r1_k3_s11_e1_i32_o16"], "stem_stride": 3}, source="trial 7")
