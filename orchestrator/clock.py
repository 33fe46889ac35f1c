"""Time, in one place, so that tests can replace it.

Leases, marks and ages are judged by the database's clock inside the statement that acts (`docs/architecture.md`); this
clock only paces waits and measures durations, and it never goes backwards.
"""

from __future__ import annotations

import time
from typing import Protocol

from tranship.orchestrator.pulse import Pulse


class Clock(Protocol):
    """Paces waits."""

    def now(self) -> float:
        """Seconds on a monotonic clock."""

    def sleep(self, seconds: float) -> None:
        """Let time pass."""

    def wait(self, pulse: Pulse, seen: int, seconds: float) -> None:
        """Let time pass, but no longer than until the pulse beats once more than it was `seen` to."""


class MonotonicClock:
    """The machine's monotonic clock."""

    def now(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def wait(self, pulse: Pulse, seen: int, seconds: float) -> None:
        pulse.wait(seen, seconds)
