"""Control stores: where runs, their journals, requests of other processes and leases are kept.

A store keeps rows; what they mean, and that a journal's chain holds, is the orchestrator's (`orchestrator.journal`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable


@dataclass(frozen=True)
class JournalRow:
    """An entry of a journal as it is kept; `at`: seconds since 1970 by the store's clock."""

    seq: int
    epoch: int
    at: float
    kind: str
    phase: str | None
    data: Mapping[str, Any]
    previous: str
    hash: str
    version: int


@dataclass(frozen=True)
class RunRow:
    """What is kept of a run beside its journal: the program's version that wrote last, and the journal's end."""

    version: int
    head: int
    head_hash: str


@dataclass(frozen=True)
class RequestRow:
    """A request that nobody has answered yet."""

    id: int
    kind: str
    by: str
    asking: int | None
    stream: str | None


Follow: TypeAlias = Callable[[JournalRow | None, float], JournalRow | None]
"""The row that follows the last one, given the store's time; None if it is there already. What it raises goes through,
unless the epoch is over, which is said first."""


@runtime_checkable
class ControlStore(Protocol):
    """Every call is one transaction. Safe to use from several threads."""

    def install(self) -> None:
        """Create what is missing. Idempotent; refuses what a newer program made."""

    def upgrade(self, run: str) -> None:
        """Bring what an earlier version made up to date, for the holder of a run's lease; nothing where nothing is
        there. Idempotent. Raises `RefusedError` while a process works on another run of it."""

    def installed(self) -> bool:
        """Whether all of it is there, and is one of ours; reads only."""

    def runs(self, plan: str | None = None) -> list[str]:
        """The runs of a plan, oldest first; of all plans, by name."""

    def create_run(self, plan: str, after: str | None, empty: RunRow) -> str:
        """The run that follows `after`, the newest one that the caller has seen; `empty` is its journal's.

        Of two callers at the same moment both get the same run.
        """

    def journal(self, run: str) -> tuple[RunRow | None, list[JournalRow]]:
        """What is kept of the run, read before its journal's rows, which are in order."""

    def append(self, run: str, epoch: int, follow: Follow, consumed: int | None) -> None:
        """Append the row that `follow` gives and move the head, under an epoch that is checked last; mark a request as
        consumed with it. Raises `EpochMovedError`, and `TransientError` where an earlier attempt was just committed."""

    def requests(self, run: str) -> list[RequestRow]:
        """Requests that were not consumed, oldest first."""

    def request(self, run: str, kind: str, by: str, asking: int | None, stream: str | None) -> int:
        """Leave a request; returns its number."""

    def try_acquire(self, run: str, holder: str, ttl_s: float) -> object | None:
        """Take a lease that is free or over: None when it is ours now, else a token that changes when it is renewed."""

    def claim(self, run: str, holder: str) -> int | None:
        """End the sessions of the epoch before and begin a new one; None when the lease is not ours. A lease that has
        ended and that nobody took still is (`rules.md` K7)."""

    def renew(self, run: str, holder: str, ttl_s: float, work: Mapping[str, Any] | None) -> bool:
        """Prolong our lease, with how far our work is; False when it is not ours any more."""

    def led(self, run: str) -> tuple[Mapping[str, Any] | None, float | None] | None:
        """None when nobody holds a living lease; else what its holder has said last, and how many seconds ago."""

    def release(self, run: str, holder: str) -> None:
        """End our lease. Idempotent."""

    def purge(self, unfinished: Callable[[], list[str]]) -> list[str]:
        """Drop the state, unless `unfinished`, asked under its lock, names runs: those are returned."""

    def close(self) -> None: ...
