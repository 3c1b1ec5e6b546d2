"""The curves of a search for MLflow and Weights & Biases (W&B), each an optional package.

A tracker works in a thread of its own. One that fails is left out of the rest of the search: a line says so. The tests
with the real packages need no server, and none was reached; without the packages they are skipped.
"""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

import msgspec

from mnas.documents.changes import flat
from mnas.documents.foreign_text import one_line
from mnas.errors import ConfigurationError, Error
from mnas.experiment import Experiment
from mnas.search.driver import Progress
from mnas.search.run import Run
from mnas.search.scalars import Curves, Point
from mnas.search.store import Trial

_LOG = logging.getLogger(__name__)
# How long the end of a search waits for a tracker that has not yet sent everything.
CLOSING_S = 10.0
# What one request of MLflow may hold, and what one of its parameters may.
_MLFLOW_PARAMETERS = 100
_MLFLOW_CHARACTERS = 500

Log = Callable[[Point], None]


@contextmanager
def _mlflow_run(name: str, settings: Mapping[str, object]) -> Iterator[Log]:
    import mlflow

    parameters = [(key, str(value)[:_MLFLOW_CHARACTERS]) for key, value in settings.items()]
    with mlflow.start_run(run_name=name):
        for first in range(0, len(parameters), _MLFLOW_PARAMETERS):
            mlflow.log_params(dict(parameters[first : first + _MLFLOW_PARAMETERS]))
        yield lambda point: mlflow.log_metrics(point.values, step=point.step, timestamp=round(1000 * point.at_s))


@contextmanager
def _wandb_run(name: str, settings: Mapping[str, object]) -> Iterator[Log]:
    import wandb

    project = os.environ.get("WANDB_PROJECT", "mnas")
    # "off": W&B does not take over standard output, which is for the answer of the command.
    quiet = wandb.Settings(console="off")
    with wandb.init(project=project, name=name, config=dict(settings), settings=quiet) as run:
        yield lambda point: run.log(point.values, step=point.step)


TRACKERS: Mapping[str, Callable[[str, Mapping[str, object]], AbstractContextManager[Log]]] = {
    "mlflow": _mlflow_run,
    "wandb": _wandb_run,
}


class TrackingObserver:
    """Hands the numbers of each trial that ends to a tracker, in a thread that is started when the search begins."""

    def __init__(self, name: str, opened: Callable[[], AbstractContextManager[Log]], earlier: Iterable[Trial]) -> None:
        """Keep the trials that have ended before; the tracker gets them first.

        Args:
            name: The tracker's name, for messages.
            opened: Opens the tracker, in the thread; what it gives takes a point.
            earlier: Trials of earlier sessions.
        """
        self._name = name
        self._opened = opened
        self._curves = Curves()
        self._points: SimpleQueue[Point | None] = SimpleQueue()
        for point in self._curves.earlier(earlier):
            self._points.put(point)
        # A daemon: one that hangs does not keep the process.
        self._thread = Thread(target=self._work, name=f"tracker {name}", daemon=True)

    def trial_finished(self, trial: Trial) -> None:
        """Queue the numbers of a trial."""
        self._start()
        if self._thread.is_alive():
            self._points.put(self._curves.point(trial))

    def progress(self, progress: Progress) -> None:
        """See `SearchObserver`."""
        self._start()

    def close(self) -> None:
        """Wait until the tracker has everything, at most `CLOSING_S`."""
        if self._thread.ident is None:
            return
        self._points.put(None)
        self._thread.join(CLOSING_S)
        if self._thread.is_alive():
            _LOG.warning("mnas: %s has not taken everything within %g s", self._name, CLOSING_S)

    def _start(self) -> None:
        if self._thread.ident is None:
            self._thread.start()

    def _work(self) -> None:
        try:
            with self._opened() as log:
                while (point := self._points.get()) is not None:
                    log(point)
        except (Exception, SystemExit) as error:
            _LOG.warning("mnas: %s: %s; the search goes on without it", self._name, one_line(error))


@contextmanager
def tracking_observers(
    names: Sequence[str], experiment: Experiment, directory: Path
) -> Iterator[list[TrackingObserver]]:
    """Prepare trackers for a search in a run directory; they end with the context.

    Args:
        names: Keys of `TRACKERS`.
        experiment: What is searched; its settings become the tracker's parameters.
        directory: The run directory. Trials that it already holds are handed to the trackers again.

    Raises:
        ConfigurationError: The package of a tracker is not installed, or cannot be imported.
    """
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ConfigurationError(f"--track {name}: {error}; pip install 'mnas[{name}]'") from error
    earlier: Sequence[Trial] = ()
    with suppress(Error):  # a new run; the search itself says what is wrong with an old one
        earlier = Run.open(directory).trials if names else ()
    settings = flat(msgspec.to_builtins(experiment))
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                closing(TrackingObserver(name, partial(TRACKERS[name], directory.resolve().name, settings), earlier))
            )
            for name in dict.fromkeys(names)
        ]
