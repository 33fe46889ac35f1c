"""The gate that writes pass: open for a side for as long as a lease lasts, or shut.

A write is *under way* from its entering to its leaving. A fence is acknowledged only once none is. Time is that of a
clock that only grows; a lease is measured from before its heartbeat was sent (`rules.md` I4).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from tranship.router.records import TARGET, Name


class NoRouteError(Exception):
    """Where to write was not known in time. Nothing was written: the block was not entered."""


class OutcomeUnknownError(Exception):
    """The write came to its end after the lease had, and since then the record has changed or cannot be read: it may
    have landed on a side that had handed over by then, and been lost. The application has to look."""


class Side(str):
    """`"source"` or `"target"`. `version`: that of the record by which it was chosen."""

    version: int

    def __new__(cls, name: Name, version: int) -> Side:
        """Of a name and a version."""
        side = super().__new__(cls, name)
        side.version = version
        return side

    @property
    def statement(self) -> str:
        """For a write to the target: the SQL statement that has to be the first one of its transaction."""
        if self != TARGET:
            raise ValueError("only a write to the target states its version")
        return f"SELECT pg_catalog.set_config('tranship.version', '{self.version}', true)"


@dataclass(frozen=True)
class Pass:
    """A write that is under way. `lapses`: how often a lease had run out when it began."""

    side: Side
    lapses: int


@dataclass(frozen=True)
class Doubt:
    """A write that ended, at this time, after its lease had."""

    side: Side
    ended: float


class Gate:
    """Safe for several threads."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._side: Side | None = None
        self._last: Side | None = None
        self._until = self._looked = clock()
        self._lapses = 0
        self._under_way = 0
        self._waiting: list[Callable[[], None]] = []
        self.why = "the routing records have not been read yet"

    @property
    def under_way(self) -> int:
        """How many writes are under way."""
        with self._lock:
            return self._under_way

    @property
    def last(self) -> Side | None:
        """The side that is, or was last, open: where reads go."""
        with self._lock:
            return self._last

    def renew(self, began: float, until: float) -> None:
        """A look that began then has come to a verdict, which `open` or `shut` tells next: the lease lasts until then.
        If the one before had run out, what was under way is no more sure of anything."""
        with self._lock:
            if self._clock() > self._until:
                self._lapses += 1
            self._looked, self._until = began, until

    def open(self, side: Side) -> None:
        """Let writes pass to a side, for as long as the lease lasts."""
        with self._lock:
            self._side = self._last = side
        self._tell()

    def _tell(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for wake in waiting:
            wake()

    def shut(self, why: str, reads: Side) -> None:
        """Let writes wait; those that are under way end by themselves. `reads`: where reads go if it never was open."""
        with self._lock:
            self._side, self.why = None, why
            self._last = self._last or reads
        self._tell()

    def enter(self) -> Pass | None:
        """Begin a write; None where it has to wait."""
        with self._lock:
            if self._side is None or self._clock() >= self._until:
                return None
            self._under_way += 1
            return Pass(self._side, self._lapses)

    def leave(self, one: Pass) -> Doubt | None:
        """End a write; None if a lease lasted all the time."""
        with self._lock:
            self._under_way -= 1
            now = self._clock()
            return None if one.lapses == self._lapses and now < self._until else Doubt(one.side, now)

    def settle(self, doubt: Doubt) -> bool | None:
        """Whether a write counts all the same: a look that began behind its end still finds the record that it was
        chosen by. Versions only grow, so nothing was fenced or handed over in between. None before such a look."""
        with self._lock:
            if self._looked <= doubt.ended:
                return None
            return self._side is not None and (self._side, self._side.version) == (doubt.side, doubt.side.version)

    def when_looked(self, wake: Callable[[], None]) -> None:
        """Call it, from any thread, behind the next verdict. Whoever waits tries once more after this."""
        with self._lock:
            self._waiting.append(wake)
