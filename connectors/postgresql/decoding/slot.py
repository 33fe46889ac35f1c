"""The replication slot of a run, in use: how it stands, what is in it, and letting go of what is kept elsewhere.

A position is an LSN: every transaction whose commit record starts below it has been handed out. The server's own bound
of a slot (`confirmed_flush_lsn`) means the same. It holds for any LSN, also one in the middle of a record.

What costs: peek and advance decode anew from `restart_lsn` each time, which the server moves when it notes its running
transactions, every 15 seconds at best, and never beyond the oldest open one that writes.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg

from tranship.connectors.errors import PositionLostError, TransientError
from tranship.connectors.postgresql.connections import connect, ensure_direct, no_session_timeouts
from tranship.connectors.postgresql.decoding.health import LOST, PLUGIN, UNAVAILABLE
from tranship.connectors.postgresql.decoding.messages import Attribute, Begin, parse
from tranship.connectors.postgresql.decoding.naming import feed_name
from tranship.connectors.protocols import Position
from tranship.plans.streams import Endpoint

BUSY_S = 10.0
"""How long to wait for a slot that somebody reads: a session of ours that was just ended or cut off."""

_BUSY_PAUSE_S = 0.05

T = TypeVar("T")

_XID = 2**32 - 1
_HALF = 2**31

_LOOK = """
SELECT (pg_current_wal_flush_lsn() - '0/0')::bigint, (pg_current_wal_insert_lsn() - '0/0')::bigint,
       (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
       (SELECT count(*) FROM pg_publication_rel AS r JOIN pg_publication AS p ON p.oid = r.prpubid
        WHERE p.pubname = %(name)s),
       s.slot_name IS NOT NULL, s.plugin, s.database = current_database(), s.wal_status,
       (s.restart_lsn - '0/0')::bigint, (s.confirmed_flush_lsn - '0/0')::bigint
FROM (VALUES (1)) AS one LEFT JOIN pg_replication_slots AS s ON s.slot_name = %(name)s
"""

_PEEK = """
SELECT xid::text::bigint, data FROM pg_logical_slot_peek_binary_changes(
    %(name)s, %(upto)s::pg_lsn, NULL, 'proto_version', '1', 'publication_names', %(publication)s)
"""

_BEGINNINGS = f"{_PEEK} WHERE get_byte(data, 0) = {ord('B')}"
"""Of transactions only: their rows stay on the server."""

_ADVANCE = """
SELECT pg_replication_slot_advance(slot_name, %(to)s::pg_lsn) FROM pg_replication_slots
WHERE slot_name = %(name)s AND database = current_database() AND confirmed_flush_lsn < %(to)s::pg_lsn
"""


@dataclass(frozen=True)
class Look:
    """`flushed`: what of the server's history can be read by now. `restart`: from where reading it begins. `now_us`:
    the server's clock. `published`: how many tables."""

    flushed: int
    now_us: int
    published: int
    restart: int


def position_of(lsn: int) -> Position:
    return Position(lsn_text(lsn).encode())


def lsn_of(position: Position) -> int:
    high, _, low = position.token.decode().partition("/")
    return (int(high, 16) << 32) + int(low, 16)


def lsn_text(lsn: int) -> str:
    """As PostgreSQL writes it."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


class Slot:
    """One reader's sessions: one that peeks, and one for all else, because what a peek found is still on its way while
    the other asks. Not for several threads, but for `interrupt`. `peek_s`: how long the last peek took."""

    def __init__(self, endpoint: Endpoint, run: str) -> None:
        self.peek_s = 0.0
        self._asking = _session(endpoint)
        try:
            ensure_direct(self._asking)
            self.name = feed_name(self._asking.info.dbname, endpoint.state_schema, run)
            self._peeking = _session(endpoint)
        except BaseException:
            self._asking.close()
            raise

    def close(self) -> None:
        self._peeking.close()
        self._asking.close()

    def interrupt(self) -> None:
        """End a peek that is under way; from any thread."""
        self._peeking.cancel_safe()

    def look(self, since: int) -> Look:
        """How the slot stands. Raises `PositionLostError` where it cannot give all changes since an LSN any more."""
        row = self._asking.execute(_LOOK, {"name": self.name}).fetchone()
        assert row is not None
        flushed, inserted, now_us, published, there, plugin, here, status, restart, confirmed = row
        if not there:
            raise _lost(f"the replication slot {self.name} is gone")
        if plugin != PLUGIN or not here:
            raise _lost(f"the replication slot {self.name} is another one than was made for this run")
        if status == LOST or restart is None or confirmed is None:
            raise _lost(f"the server gave up the replication slot {self.name}: what it held back was too much for it")
        if confirmed > since:
            raise _lost(f"the replication slot {self.name} begins behind what was read of it, so it was made anew")
        if since > inserted:
            raise _lost("the server's history ends before what was read of it: it was restored, or is another one")
        return Look(flushed, now_us, published, restart)

    def peek(self, upto: int, closed: threading.Event) -> Generator[tuple[int, bytes], None, None]:
        """Messages of all transactions whose commit record starts below `upto`, which must be flushed, behind what was
        let go; in the order of their commits, each transaction whole. Memory is bounded by a message."""
        began = time.monotonic()
        first, rest = self._when_free(lambda: _begun(self._stream(_PEEK, upto)), closed)
        self.peek_s = time.monotonic() - began
        try:
            yield from first
            yield from rest
        finally:
            rest.close()  # what is still on its way is cancelled

    def beginnings(self, upto: int, closed: threading.Event) -> list[Begin]:
        """The same, of each transaction no more than that it is there."""
        first, rest = self._when_free(lambda: _begun(self._stream(_BEGINNINGS, upto)), closed)
        found = (parse(data) for _, data in itertools.chain(first, rest))
        return [begin for begin in found if isinstance(begin, Begin)]

    def _stream(self, statement: str, upto: int) -> Generator[tuple[int, bytes], None, None]:
        given = {"name": self.name, "upto": lsn_text(upto), "publication": f'"{self.name}"'}
        yield from self._peeking.cursor(binary=True).stream(statement.encode(), given)

    def advance(self, to: int, closed: threading.Event) -> None:
        """Let the server forget what lies below an LSN. Idempotent, and nothing happens if it has forgotten more."""
        given = {"name": self.name, "to": lsn_text(to)}
        self._when_free(lambda: self._asking.execute(_ADVANCE, given), closed)

    def mark(self) -> int:
        """An LSN between all commits that were acknowledged before the call and all that begin after it. Everything
        below it is flushed."""
        row = self._asking.execute("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint").fetchone()
        assert row is not None
        # A commit of our own that waits for the disk brings all below it there, so that a peek shows it: what does not
        # wait itself may be there a while later only, and what does may have written its commit and not shown it yet.
        with self._asking.transaction():
            self._asking.execute("SET LOCAL synchronous_commit = local")
            self._asking.execute("SELECT pg_logical_emit_message(true, 'tranship', '')")
        return int(row[0])

    def snapshot(self) -> Snapshot:
        """Which transactions are visible to a read that begins now."""
        row = self._asking.execute("SELECT pg_current_snapshot()::text").fetchone()
        assert row is not None
        _, upper, running = str(row[0]).split(":")
        return Snapshot(int(upper), frozenset(int(xid) for xid in running.split(",") if xid))

    def type_names(self, columns: Sequence[Attribute]) -> list[str]:
        """How the server writes the types of columns."""
        statement = (
            "SELECT format_type(t, m) FROM unnest(%s::oid[], %s::int[]) WITH ORDINALITY AS given(t, m, n) ORDER BY n"
        )
        types, modifiers = [column.type for column in columns], [column.modifier for column in columns]
        return [str(name) for (name,) in self._asking.execute(statement, (types, modifiers))]

    def _when_free(self, act: Callable[[], T], closed: threading.Event) -> T:
        """Do something with the slot once nobody else does."""
        deadline = time.monotonic() + BUSY_S
        while True:
            try:
                return act()
            except psycopg.errors.ObjectInUse:
                if closed.wait(_BUSY_PAUSE_S) or time.monotonic() > deadline:
                    raise TransientError(f"the replication slot {self.name} is in use by another session") from None


@dataclass(frozen=True)
class Snapshot:
    """`upper`: all transactions from this one on are invisible, of those below it the `running` ones. In 64 bits."""

    upper: int
    running: frozenset[int]

    def shows(self, xid: int) -> bool:
        """Whether a committed transaction, of which 32 bits are known, is visible."""
        whole = (self.upper & ~_XID) | xid
        if whole - self.upper > _HALF:
            whole -= _XID + 1
        elif self.upper - whole > _HALF:
            whole += _XID + 1
        return whole < self.upper and whole not in self.running


def _begun(rows: Generator[T, None, None]) -> tuple[list[T], Generator[T, None, None]]:
    """The first row, if there is one, and the rest. The server has gathered all by then, and let the slot go."""
    return list(itertools.islice(rows, 1)), rows


def _session(endpoint: Endpoint) -> psycopg.Connection[tuple[Any, ...]]:
    session = connect(endpoint, autocommit=True)
    try:
        session.execute(no_session_timeouts().encode())
    except BaseException:
        session.close()
        raise
    return session


def _lost(what: str) -> PositionLostError:
    return PositionLostError(f"{what}. {UNAVAILABLE}")
