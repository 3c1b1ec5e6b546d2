"""MNAS: platform-aware neural architecture search on real hardware."""

__version__ = "0.1.0"
