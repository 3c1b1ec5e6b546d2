"""YAML and JSON documents: read, checked against a type, compared and written.

This package imports nothing else of mnas, and its `errors`, `names`, `own_parts` and `html_table` nothing beyond the
standard library.
"""
