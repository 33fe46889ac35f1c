"""Pulse: whoever waits for what another thread of the process does hears of it at once, not at its next look."""

from __future__ import annotations

import threading


class Pulse:
    """Counts beats. Safe for several threads."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._count = 0

    @property
    def count(self) -> int:
        """How many beats there have been: to be read before what is waited for is looked at."""
        with self._condition:
            return self._count

    def beat(self) -> None:
        """Something has changed that others may wait for."""
        with self._condition:
            self._count += 1
            self._condition.notify_all()

    def wait(self, seen: int, limit_s: float) -> None:
        """Return once there have been more beats than `seen`, or after the limit."""
        with self._condition:
            self._condition.wait_for(lambda: self._count > seen, limit_s)
