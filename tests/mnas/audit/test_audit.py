"""Audits from end to end with real searches and stores; workers and phones are arranged."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from controllers import ControllerError
from mnas.audit.audit import Audit, SilentAuditObserver
from mnas.audit.findings import AuditError, Findings, Proxy
from mnas.errors import FailureKind
from mnas.experiment import Experiment
from mnas.files import RunDirectoryError
from mnas.search.forecast import COMMAND_S
from mnas.search.run import Run
from mnas.search.store import Trial
from tests.mnas.audit.arranged import COMPILE_S, EXPERIMENT, TRAIN_S, Arranged

NETWORKS, SEEDS, CHEAPER = 6, 2, 6


def audited(directory: Path, experiment: Experiment = EXPERIMENT) -> Audit:
    return experiment.audit(directory, networks=NETWORKS, seeds=SEEDS)


def proxy(found: Findings, change: str) -> Proxy:
    return next(proxy for proxy in found.proxies if proxy.change == change)


def networks_of(run: Path) -> list[str]:
    return [trial.fingerprint for trial in Run.open(run).trials]


def test_every_network_is_trained_with_every_seed_and_once_in_every_cheaper_way(
    arranged: Arranged, tmp_path: Path
) -> None:
    audited(tmp_path / "audit")
    assert len(arranged.trained) == len(set(arranged.trained)) == NETWORKS * (SEEDS + CHEAPER)
    assert len({key for _, key in arranged.trained}) == NETWORKS


def test_full_trainings_alone_are_timed(arranged: Arranged, tmp_path: Path) -> None:
    audited(tmp_path / "audit")
    assert len(arranged.timed) == NETWORKS * SEEDS
    assert {place for place, _ in arranged.timed} == {"full-1", "full-2"}
    full, smaller = (Run.open(tmp_path / "audit" / name) for name in ("full-1", "image_size-8"))
    assert [trial.latency_ms for trial in full.trials] == [trial.latency_ms for trial in smaller.trials]


def test_rank_correlations_say_what_ranks_alike(arranged: Arranged, tmp_path: Path) -> None:
    found = audited(tmp_path / "audit").findings
    assert found.full_training.tau == 1
    assert proxy(found, "after 2 of 4 epochs").order.tau == 1
    assert proxy(found, "data.image_size: 8").order.tau == 1
    assert proxy(found, "data.train_images: 334").order.tau == -1


def test_costs_are_those_of_a_search_without_learning_curves(arranged: Arranged, tmp_path: Path) -> None:
    found = audited(tmp_path / "audit").findings
    assert proxy(found, "training.epochs: 2").cost == pytest.approx((COMPILE_S + TRAIN_S / 2) / (COMPILE_S + TRAIN_S))
    assert proxy(found, "after 2 of 4 epochs").cost == proxy(found, "training.epochs: 2").cost
    assert found.forecast.child_s == pytest.approx(COMPILE_S + TRAIN_S)
    assert found.forecast.device_hours == pytest.approx(20 * (COMPILE_S + TRAIN_S) / 3600)
    assert found.children_per_hour == pytest.approx(20 / found.forecast.hours)


def test_the_hours_of_the_search_include_the_start_and_the_end_of_its_command(
    arranged: Arranged, tmp_path: Path
) -> None:
    forecast = audited(tmp_path / "audit").findings.forecast
    assert forecast.overhead_s == COMMAND_S + (Run.open(tmp_path / "audit" / "full-1").overhead_s or 0)
    trained_s = 20 / 2 * (COMPILE_S + TRAIN_S)
    assert 3600 * forecast.hours == pytest.approx(forecast.overhead_s + trained_s, rel=0.05)


def test_noise_and_curves_are_measured(arranged: Arranged, tmp_path: Path) -> None:
    found = audited(tmp_path / "audit").findings
    assert found.latency.noise == pytest.approx(0.01 / 2**0.5, rel=0.02)  # 1% between the two searches
    assert found.accuracy.noise < 0.001 < found.accuracy.between
    assert found.curve[-1] == pytest.approx(sum(network.accuracy for network in found.networks) / NETWORKS)
    assert len(found.curve) == 4


def test_a_larger_exponent_prefers_faster_networks(arranged: Arranged, tmp_path: Path) -> None:
    effects = audited(tmp_path / "audit").findings.reward_effects
    assert [effect.alpha for effect in effects if effect.own] == [-0.07]
    by_accuracy = next(effect for effect in effects if effect.alpha == effect.beta == 0)
    assert (by_accuracy.tau_accuracy, by_accuracy.best) == (1, NETWORKS)
    soft = [effect.tau_speed for effect in effects if effect.alpha == effect.beta]
    assert soft == sorted(soft)


def test_the_advice_names_a_cheaper_training_that_is_as_good(arranged: Arranged, tmp_path: Path) -> None:
    audit = audited(tmp_path / "audit")
    best = audit.findings.best_proxy
    assert best is not None
    assert best.order.tau == 1
    assert best.cost == min(proxy.cost for proxy in audit.findings.proxies if proxy.order.tau == 1)
    assert any(f"`{best.change}`" in sentence for sentence in audit.advice)


def test_accuracies_at_chance_are_said_and_nothing_else(arranged: Arranged, tmp_path: Path) -> None:
    arranged.accuracy = lambda architecture, experiment, seed: 0.1 + (seed % 3) / 100
    (sentence,) = audited(tmp_path / "audit").advice
    assert sentence.startswith("Every accuracy is at chance")


class Impatient(SilentAuditObserver):
    """Ends an audit after some trials, as Ctrl-C does."""

    def __init__(self, trials: int) -> None:
        self._left = trials

    def trial_finished(self, trial: Trial) -> None:
        self._left -= 1
        if self._left == 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("trials", [1, NETWORKS, 2 * NETWORKS + 3])
def test_an_audit_that_was_stopped_goes_on(arranged: Arranged, tmp_path: Path, trials: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        EXPERIMENT.audit(tmp_path / "audit", networks=NETWORKS, seeds=SEEDS, observer=Impatient(trials))
    resumed = audited(tmp_path / "audit").findings
    # Nothing that had ended is trained again: at most the two that were in training.
    assert len(arranged.trained) <= NETWORKS * (SEEDS + CHEAPER) + 2
    whole = audited(tmp_path / "whole").findings
    assert replace(resumed, forecast=whole.forecast) == whole


def test_a_finished_audit_trains_nothing(arranged: Arranged, tmp_path: Path) -> None:
    audited(tmp_path / "audit")
    arranged.trained.clear()
    audited(tmp_path / "audit")
    assert arranged.trained == []


def test_a_network_that_fails_is_left_out_and_said(arranged: Arranged, tmp_path: Path) -> None:
    audited(tmp_path / "before")
    arranged.failing[networks_of(tmp_path / "before" / "full-1")[2]] = FailureKind.TRAINING_DIVERGED
    found = audited(tmp_path / "audit").findings
    assert [network.number for network in found.networks] == [1, 2, 4, 5, 6]
    assert found.failed == {3: "2 x training_diverged: as arranged"}


def test_too_many_failures_are_an_error(arranged: Arranged, tmp_path: Path) -> None:
    audited(tmp_path / "before")
    for key in networks_of(tmp_path / "before" / "full-1")[:2]:
        arranged.failing[key] = FailureKind.OUT_OF_MEMORY
    with pytest.raises(AuditError, match=r"2 of 6 networks failed, the first with 2 x out_of_memory: as arranged"):
        audited(tmp_path / "audit")


def test_another_number_of_networks_needs_another_directory(arranged: Arranged, tmp_path: Path) -> None:
    audited(tmp_path / "audit")
    with pytest.raises(ControllerError, match="started with other networks; give the same --networks"):
        EXPERIMENT.audit(tmp_path / "audit", networks=NETWORKS + 1, seeds=SEEDS)


def test_more_seeds_go_on_with_an_audit(arranged: Arranged, tmp_path: Path) -> None:
    audited(tmp_path / "audit")
    arranged.trained.clear()
    EXPERIMENT.audit(tmp_path / "audit", networks=NETWORKS, seeds=SEEDS + 1)
    assert {place for place, _ in arranged.trained} == {"full-3"}


def test_another_experiment_is_refused(arranged: Arranged, tmp_path: Path) -> None:
    audited(tmp_path / "audit")
    with pytest.raises(RunDirectoryError, match=r"training\.learning_rate"):
        audited(tmp_path / "audit", EXPERIMENT.changed({"training.learning_rate": 0.02}))


def test_a_directory_of_something_else_is_refused(arranged: Arranged, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(RunDirectoryError, match="not empty and no audit"):
        audited(tmp_path)


def test_the_result_is_plain_data(arranged: Arranged, tmp_path: Path) -> None:
    document = json.loads(json.dumps(audited(tmp_path / "audit").to_dict(), allow_nan=False))
    assert len(document["networks"]) == NETWORKS
    assert document["forecast"]["trials"] == 20
