"""Routing records: which side is the primary, as each side's server keeps it (`rules.md` J).

Each side holds one record of a run. A cutover is a chain of swaps of these records, each of which compares state and
version: of two that were sent exactly one wins, and a late copy of an earlier one changes nothing, for versions only
grow.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, runtime_checkable


class Routing(StrEnum):
    """What a record says of its side."""

    PRIMARY = "primary"
    FENCED = "fenced"
    HANDED_OVER = "handed_over"
    READY = "ready"
    LIFTING = "lifting"
    CLOSED = "closed"


@dataclass(frozen=True)
class RoutingRecord:
    """State and version. `left_s`: seconds to its deadline by the clock of the server that keeps it, negative behind
    it; None where it has no deadline, and no part of what swaps compare."""

    state: Routing
    version: int
    left_s: float | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Owner:
    """Whose record it is: a run, known by its id and name, that moves to a target, named by its identity and the state
    schema."""

    id: str
    run: str
    target: str
    state_schema: str


@runtime_checkable
class RecordStore(Protocol):
    """The routing records of one side, durable (majority) when a call returns.

    Each call may be repeated. After `TransientError` or `AmbiguousCommitError` a swap may have been carried out, or may
    be later: the record has to be read, and only a swap to a higher version makes sure.
    """

    def begin(self, owner: Owner, first: RoutingRecord) -> RoutingRecord:
        """Keep a run's first record if there is none of it; returns what is there."""

    def read(self, id: str) -> RoutingRecord | None:  # noqa: A002
        """The record of a run, as a majority has it."""

    def swap(
        self,
        id: str,  # noqa: A002
        old: RoutingRecord,
        new: RoutingRecord,
        *,
        lasts_s: float | None = None,
        in_time: bool = False,
    ) -> bool:
        """Replace a record if it has still the old state and version, and `in_time` only before its deadline, judged by
        the server's clock in the statement itself. `lasts_s`: seconds to the new one's deadline. Whether it did."""

    def records(self) -> list[tuple[Owner, RoutingRecord]]:
        """The records of all runs on this side."""

    def forget(self, id: str) -> None:  # noqa: A002
        """Remove a run's record, and what held it once it is empty. Idempotent."""
