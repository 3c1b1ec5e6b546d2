"""Search strategies that know only decision sizes and rewards; they need NumPy only.

`create` makes a controller by name; `Controller` documents what every controller can do.
"""

from controllers.controller import Controller, ControllerError, Decisions, State
from controllers.create import Strategy, create, strategies
from controllers.hyperparameters import Hyperparameter
from controllers.state import state_from_bytes, state_to_bytes

__all__ = [
    "Controller",
    "ControllerError",
    "Decisions",
    "Hyperparameter",
    "State",
    "Strategy",
    "create",
    "state_from_bytes",
    "state_to_bytes",
    "strategies",
]
