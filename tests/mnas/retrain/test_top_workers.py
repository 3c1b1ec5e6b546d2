"""The Ray workers of full trainings: once for real, and what they do when something is in the way."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mnas.checkpoints.checkpoint import read_checkpoint
from mnas.errors import (
    ConfigurationError,
    Error,
    Failure,
    FailureKind,
    OutOfMemoryError,
    TrainingDivergedError,
    TrialError,
)
from mnas.files import locked_directory
from mnas.retrain import top_workers
from mnas.retrain.top_table import TABLE_FILE
from mnas.retrain.top_workers import RETRIES, FreshWorkers, FullJob, FullTrainingWorker, RayTrainer, room
from mnas.search.run import Run
from mnas.training.settings import TrainingSettings
from mnas.workers.attempts import NodeTurns
from search_space import Architecture, ArchitectureFile, parse_block
from tests.mnas.retrain.top_stand_in import RECIPE

NETWORK = ArchitectureFile(Architecture((parse_block("r1_k3_s22_e3_i8_o8"),), stem_filters=8, head_filters=16))


def test_two_networks_are_trained_at_a_time_in_processes_of_their_own(digits_run: Run, tmp_path: Path) -> None:
    training = TrainingSettings(epochs=1, learning_rate=0.01, batch_size=64, norm_momentum=0.9)
    recipe = msgspec.structs.replace(RECIPE, training=training)
    table = digits_run.retrain_top(2, recipe, directory=tmp_path / "top")
    assert [one.failure for one in table.networks] == [None, None]
    for one in table.networks:
        assert one.full is not None
        checkpoint = read_checkpoint(tmp_path / "top" / one.full.checkpoint)
        assert checkpoint.accuracy == one.full.accuracy
        assert checkpoint.architecture.lineage["trial"] == one.trial


@pytest.fixture
def job(tmp_path: Path) -> FullJob:
    """A job in the directory of a table."""
    (tmp_path / TABLE_FILE).touch()
    return FullJob(NETWORK, msgspec.structs.replace(RECIPE, threads=2), tmp_path / "trial-1")


@pytest.fixture
def worker(job: FullJob, monkeypatch: pytest.MonkeyPatch) -> FullTrainingWorker:
    """A worker of this process that loads no MindSpore."""
    monkeypatch.setattr(top_workers, "die_with_parent", lambda: None)
    monkeypatch.setattr(top_workers, "prepare_mindspore", lambda compute: None)
    return FullTrainingWorker(job)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TrainingDivergedError(3, float("nan")), FailureKind.TRAINING_DIVERGED),
        (OutOfMemoryError("no memory"), FailureKind.OUT_OF_MEMORY),
        (MemoryError("no memory"), FailureKind.OUT_OF_MEMORY),
        (OSError(28, "No space left on device"), FailureKind.INTERNAL),
        (Error("a checkpoint is damaged"), FailureKind.INTERNAL),
    ],
)
def test_a_training_that_fails_says_why(
    worker: FullTrainingWorker, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: FailureKind
) -> None:
    def fail(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(top_workers, "retrain", fail)
    outcome = worker.train()
    assert isinstance(outcome, Failure)
    assert outcome.kind is kind


def test_a_directory_that_a_killed_worker_still_holds_is_waited_for(
    worker: FullTrainingWorker, job: FullJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = locked_directory(job.directory, "mnas retrain")
    held.__enter__()
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            held.__exit__(None, None, None)

    monkeypatch.setattr("time.sleep", wait)
    monkeypatch.setattr(top_workers, "retrain", lambda *arguments: "trained")
    trained: object = worker.train()
    assert (trained, len(waits)) == ("trained", 2)


def test_a_node_without_the_directory_says_so(worker: FullTrainingWorker, job: FullJob) -> None:
    (job.directory.parent / TABLE_FILE).unlink()
    outcome = worker.train()
    assert isinstance(outcome, Failure)
    assert "a folder that all nodes of the cluster share" in outcome.message


LOST = TrialError(FailureKind.WORKER_DIED, "the training worker died")
NO_MEMORY = Failure(FailureKind.OUT_OF_MEMORY, "no memory")


def trained_after(job: FullJob, monkeypatch: pytest.MonkeyPatch, outcomes: list[Any], epochs: list[int]) -> Any:
    """Return what comes of a job whose workers end so, with so many epochs in the log before and after each failure."""
    monkeypatch.setattr(top_workers, "finished_epochs", lambda directory: epochs.pop(0))

    def once(self: FreshWorkers, job: FullJob) -> Any:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(FreshWorkers, "prepare", lambda self: "node")
    monkeypatch.setattr(FreshWorkers, "train", once)
    trainer = RayTrainer(job.recipe, 1)
    return trainer.submit(job.network, job.directory).result()


def test_a_network_that_ran_out_of_memory_is_tried_once_more(job: FullJob, monkeypatch: pytest.MonkeyPatch) -> None:
    assert trained_after(job, monkeypatch, [NO_MEMORY, "trained"], [0, 0]) == "trained"
    with pytest.raises(TrialError, match="out_of_memory"):
        trained_after(job, monkeypatch, [NO_MEMORY, NO_MEMORY], [0, 0, 0])


def test_a_second_try_after_out_of_memory_is_alone_on_its_node(job: FullJob, monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[bool] = []

    @contextmanager
    def turn(self: NodeTurns, node: str, *, alone: bool) -> Iterator[None]:
        turns.append(alone)
        yield

    monkeypatch.setattr(NodeTurns, "turn", turn)
    trained_after(job, monkeypatch, [NO_MEMORY, "trained"], [0, 0])
    assert turns == [False, True]


def test_a_training_goes_on_after_its_worker_was_lost(job: FullJob, monkeypatch: pytest.MonkeyPatch) -> None:
    assert trained_after(job, monkeypatch, [LOST] * RETRIES + ["trained"], [0] * (RETRIES + 1)) == "trained"


def test_losses_without_an_epoch_in_between_end_it(job: FullJob, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TrialError, match="worker_died"):
        trained_after(job, monkeypatch, [LOST] * (RETRIES + 1), [0] * (RETRIES + 2))


def test_losses_with_epochs_in_between_do_not_count_together(job: FullJob, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = 3 * RETRIES
    assert trained_after(job, monkeypatch, [*([LOST] * losses), "trained"], list(range(losses + 1))) == "trained"


@pytest.mark.parametrize(
    "outcome",
    [Failure(FailureKind.TRAINING_DIVERGED, "nan"), TrialError(FailureKind.INTERNAL, "training failed unexpectedly")],
    ids=["said", "raised"],
)
def test_a_failure_of_the_network_is_not_tried_again(
    job: FullJob, monkeypatch: pytest.MonkeyPatch, outcome: object
) -> None:
    with pytest.raises(TrialError):
        trained_after(job, monkeypatch, [outcome], [0, 0])


@pytest.mark.parametrize(
    ("device", "cores", "workers", "found", "networks"),
    [("CPU", 1, None, 2.0, 2), ("CPU", 2, None, 5.0, 2), ("CPU", 1, 3, 8.0, 3), ("Ascend", 1, None, 8.0, 8)],
)
def test_as_many_networks_train_at_a_time_as_fit(
    monkeypatch: pytest.MonkeyPatch, device: Any, cores: int, workers: int | None, found: float, networks: int
) -> None:
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU" if device == "CPU" else "NPU": found})
    assert room(device, cores, workers) == networks


@pytest.mark.parametrize(("cores", "workers"), [(1, 3), (4, None)])
def test_more_than_fit_are_refused(monkeypatch: pytest.MonkeyPatch, cores: int, workers: int | None) -> None:
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 2.0})
    with pytest.raises(ConfigurationError, match="CPU of Ray, which has 2"):
        room("CPU", cores, workers)
