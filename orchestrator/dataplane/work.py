"""How far the work of a phase is: said by whoever does it, read by whoever shows it.

It is for people: nothing is decided by it, and it is gone with the process. What other processes know of it goes with
the heartbeat (`orchestrator/services/heartbeat.py`).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

WINDOW_S = 30.0
"""A rate is that of so much time: what happened before says little about now."""

CHUNKS, SPANS = "chunks", "spans"
"""Units: what a backfill copies, and what a comparison compares."""

Seconds = Callable[[], float]
"""A clock whose seconds only grow."""


@dataclass(frozen=True)
class Part:
    """Of one stream: how many units are done of how many, and the rows in those that were done since it began."""

    done: int
    total: int
    rows: int


@dataclass(frozen=True)
class Report:
    """What is done for `elapsed_s` by now. `unit` names what is counted in `parts`, by stream; without parts nobody
    knows how much it is. `trouble`: why it is tried again, for `trouble_s`; empty while all goes well.
    `rows_per_second` is that of the last half minute; None when there is too little to go by."""

    doing: str
    elapsed_s: float
    unit: str = ""
    parts: Mapping[str, Part] = field(default_factory=dict)
    rows_per_second: float | None = None
    left_s: float | None = None
    trouble: str = ""
    trouble_s: float = 0.0

    @property
    def done(self) -> int:
        """Units of all streams that are done."""
        return sum(part.done for part in self.parts.values())

    @property
    def total(self) -> int:
        """Units of all streams."""
        return sum(part.total for part in self.parts.values())

    @property
    def rows(self) -> int:
        """Rows of all streams."""
        return sum(part.rows for part in self.parts.values())

    def as_dict(self) -> dict[str, Any]:
        """JSON-able form, with the sums."""
        return {**asdict(self), "done": self.done, "total": self.total}


class Work:
    """What is under way. Safe to use from several threads."""

    def __init__(self, clock: Seconds) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._doing = ""
        self._began = 0.0
        self._trouble, self._since = "", 0.0
        self._unit = ""
        self._parts: dict[str, Part] = {}
        self._seen: deque[tuple[float, int, int]] = deque()
        """Time, units and rows done by then."""
        self._steps: dict[str, list[float]] = {}

    def begin(self, doing: str) -> None:
        """Something else is under way from now on."""
        with self._lock:
            self._doing, self._began = doing, self._clock()
            self._unit, self._parts = "", {}
            self._seen.clear()

    def expect(self, unit: str, parts: Mapping[str, tuple[int, int]]) -> None:
        """How much it is: units that are done already and all units, by stream."""
        with self._lock:
            self._unit = unit
            self._parts = {name: Part(done, total, 0) for name, (done, total) in parts.items()}
            self._seen.clear()
            self._steps[self._doing] = []
            self._see()

    def step(self, stream: str, rows: int) -> None:
        """One more unit of a stream is done, with so many rows."""
        with self._lock:
            part = self._parts[stream]
            self._parts[stream] = Part(part.done + 1, part.total, part.rows + rows)
            self._steps[self._doing].append(self._clock())
            self._see()

    def steps(self, doing: str) -> tuple[float, ...]:
        """When the units of what was done last under a name were done, by the clock."""
        with self._lock:
            return tuple(self._steps.get(doing, ()))

    def stumbled(self, reason: str) -> None:
        """It failed, and is tried again."""
        with self._lock:
            self._since = self._since if self._trouble else self._clock()
            self._trouble = reason

    def recovered(self) -> None:
        """What was tried again has succeeded."""
        with self._lock:
            self._trouble = ""

    def _see(self) -> None:
        now = self._clock()
        self._seen.append((now, *self._sums()))
        # The last one from before the window stays: with it the window is whole.
        while len(self._seen) > 1 and self._seen[1][0] <= now - WINDOW_S:
            self._seen.popleft()

    def _sums(self) -> tuple[int, int]:
        return sum(part.done for part in self._parts.values()), sum(part.rows for part in self._parts.values())

    def report(self) -> Report | None:
        """How it stands now; None when nothing is under way."""
        with self._lock:
            if not self._doing:
                return None
            now = self._clock()
            if self._parts:
                self._see()
            elapsed = now - self._began
            rate, left = self._pace(now)
            failing = now - self._since if self._trouble else 0.0
            return Report(self._doing, elapsed, self._unit, dict(self._parts), rate, left, self._trouble, failing)

    def _pace(self, now: float) -> tuple[float | None, float | None]:
        """Rows per second, and seconds left if what is left is like what was done."""
        if not self._seen or now <= self._seen[0][0]:
            return None, None
        since, units, rows = self._seen[0]
        done, all_rows = self._sums()
        if done == units:
            return (0.0 if now - since >= WINDOW_S else None), None
        total = sum(part.total for part in self._parts.values())
        return (all_rows - rows) / (now - since), (total - done) * (now - since) / (done - units)
