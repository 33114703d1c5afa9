"""A circuit breaker per server: callers of a dead shard fail at once and take no slot from other shards' callers."""

from __future__ import annotations

import time

from domain.errors import Unreachable


class CircuitBreaker:
    """Closed: calls pass. After `failures_max` connection failures in a row it opens: calls fail at once for
    `open_seconds`; then one call is let through, and its success closes the breaker.

    The wait is short on purpose: work must be final within seconds of a shard's return.
    """

    def __init__(self, name: str, failures_max: int = 3, open_seconds: float = 1.0) -> None:
        self._name = name
        self._failures_max = failures_max
        self._open_seconds = open_seconds
        self._failures = 0
        self._retry_at = 0.0
        self._cause = ""

    def check(self) -> None:
        """Raises `Unreachable` while open. Once the wait is over, exactly one caller is let through."""
        if self._failures < self._failures_max:
            return
        now = time.monotonic()
        if now < self._retry_at:
            raise Unreachable("shard_unreachable", f"{self._name} does not answer: {self._cause} (a moment ago)")
        self._retry_at = now + self._open_seconds

    def succeeded(self) -> None:
        self._failures = 0

    def failed(self, cause: str) -> None:
        """`cause` goes into the error that callers get while the breaker is open."""
        self._failures += 1
        self._cause = cause
        self._retry_at = time.monotonic() + self._open_seconds
