"""What a report tells of every trial, read from the store without the rest.

The records of a trial hold every timed run, some kilobytes; the page shows these of one trial at a time. So only the
fields of `_Training` and `_Latency` are read from the stored text, and of 10,000 trials some tens of MB stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from mnas.documents.check import convert
from mnas.documents.json_text import parse_json
from mnas.search.rows import LATENCY_COLUMN, TRAINING_COLUMN, trial_with_halves
from mnas.search.store import Trial, TrialStore

_NUMBER = re.compile(r"\d[\d.,]*%?")
_KIND_LENGTH = 80


# Structs of msgspec, not data classes: they are made several times as fast, and a run has tens of thousands of them.
class _Window(msgspec.Struct, gc=False):
    wall_ms: list[float]
    reference_before_ms: float | None = None
    reference_after_ms: float | None = None
    reference_best_ms: float | None = None
    temperature_c_after: float | None = None
    frequency_khz_after: float | None = None

    def drift(self) -> float | None:
        before, after, best = self.reference_before_ms, self.reference_after_ms, self.reference_best_ms
        return None if before is None or after is None or not best else max(before, after) / best - 1


class _Loaded(msgspec.Struct, gc=False):
    load_ms: float | None = None
    first_run_ms: float | None = None
    warmup_ms: float | None = None


class _Session(msgspec.Struct, gc=False):
    window: _Window
    loaded: _Loaded | None = None


class _Rejected(msgspec.Struct, gc=False):
    reason: str
    window: _Window


class _Conditions(msgspec.Struct, gc=False):
    battery_temperature_c: float | None = None
    battery_percent: float | None = None


class _Summary(msgspec.Struct, gc=False):
    mad_ms: float | None = None


class PhoneFacts(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Which phone has measured; what a record does not tell is None."""

    name: str = "phone"
    serial: str = ""
    kind: str | None = None
    fingerprint: str | None = None
    engine: str | None = None
    engine_version: str | None = None


class _Latency(msgspec.Struct, gc=False):
    latency_ms: float | UnsetType | None = UNSET
    phone: PhoneFacts | None = None
    sessions: list[_Session] = []
    rejected_windows: list[_Rejected] = []
    measured_at: Any = None
    conditions: _Conditions | None = None
    summary: _Summary | None = None
    others: dict[str, _Latency] = {}


class _Training(msgspec.Struct, gc=False):
    accuracy: float | UnsetType | None = UNSET
    phases: Any = None
    started_at: Any = None
    epoch_losses: list[Any] = []
    rungs: Any = UNSET


class Measurement(msgspec.Struct, frozen=True, gc=False):
    """One measurement on one phone; what is not known is None.

    Attributes:
        phone: The phone.
        at: When it ended, as it is stored; nobody has checked that it is a time.
        took_s: What loading, warm-up and runs took, those of rejected windows too; pauses are not recorded.
        windows: Number of windows, accepted and rejected.
        rejected: Why windows were rejected, without the numbers.
        drift: By how much the reference network was slower than at its best; 0.05 is 5%.
        relative_mad: MAD of the runs as a share of the latency.
        temperature_c: The highest temperature.
        frequency_khz: The clock of the core.
        battery_c: Temperature of the battery.
        battery_percent: Charge of the battery.
    """

    phone: PhoneFacts
    at: str | None
    took_s: float
    windows: int
    rejected: tuple[str, ...]
    drift: float | None
    relative_mad: float | None
    temperature_c: float | None
    frequency_khz: float | None
    battery_c: float | None
    battery_percent: float | None


class TrialFacts(msgspec.Struct, frozen=True, gc=False):
    """One trial, without its records.

    Attributes:
        trial: The trial. Of its records only `rungs` and the latencies of other phones are left.
        phases: Wall time (s) of each phase of the child; empty if it was not trained.
        started_at: When the child was started, as it is stored; None if that is not recorded.
        epochs: For how many epochs a loss is recorded; None if for none.
        measurements: Its measurements, that on the named phone first.
    """

    trial: Trial
    phases: Mapping[str, float]
    started_at: object
    epochs: int | None
    measurements: tuple[Measurement, ...]


def read_facts(store: TrialStore, known: Iterable[TrialFacts] = ()) -> list[TrialFacts]:
    """Return the facts of all trials, by number.

    Args:
        store: The store of the run.
        known: Facts read before. Of these, trials that have ended and not changed since are not read again.

    Raises:
        StoreError: The store cannot be read.
    """
    ended = {_stand(one.trial): one for one in known if one.trial.state != "proposed"}
    stands = store.stands()
    read = store.read_trials([stand[0] for stand in stands if stand not in ended], _facts_of_row)
    return [ended.get(stand) or next(read) for stand in stands]


