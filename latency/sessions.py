"""The sessions of one measurement.

Time windows until enough are accepted, and make the record.

All phones share this. A phone gives `attempt`, which loads the model when a new session begins and times one window.
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from statistics import median

from latency.errors import PhoneUnstableError
from latency.measurement.protocol import MeasurementSettings
from latency.measurement.record import (
    LatencyRecord,
    PhoneConditions,
    PhoneIdentity,
    RejectedWindow,
    Session,
)
from latency.measurement.window import percentile, rejection
from latency.waiting import SILENCE_S

MAX_BACKOFF_S = 1.0

_LOG = logging.getLogger(__name__)

Attempt = Callable[[bool], Session]
"""Times one window; the argument tells whether a new session begins, for which the model is loaded again."""


def measure_sessions(
    attempt: Attempt,
    model_hash: str,
    identity: PhoneIdentity,
    settings: MeasurementSettings,
    *,
    advice: str,
    conditions: PhoneConditions | None = None,
    scale: float = 1.0,
) -> LatencyRecord:
    """Time windows until enough sessions are accepted, and return the record.

    A rejected window is tried again after a pause that doubles. If the core is so slow that it must be hot, the pause
    is `cooldown_s`.

    Args:
        attempt: Times one window.
        model_hash: SHA-256 of the ONNX bytes.
        identity: The phone.
        settings: The measurement protocol.
        advice: The end of the error's message.
        conditions: How the phone was when the measurement began.
        scale: What its times are multiplied by to be those of the first unit of its profile.

    Raises:
        PhoneUnstableError: Too many windows were rejected, or the sessions differ too much. It carries the record.
    """
    sessions: list[Session] = []
    rejected: list[RejectedWindow] = []
    reason = "within all limits"
    due = True
    said_s = time.monotonic()
    while len(sessions) < settings.sessions:
        timed = attempt(due)
        refusal = rejection(timed.window, settings)
        due = refusal is None
        if refusal is None:
            sessions.append(timed)
            continue
        rejected.append(RejectedWindow(refusal, timed.window))
        if len(rejected) == settings.max_attempts:
            reason = refusal
            break
        if time.monotonic() - said_s > SILENCE_S:
            said_s = time.monotonic()
            _LOG.info(
                "phone %s: a window does not count (%s); trying again, number %d of at most %d",
                *(identity.name, refusal, len(rejected) + 1, settings.max_attempts),
            )
        _pause(timed, len(rejected) - 1, settings)
    accepted = len(sessions) == settings.sessions
    if accepted and not (spread := _spread(sessions)) <= settings.session_spread_limit:
        accepted = False
        reason = f"the sessions differ by {spread:.1%}, which is above {settings.session_spread_limit:.0%}"
    record = LatencyRecord(
        model_sha256=model_hash,
        phone=identity,
        settings=settings,
        sessions=tuple(sessions),
        rejected_windows=tuple(rejected),
        accepted=accepted,
        reason=reason,
        measured_at=datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        conditions=conditions or PhoneConditions(),
        scale=scale,
    )
    if not accepted:
        raise PhoneUnstableError(
            f"phone {identity.name!r}: {len(sessions)} of {settings.sessions} sessions were steady, "
            f"{len(rejected)} windows were not; the last: {reason}. {advice}",
            record,
        )
    return record


def best_reference(
    time_reference: Callable[[], tuple[Sequence[float], Sequence[float]]],
    settings: MeasurementSettings,
    *,
    name: str,
    advice: str,
) -> float:
    """Return the best time in ms that the reference network shows on a phone at rest.

    Args:
        time_reference: Returns times of the network in ms, and for each how busy other work kept the phone.
        settings: The measurement protocol.
        name: The begin of the error's message.
        advice: The end of the error's message.

    Raises:
        PhoneUnstableError: The phone is never at rest.
    """
    for attempt in range(settings.max_attempts):
        times_ms, others_busy = time_reference()
        calm_ms = [
            time_ms
            for time_ms, busy in zip(times_ms, others_busy, strict=True)
            if busy <= settings.others_busy_limit and 0 < time_ms < math.inf
        ]
        if calm_ms:
            # Not the minimum, which is luck. A core may be slow most of the time, but hardly nine tenths of it.
            return percentile(calm_ms, 10)
        back_off(attempt, settings)
    raise PhoneUnstableError(
        f"{name}: other work kept it busy during {settings.max_attempts} calibrations; {advice}",
    )


def better_reference(best_ms: float | None, before_ms: float, after_ms: float, settings: MeasurementSettings) -> float:
    """Return the best time of the reference network after one more window.

    A little faster is luck. Only times that are clearly better, before and after, replace the best.
    """
    reference_ms = max(before_ms, after_ms)
    if best_ms is None or reference_ms < best_ms * (1 - settings.drift_limit):
        return reference_ms
    return best_ms


def back_off(failures_before: int, settings: MeasurementSettings) -> None:
    """Wait after a rejected window: twice as long each time, up to a second.

    The wait is random within bounds, so that two programs that measure on one core do not meet again and again.
    """
    delay_s = min(settings.backoff_s * 2.0 ** min(failures_before, 100), MAX_BACKOFF_S)
    time.sleep(delay_s * random.uniform(0.5, 1.5))


def _pause(timed: Session, failures_before: int, settings: MeasurementSettings) -> None:
    drift = timed.window.drift
    if settings.cooldown_s and drift is not None and drift > settings.cooldown_drift:
        _LOG.info("the core is %.0f%% slower than at its best; cooling down for %g s", 100 * drift, settings.cooldown_s)
        time.sleep(settings.cooldown_s)
    else:
        back_off(failures_before, settings)


def _spread(sessions: list[Session]) -> float:
    latencies_ms = [session.window.latency_ms for session in sessions]
    return (max(latencies_ms) - min(latencies_ms)) / median(latencies_ms)
