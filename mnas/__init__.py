"""MNAS: platform-aware neural architecture search on real hardware.

This package ties search space, controllers and latency measurement together. Importing it stays light: MindSpore and
Ray load only in the modules that need them.
"""

__version__ = "0.2.0.dev0"
