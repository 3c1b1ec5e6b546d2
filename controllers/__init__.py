"""Search strategies that know nothing but decision sizes and rewards.

`create` makes a controller by name; `Controller` documents what every controller can do.
"""

from controllers.controller import Architecture, Controller, ControllerError, State
from controllers.create import Strategy, create, strategies
from controllers.hyperparameters import Hyperparameter
from controllers.state import state_from_bytes, state_to_bytes

__all__ = [
    "Architecture",
    "Controller",
    "ControllerError",
    "Hyperparameter",
    "State",
    "Strategy",
    "create",
    "state_from_bytes",
    "state_to_bytes",
    "strategies",
]
