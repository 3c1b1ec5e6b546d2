"""The types of NumPy arrays that strategies compute with."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
DecisionArray: TypeAlias = NDArray[np.int64]
"""Proposals as rows, shape (proposals, decisions)."""
