"""The factorized hierarchical search space of MnasNet, its architectures, and their layers and costs."""

from search_space.architecture import Architecture, Block, scale_filters
from search_space.architecture_file import (
    ArchitectureFile,
    ArchitectureFileFields,
    architecture_file_to_dict,
    architecture_from_dict,
    architecture_to_dict,
    read_architecture,
    write_architecture,
)
from search_space.block_string import format_block, parse_block
from search_space.counting import Cost, ParameterSpec, cost, layer_parameters, multiply_adds, parameters
from search_space.errors import SpaceError
from search_space.lowering import LoweredNetwork, fingerprint, lower
from search_space.references import (
    Published,
    Reference,
    find_architecture,
    find_architecture_file,
    reference,
    reference_names,
)
from search_space.space import Decision, SearchSpace

__all__ = [
    "Architecture",
    "ArchitectureFile",
    "ArchitectureFileFields",
    "Block",
    "Cost",
    "Decision",
    "LoweredNetwork",
    "ParameterSpec",
    "Published",
    "Reference",
    "SearchSpace",
    "SpaceError",
    "architecture_file_to_dict",
    "architecture_from_dict",
    "architecture_to_dict",
    "cost",
    "find_architecture",
    "find_architecture_file",
    "fingerprint",
    "format_block",
    "layer_parameters",
    "lower",
    "multiply_adds",
    "parameters",
    "parse_block",
    "read_architecture",
    "reference",
    "reference_names",
    "scale_filters",
    "write_architecture",
]
