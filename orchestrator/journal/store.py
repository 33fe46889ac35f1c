"""`Control` over a connector's control store: rows become entries whose chain is checked, requests, a lease."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from tranship.connectors.protocols.control import ControlStore, JournalRow, RunRow
from tranship.orchestrator.failpoints import reached
from tranship.orchestrator.journal.control import LeaseHeldError, LeaseLostError, Request, RequestKind
from tranship.orchestrator.journal.person import person
from tranship.orchestrator.journal.records import (
    VERSION,
    Entry,
    Head,
    JournalError,
    Kind,
    Record,
    check_chain,
    sealed,
)
from tranship.plans.strategies import named

log = structlog.get_logger(__name__)


def holder_name() -> str:
    """Who we are in the lease: unique per process."""
    return f"{socket.gethostname()}:{os.getpid()}:{time.time_ns()}"


class StoredControl:
    """`Control` in a store that outlives the process. Safe to use from several threads."""

    def __init__(self, store: ControlStore, sleep: Callable[[float], None] = time.sleep) -> None:
        self._store = store
        self._holder = holder_name()
        self._sleep = sleep

    def install(self) -> None:
        """Create what the store needs where it is missing. Idempotent; refuses a newer version."""
        self._store.install()

    def upgrade(self, run: str) -> None:
        self._store.upgrade(run)

    def installed(self) -> bool:
        """Whether the store is there, and is one of ours; reads only."""
        return self._store.installed()

    def runs(self, plan: str) -> list[str]:
        """All runs of a plan, oldest first."""
        return self._store.runs(plan)

    def all_runs(self) -> list[str]:
        """All runs of all plans in the store."""
        return self._store.runs()

    def latest_run(self, plan: str) -> str | None:
        names = self._store.runs(plan)
        return names[-1] if names else None

    def create_run(self, plan: str, after: str | None) -> str:
        empty = Head()
        return self._store.create_run(plan, after, RunRow(VERSION, empty.seq, empty.hash))

    def journal(self, run: str) -> list[Entry]:
        kept, rows = self._store.journal(run)
        if kept is not None and kept.version > VERSION:
            raise JournalError(
                f"run {run} was written by a newer tranship (journal version {kept.version}, this one reads up to "
                f"{VERSION}). Nothing was changed. Use that version or a later one."
            )
        head = None if kept is None else Head(kept.head, kept.head_hash)
        return check_chain(run, map(_entry, rows), head)

    def append(self, run: str, seq: int, epoch: int, record: Record, consumed: int | None = None) -> None:
        def follow(last: JournalRow | None, now: float) -> JournalRow | None:
            if last is not None and last.seq == seq and _entry(last).record == record and last.epoch == epoch:
                return None  # an earlier attempt of ours landed after all
            if seq != (last.seq + 1 if last else 1):
                raise JournalError(f"entry {seq} of run {run} cannot follow entry {last.seq if last else 0}")
            head = Head(last.seq, last.hash) if last else Head()
            return _row(sealed(run, head, epoch, round(now, 6), record))

        self._store.append(run, epoch, follow, consumed)

    def requests(self, run: str) -> list[Request]:
        return [
            Request(row.id, RequestKind(row.kind), row.by, row.asking, row.stream) for row in self._store.requests(run)
        ]

    def request(self, run: str, kind: RequestKind, asking: int | None = None, stream: str | None = None) -> int:
        return self._store.request(run, kind, person(), asking, stream)

    # --- lease and epoch ------------------------------------------------------------------------------------------

    def acquire(self, run: str, ttl_s: float) -> None:
        seen: object | None = None
        while True:
            held = self._store.try_acquire(run, self._holder, ttl_s)
            if held is None:
                reached("claim.after_lease")
                return
            if seen is not None and held != seen:
                raise LeaseHeldError(f"another orchestrator works on run {run} and renews its lease")
            if seen is None:
                why = "waiting for the lease of an earlier orchestrator to end"
                log.info(why, run=run, sentence=why)
            seen = held
            self._sleep(min(0.25, ttl_s / 10))

    def claim(self, run: str) -> int:
        epoch = self._store.claim(run, self._holder)
        if epoch is None:
            raise LeaseLostError(f"another orchestrator has taken over run {run}")
        reached("claim.after_epoch")
        return epoch

    def renew(self, run: str, ttl_s: float, work: Mapping[str, Any] | None = None) -> None:
        if not self._store.renew(run, self._holder, ttl_s, work):
            raise LeaseLostError(f"another orchestrator has taken over run {run}")

    def is_led(self, run: str) -> bool:
        """Whether an orchestrator holds the run's lease now; reads only."""
        return self._store.led(run) is not None

    def work(self, run: str) -> tuple[dict[str, Any], float] | None:
        """What the orchestrator at work has said last, and how many seconds ago; None without one, or before its first
        heartbeat; reads only."""
        said = self._store.led(run)
        if said is None or not said[0] or said[1] is None:
            return None
        return dict(said[0]), said[1]

    def release(self, run: str) -> None:
        self._store.release(run, self._holder)

    def purge(self, unfinished: Callable[[], list[str]]) -> list[str]:
        """Remove the state, unless `unfinished`, asked under its lock, names runs: those are returned."""
        return self._store.purge(unfinished)

    def close(self) -> None:
        self._store.close()


def _row(entry: Entry) -> JournalRow:
    record = entry.record
    return JournalRow(
        entry.seq,
        entry.epoch,
        entry.at,
        record.kind,
        record.phase,
        record.data,
        entry.previous,
        entry.hash,
        entry.version,
    )


def _entry(row: JournalRow) -> Entry:
    phase = named(row.phase) if row.phase else None
    return Entry(
        row.seq, row.epoch, row.at, Record(Kind(row.kind), phase, row.data), row.previous, row.hash, row.version
    )
