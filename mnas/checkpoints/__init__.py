"""Checkpoints of mnas, MindSpore and MindCV, and what images the network in one takes."""
