"""What the engine keeps and shares: runs, their journals, requests of other processes, and the lease.

`Control` is the protocol; `store` keeps it in the target's state schema. Only the holder of the lease appends to a
journal; everybody else writes requests, which the engine consumes together with the record that answers them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from tranship.orchestrator.journal.records import Entry, Record


class RequestKind(StrEnum):
    """What other processes may ask of the engine."""

    APPROVE = "approve"
    REHEARSE = "rehearse"
    WITHDRAW = "withdraw"
    PAUSE = "pause"
    ROLLBACK = "rollback"
    REPAIR = "repair"
    RETRY = "retry"
    RESEED = "reseed"


@dataclass(frozen=True)
class Request:
    """One request that the engine has not answered yet. `asking`: of an approval, which asking it answers."""

    id: int
    kind: RequestKind
    by: str
    asking: int | None = None
    stream: str | None = None


class LeaseHeldError(Exception):
    """Another orchestrator holds the run's lease and renews it."""


class LeaseLostError(Exception):
    """Our lease ended or another orchestrator took over: nothing may be written any more."""


class Control(Protocol):
    """One plan's runs. Every method is one transaction."""

    def latest_run(self, plan: str) -> str | None:
        """The newest run of a plan."""

    def create_run(self, plan: str, after: str | None) -> str:
        """The run that follows `after`, the newest one that the caller has seen; its journal is empty.

        Of two callers at the same moment both get the same run, and its lease decides who works on it.
        """

    def journal(self, run: str) -> list[Entry]:
        """All entries, their chain checked, and that none is missing at the end."""

    def append(self, run: str, seq: int, epoch: int, record: Record, consumed: int | None = None) -> None:
        """Append entry `seq` under the epoch, and mark a request as consumed in the same transaction.

        May be repeated after a lost connection: an entry that is there already, written by the same epoch, is left.
        """

    def requests(self, run: str) -> list[Request]:
        """Requests that were not consumed, oldest first."""

    def request(self, run: str, kind: RequestKind, asking: int | None = None, stream: str | None = None) -> int:
        """Ask the engine for something; returns the request's number. An approval names its asking (`State.asking`)."""

    def acquire(self, run: str, ttl_s: float) -> None:
        """Take the lease, waiting for a dead holder's to expire; `LeaseHeldError` when a living one renews it."""

    def upgrade(self, run: str) -> None:
        """Bring what an earlier version has kept up to date, once the run's lease is ours. Idempotent. Raises
        `RefusedError` while another process works on another run in the same place."""

    def claim(self, run: str) -> int:
        """Take a new epoch: end the old one's sessions, then bump it. `LeaseLostError` when the lease is not ours."""

    def renew(self, run: str, ttl_s: float, work: Mapping[str, Any] | None = None) -> None:
        """Heartbeat, with how far our work is; `LeaseLostError` when the lease is not ours any more."""

    def release(self, run: str) -> None:
        """Give the lease back."""

    def close(self) -> None: ...
