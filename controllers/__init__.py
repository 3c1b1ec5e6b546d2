"""Search strategies that know only decision sizes and rewards; they need NumPy only.

`create_controller` makes a controller, `STRATEGIES` lists the strategies, and `Controller` documents what every
controller does.
"""

from controllers.controller import Controller, ControllerError, Decisions, StateValue
from controllers.hyperparameters import Hyperparameter
from controllers.state import state_from_bytes, state_to_bytes
from controllers.strategies import STRATEGIES, Strategy, create_controller

__all__ = [
    "STRATEGIES",
    "Controller",
    "ControllerError",
    "Decisions",
    "Hyperparameter",
    "StateValue",
    "Strategy",
    "create_controller",
    "state_from_bytes",
    "state_to_bytes",
]
