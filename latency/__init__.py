"""Latency measurement: ONNX bytes in, a LatencyRecord out."""

from latency.errors import (
    CandidateError,
    LatencyError,
    PhoneError,
    PhoneGoneError,
    PhoneTimeoutError,
    PhoneUnknownError,
    PhoneUnstableError,
    ProfileError,
    ToolError,
)
from latency.host.quiet import ProcessPauser
from latency.leases.between_processes import PhoneLeases, user_leases
from latency.measurement.protocol import MeasurementSettings
from latency.measurement.record import LatencyRecord, PhoneIdentity
from latency.phone import PhoneBackend
from latency.phones import create_phones, phone_settings
from latency.pool.cache import LatencyCache, user_cache
from latency.pool.health import PhoneStatus, RetryPolicy
from latency.pool.service import LatencyService

__all__ = [
    "CandidateError",
    "LatencyCache",
    "LatencyError",
    "LatencyRecord",
    "LatencyService",
    "MeasurementSettings",
    "PhoneBackend",
    "PhoneError",
    "PhoneGoneError",
    "PhoneIdentity",
    "PhoneLeases",
    "PhoneStatus",
    "PhoneTimeoutError",
    "PhoneUnknownError",
    "PhoneUnstableError",
    "ProcessPauser",
    "ProfileError",
    "RetryPolicy",
    "ToolError",
    "create_phones",
    "phone_settings",
    "user_cache",
    "user_leases",
]
