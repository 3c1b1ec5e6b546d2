"""What a notebook shows of an architecture and of a search space."""

from xml.etree import ElementTree

from search_space import Architecture, SearchSpace, parse_block


def cells(table: str) -> list[list[str]]:
    return [["".join(cell.itertext()) for cell in row] for row in ElementTree.fromstring(table).iter("tr")]


def test_an_architecture_is_a_row_per_block() -> None:
    blocks = ("r1_k3_s11_e1_i32_o16_noskip", "r3_k5_s22_e6_i16_o24_se0.25")
    assert cells(Architecture(tuple(map(parse_block, blocks)))._repr_html_()) == [
        ["block", "operation", "kernel", "stride", "expansion", "SE ratio", "filters", "layers", "skip"],
        ["0", "mbconv", "3", "1", "1", "none", "16", "1", "none"],
        ["1", "mbconv", "5", "2", "6", "0.25", "24", "3", "identity"],
    ]


def test_an_architectures_caption_has_what_is_around_the_blocks() -> None:
    architecture = Architecture((parse_block("r1_k3_s11_e1_i8_o16"),), stem_filters=8, head_filters=64)
    caption = ElementTree.fromstring(architecture._repr_html_()).findtext("caption")
    assert caption == "stem: 8 filters, stride 2; head: 64 filters; activation: relu"


def test_a_space_is_a_row_per_block_with_its_choices() -> None:
    header, first, *others = cells(SearchSpace.load("mnasnet")._repr_html_())
    assert header == ["block", "op", "expand", "kernel", "se_ratio", "skip", "filters", "layers", "stride"]
    assert first == [
        "0",
        "conv, dconv, mbconv3, mbconv6",
        "",
        "3, 5",
        "0.0, 0.25",
        "pool, identity, none",
        "12, 16, 20",
        "1, 2",
        "1",
    ]
    assert len(others) == 6


def test_a_spaces_caption_says_how_large_it_is() -> None:
    caption = ElementTree.fromstring(SearchSpace.load("mnasnet")._repr_html_()).findtext("caption")
    assert caption == "mnasnet: 42 decisions, 1.25e+18 combinations"


def test_a_huge_space_is_shown() -> None:
    space = SearchSpace.load("mnasnet")
    huge = SearchSpace(
        name="huge", image_size=32, stem_filters=8, stem_stride=1, head_filters=8, blocks=space.blocks * 30
    )
    assert "1260 decisions" in huge._repr_html_()


def test_foreign_text_is_escaped() -> None:
    space = SearchSpace.load("tiny16")
    foreign = SearchSpace(
        name="<script>alert('&')</script>",
        image_size=16,
        stem_filters=8,
        stem_stride=1,
        head_filters=8,
        blocks=space.blocks,
    )
    table = foreign._repr_html_()
    assert "<script" not in table
    assert "&lt;script&gt;alert(&#x27;&amp;&#x27;)&lt;/script&gt;" in table
