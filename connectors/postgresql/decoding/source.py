"""A run's tables as a change source: `ChangeSource` over publication and slot (`outlet`). Reading rows is the target's.

Our own forward apply does not come back (`rules.md` E7): positions see to it. Forward rows are written only while the
target is closed, and the seal moves every lane's mark before it opens; `position`, taken behind the seal, has all of
them below it. Origins would say the same twice, at a price: one session can hold one, setting one needs rights that
applications' databases seldom give, and a transaction that an application replicates into its own tables has one too,
and has to be followed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress

import psycopg

from tranship.connectors.errors import RefusedError, TransientError
from tranship.connectors.postgresql.connections import connect
from tranship.connectors.postgresql.decoding.markers import Markers
from tranship.connectors.postgresql.decoding.slot import Slot, lsn_of, position_of
from tranship.connectors.postgresql.decoding.tables import Tables, all_tables
from tranship.connectors.postgresql.decoding.watcher import Follower
from tranship.connectors.postgresql.errors import translating
from tranship.connectors.postgresql.routing import PostgresRecords
from tranship.connectors.postgresql.servers import server_of
from tranship.connectors.protocols import Changes, ChangeSource, Finding, Position, RecordStore, Watch
from tranship.connectors.watches import GeneratedWatch
from tranship.plans.streams import Endpoint, Stream

VISIBLE_S = 30.0
"""How long `position` waits for what has committed to become visible: behind a synchronous standby that takes time."""

CONFIRM_S = 0.25
CONFIRM_SHARE = 10
"""Letting go costs a peek; so it is done this often at most, and takes a tenth of the time at most."""

_KEEPS = """
SELECT s.safe_wal_size / nullif(w.wal_bytes / extract(epoch FROM clock_timestamp() - w.stats_reset), 0)
FROM pg_replication_slots AS s, pg_stat_wal AS w WHERE s.slot_name = %s
"""


class PostgresChanges:
    """`ChangeSource` of a run. `streams`: all of its plan, which its outlet publishes."""

    def __init__(self, endpoint: Endpoint, streams: Sequence[Stream], run: str) -> None:
        self._endpoint = endpoint
        self._streams = streams
        self._run = run
        self._server = server_of(endpoint)
        self._markers = Markers(endpoint, run)
        self._records = PostgresRecords(endpoint)

    def close(self) -> None:
        self._markers.close()
        self._records.close()

    def position(self) -> Position:
        """Now. What was committed before is visible to whoever reads after this call, what is committed later comes
        after it: the server's history is ahead of what it shows."""
        open_ = threading.Event()
        with translating(self._server), closing(Slot(self._endpoint, self._run)) as slot:
            at = slot.mark()
            slot.look(at)
            left = {begin.xid for begin in slot.beginnings(at, open_) if begin.lsn < at}
            deadline = time.monotonic() + VISIBLE_S
            while left:
                snapshot = slot.snapshot()
                left = {xid for xid in left if not snapshot.shows(xid)}
                if left and time.monotonic() > deadline:
                    raise TransientError("transactions have committed, but a synchronous standby keeps them back")
                open_.wait(0.001 if left else 0)
        return position_of(at)

    def changes(self, streams: Sequence[Stream], since: Position) -> Watch:
        """Changed root keys since a position; see `ChangeSource`."""
        return _Feed(self._endpoint, self._run, self._streams, streams, since).watch()

    def history_s(self, since: Position) -> None:
        """A slot keeps what was not let go, however old; how much longer, `keeps_s` tells."""

    def keeps_s(self, since: Position) -> float | None:  # noqa: ARG002
        """By what may still be written before the server gives the slot up, and how fast it was since its statistics
        began; None where nothing bounds it."""
        with translating(self._server), closing(connect(self._endpoint, autocommit=True)) as session:
            row = session.execute(_KEEPS, (self._markers.name,)).fetchone()
        return None if row is None or row[0] is None else max(0.0, float(row[0]))

    def put_marker(self, name: str) -> None:
        """Behind every earlier acknowledged commit: the slot gives transactions in the order of their commits."""
        self._markers.put(name)

    def has_marker(self, name: str) -> bool:
        return self._markers.has(name)

    def drop_markers(self, owner: str) -> None:
        self._markers.drop(owner)

    def try_traces(self) -> list[Finding]:
        try:
            self._markers.attempt()
        except RefusedError as error:
            return [Finding("target.privilege", "error", f"markers cannot be written: {error}", "GRANT what it names")]
        return []

    @property
    def records(self) -> RecordStore:
        return self._records

    @property
    def fences(self) -> None:
        """The target's guard is its fence (`connectors.postgresql.routes`)."""


class _Feed:
    """One watch: its slot once it is opened, and what it lets go."""

    def __init__(
        self, endpoint: Endpoint, run: str, streams: Sequence[Stream], watched: Sequence[Stream], since: Position
    ) -> None:
        self._endpoint = endpoint
        self._run = run
        self._streams = streams
        self._watched = watched
        self._since = lsn_of(since)
        self._server = server_of(endpoint)
        self._closed = threading.Event()
        self._slot: Slot | None = None
        self._rests_until = 0.0

    def watch(self) -> Watch:
        return GeneratedWatch(self._follow, wake=self._wake, confirm=self._confirm)

    def _follow(self, closed: threading.Event) -> Iterator[Changes]:
        self._closed = closed
        try:
            with translating(self._server), closing(Slot(self._endpoint, self._run)) as slot:
                self._slot = slot
                yield from self._follower(slot, closed).follow()
        except TransientError:
            if not closed.is_set():  # else what it waited for was cancelled
                raise
        finally:
            self._slot = None

    def _follower(self, slot: Slot, closed: threading.Event) -> Follower:
        tables = Tables(self._endpoint, self._streams, self._watched, slot.name, slot.type_names)
        published = len(all_tables(self._streams, self._endpoint.schema)) + 1  # and the markers'
        return Follower(slot, tables, self._since, published, closed)

    def _wake(self) -> None:
        slot = self._slot
        if slot is not None:
            with suppress(psycopg.Error):  # it has just ended, and what was to be woken with it
                slot.interrupt()

    def _confirm(self, position: Position) -> None:
        """What is let go later is only held back longer: a watch that has ended need not, nor one that just did so."""
        began = time.monotonic()
        if self._slot is None or began < self._rests_until:
            return
        with translating(self._server):
            self._slot.advance(lsn_of(position), self._closed)
        ended = time.monotonic()
        self._rests_until = ended + max(CONFIRM_S, CONFIRM_SHARE * (ended - began))


def _implements(source: PostgresChanges) -> ChangeSource:
    return source
