"""YAML and JSON documents: read, checked against a type, compared and written. Imports nothing else of mnas."""
