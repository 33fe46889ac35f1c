"""Time, in one place, so that tests can replace it.

Leases, marks and ages are judged by the database's clock inside the statement that acts (`docs/architecture.md`); this
clock only paces waits and measures durations, and it never goes backwards.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Paces waits."""

    def now(self) -> float:
        """Seconds on a monotonic clock."""

    def sleep(self, seconds: float) -> None:
        """Let time pass."""


class MonotonicClock:
    """The machine's monotonic clock."""

    def now(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)
