"""Experiments and recipes to copy and edit, examples, and the scripts behind published numbers in `benchmarks/`.

It is importable in a checkout; a wheel holds its YAML files as `mnas/bundled`.
"""
