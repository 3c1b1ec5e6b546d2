"""MNAS: platform-aware neural architecture search on real hardware."""