def facts_of(trial: Trial) -> TrialFacts:
    """Return the facts of a trial that was read with its records.

    Raises:
        DocumentError: A record is none that mnas wrote.
    """
    source = f"trial {trial.id}"
    training = None if trial.training is None else convert(trial.training, _Training, source=source)
    latency = None if trial.latency is None else convert(trial.latency, _Latency, source=source)
    return _facts(trial, training, latency)


def reason_kind(reason: str) -> str:
    """Return the reason of a rejected window without its numbers.

    >>> reason_kind("contention 1.052 is above 1.03 (wall/CPU time)")
    'contention … is above … (wall/CPU time)'
    """
    return _NUMBER.sub("…", reason)[:_KIND_LENGTH]


def _stand(trial: Trial) -> tuple[int, str, str | None]:
    return trial.id, trial.state, trial.finished_at


def _facts_of_row(row: tuple[Any, ...], source: str) -> TrialFacts:
    training = _record(row[TRAINING_COLUMN], _read_training, _Training, source)
    latency = _record(row[LATENCY_COLUMN], _read_latency, _Latency, source)
    # As `mnas.search.rows` reads them: a half whose number was not finite when it was stored counts as not recorded.
    training = None if training is None or training.accuracy is None else training
    latency = None if latency is None or latency.latency_ms is None else latency
    left = None if training is None else {} if training.rungs is UNSET else {"rungs": training.rungs}
    others = None if latency is None else {name: {"latency_ms": one.latency_ms} for name, one in latency.others.items()}
    trial = trial_with_halves(row, left, None if others is None else {"others": others}, source)
    return _facts(trial, training, latency)


_R = TypeVar("_R", _Training, _Latency)
_read_training = msgspec.json.Decoder(_Training)
_read_latency = msgspec.json.Decoder(_Latency)


def _record(text: str | None, decoder: msgspec.json.Decoder[_R], type_: type[_R], source: str) -> _R | None:
    if text is None:
        return None
    try:
        return decoder.decode(text)
    except (msgspec.DecodeError, ValueError, TypeError, RecursionError):
        # The other way reads what mnas up to 0.2 has stored, or says what does not fit.
        return convert(parse_json(text, source=source, without_infinite=True), type_, source=source)


def _facts(trial: Trial, training: _Training | None, latency: _Latency | None) -> TrialFacts:
    records = [] if latency is None else [latency, *latency.others.values()]
    return TrialFacts(
        trial,
        phases={} if training is None else _seconds(training.phases),
        started_at=None if training is None else training.started_at,
        epochs=None if training is None else len(training.epoch_losses) or None,
        measurements=tuple(map(_measurement, records)),
    )


def _seconds(phases: object) -> dict[str, float]:
    """Return the wall time of each phase of a training, as far as its record tells them."""
    return {
        str(name): float(phase["wall_s"])
        for name, phase in (phases.items() if isinstance(phases, Mapping) else ())
        if isinstance(phase, Mapping) and isinstance(phase.get("wall_s"), int | float)
    }


def _measurement(record: _Latency) -> Measurement:
    windows = [session.window for session in record.sessions]
    mad_ms = None if record.summary is None else record.summary.mad_ms
    conditions = record.conditions or _Conditions()
    return Measurement(
        phone=record.phone or PhoneFacts(),
        at=record.measured_at if isinstance(record.measured_at, str) else None,
        took_s=_took_ms(record) / 1000,
        windows=len(windows) + len(record.rejected_windows),
        rejected=tuple(reason_kind(one.reason) for one in record.rejected_windows),
        drift=_largest([window.drift() for window in windows]),
        relative_mad=mad_ms / record.latency_ms if mad_ms is not None and record.latency_ms else None,
        temperature_c=_largest([window.temperature_c_after for window in windows]),
        frequency_khz=_largest([window.frequency_khz_after for window in windows]),
        battery_c=conditions.battery_temperature_c,
        battery_percent=conditions.battery_percent,
    )


def _took_ms(record: _Latency) -> float:
    windows = [*(one.window for one in record.sessions), *(one.window for one in record.rejected_windows)]
    total = sum(sum(window.wall_ms) for window in windows)
    loaded = [session.loaded for session in record.sessions if session.loaded is not None]
    return total + sum((one.load_ms or 0.0) + (one.first_run_ms or 0.0) + (one.warmup_ms or 0.0) for one in loaded)


def _largest(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
