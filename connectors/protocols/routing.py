"""Routing records: which side is the primary, as each side's server keeps it (`rules.md` J).

Each side holds one record of a run. A cutover is a chain of swaps of these records, each of which compares state and
version: of two that were sent exactly one wins, and a late copy of an earlier one changes nothing, for versions only
grow. Applications follow them by the published protocol (`docs/router-protocol.md`).
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
    schema. `plan`: the plan's name, by which routers find the record; empty in records of earlier versions."""

    id: str
    run: str
    target: str
    state_schema: str
    plan: str = ""


@dataclass(frozen=True)
class Opening:
    """What a seal does to the target's record of a run: closed for the attempt of this version, it becomes ready."""

    id: str
    version: int

    @property
    def before(self) -> RoutingRecord:
        """What it has to be."""
        return RoutingRecord(Routing.CLOSED, self.version)

    @property
    def after(self) -> RoutingRecord:
        """What it becomes."""
        return RoutingRecord(Routing.READY, self.version)


def moved(opening: Opening) -> str:
    """Why nothing is sealed where the record is another one."""
    return f"the target's routing record is not closed({opening.version}) any more; nothing was sealed"


@dataclass(frozen=True)
class LiveRouter:
    """A process that writes by the records of a plan, and whose lease has not ended yet. `acknowledged`: the run and
    version of the last fence behind which none of its writes was under way any more."""

    instance: str
    left_s: float
    acknowledged: tuple[str, int] | None


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
        deadline: float | None = None,
        in_time: bool = False,
    ) -> bool:
        """Replace a record if it has still the old state and version, and `in_time` only before its deadline.

        `deadline`: of the new one, by `now`; behind it a swap that comes late changes nothing either. Both are judged
        by the server's clock in the statement itself (`rules.md` I4, J0). Returns whether it was replaced.
        """

    def now(self) -> float:
        """Seconds since 1970 by the server's clock."""

    def hasten(self, id: str, poll_s: float | None) -> None:  # noqa: A002
        """Ask routers to look at the record this often from now on; None: as often as they do by themselves. They have
        heard of it after one of their intervals of before. Idempotent; of no record it does nothing."""

    def routers(self, plan: str) -> list[LiveRouter]:
        """The routers of a plan whose leases have not ended, by the server's clock."""

    def records(self) -> list[tuple[Owner, RoutingRecord]]:
        """The records of all runs on this side."""

    def forget(self, id: str) -> None:  # noqa: A002
        """Remove a run's record, and what held it once it is empty. Idempotent."""
