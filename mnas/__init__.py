"""Platform-aware neural architecture search on real hardware.

    import mnas

    experiment = mnas.Experiment.load("quickstart").changed({"search.trials": 12})
    run = experiment.run("runs/first")
    print(run.best().accuracy, run.architecture(run.best()))
    run.export("export/found")

Importing it is light: MindSpore, Ray and NumPy load when a name that needs them is used first.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mnas.hidden_packages import check_packages

if TYPE_CHECKING:
    from controllers import create_controller
    from latency import LatencyRecord
    from mnas.errors import Error
    from mnas.experiment import Experiment
    from mnas.full_training import train, validate
    from mnas.phone import Phone
    from mnas.search.run import Run
    from mnas.search.store import Trial
    from search_space import Architecture, SearchSpace

__version__ = "0.2.0.dev0"

__all__ = [
    "Architecture",
    "Error",
    "Experiment",
    "LatencyRecord",
    "Phone",
    "Run",
    "SearchSpace",
    "Trial",
    "create_controller",
    "train",
    "validate",
]

# Where each name is defined; the imports above say the same to type checkers and editors.
_MODULES = {
    "Architecture": "search_space",
    "Error": "mnas.errors",
    "Experiment": "mnas.experiment",
    "LatencyRecord": "latency",
    "Phone": "mnas.phone",
    "Run": "mnas.search.run",
    "SearchSpace": "search_space",
    "Trial": "mnas.search.store",
    "create_controller": "controllers",
    "train": "mnas.full_training",
    "validate": "mnas.full_training",
}

check_packages()


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'mnas' has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value  # the next time it is found without this function
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
