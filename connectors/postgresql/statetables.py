"""The connector's control tables in the state schema.

They stand beside the data in one database, so that progress commits with the rows it is about. Keys can be longer than
a btree entry may be; primary keys hold their SHA-256 instead.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    and_,
    false,
    func,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, OID

from tranship.connectors.postgresql.layout import quote
from tranship.connectors.protocols import Key, Scope
from tranship.plans.streams import Stream

PREFIX = 64
"""Bytes of a key that the index over quarantine entries holds."""


def digest(key: Key) -> bytes:
    """What stands for a key in primary keys."""
    return hashlib.sha256(key).digest()


@dataclass(frozen=True)
class StateTables:
    """The control tables of one state schema."""

    metadata: MetaData
    version: Table
    epoch: Table
    backend: Table
    owned: Table
    chunk: Table
    attempt: Table
    lane: Table
    position: Table
    marker: Table
    route: Table
    router: Table
    dirty: Table
    touched: Table
    divergence: Table
    comparison: Table
    fit: Table
    note: Table
    quarantine: Table


def _key(name: str, kind: type[Text | BigInteger | Integer | LargeBinary]) -> Column[object]:
    return Column(name, kind, primary_key=True, autoincrement=False)


def _feed() -> list[Column[object]]:
    return [_key("run", Text), _key("feed", Text)]


def _stream_key() -> list[Column[object]]:
    """Primary key of what is kept per source key: the digest stands for the key."""
    return [*_feed(), _key("stream", Text), _key("digest", LargeBinary), Column("key", LargeBinary, nullable=False)]


def _clock(name: str) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp())


@functools.cache
def state_tables(schema: str) -> StateTables:
    """Describe the control tables of a state schema."""
    metadata = MetaData(schema=schema)
    version = Table("version", metadata, _key("number", Integer), Column("made_schema", Boolean, nullable=False))
    epoch = Table("epoch", metadata, _key("run", Text), Column("epoch", BigInteger, nullable=False))
    backend = Table(
        "backend",
        metadata,
        _key("run", Text),
        _key("epoch", BigInteger),
        _key("pid", Integer),
        Column("name", Text, nullable=False),
        Column("started", DateTime(timezone=True), nullable=False),
    )
    owned = Table("owned", metadata, _key("run", Text), _key("kind", Text), _key("name", Text), Column("oid", OID))
    chunk = Table(
        "chunk",
        metadata,
        *_feed(),
        _key("stream", Text),
        _key("number", Integer),
        Column("lower", LargeBinary),
        Column("upper", LargeBinary),
        Column("state", Text, nullable=False, server_default="planned"),
        Column("attempt", Integer, nullable=False),
        Column("rows", BigInteger, nullable=False, server_default="0"),
        Column("quarantined", BigInteger, nullable=False, server_default="0"),
    )
    Index("chunk_waiting", chunk.c.run, chunk.c.feed, chunk.c.stream, postgresql_where=chunk.c.state != "loaded")
    # The highest attempt number ever used for a stream's chunks: outlives them, so that none is used twice (I1).
    attempt = Table("attempt", metadata, *_feed(), _key("stream", Text), Column("highest", Integer, nullable=False))
    lane = Table(
        "lane",
        metadata,
        *_feed(),
        _key("lane", Integer),
        Column("seq", BigInteger, nullable=False),
        Column("sealed", Boolean, nullable=False, server_default=false()),
    )
    position = Table(
        "position",
        metadata,
        *_feed(),
        Column("token", LargeBinary, nullable=False),
        _clock("kept_at"),
        _clock("changed_at"),
    )
    marker = Table("marker", metadata, *_feed(), _key("name", Text), _clock("kept_at"))
    # Where applications write, as far as this side is concerned (`rules.md` J).
    route = Table(
        "route",
        metadata,
        _key("id", Text),
        Column("run", Text, nullable=False),
        Column("target", Text, nullable=False),
        Column("state_schema", Text, nullable=False),
        Column("state", Text, nullable=False),
        Column("version", BigInteger, nullable=False),
        Column("deadline", DateTime(timezone=True)),
        Column("plan", Text, nullable=False, server_default=""),
        _clock("begun"),
        # How often routers are to look at it; NULL: as often as they do by themselves.
        Column("poll_ms", Integer),
    )
    # Processes of applications that write by the records, as they say themselves (`connectors.postgresql.routes`).
    router = Table(
        "router",
        metadata,
        _key("plan", Text),
        _key("instance", Text),
        Column("until", DateTime(timezone=True), nullable=False),
        Column("acknowledged_run", Text),
        Column("acknowledged_version", BigInteger),
    )
    dirty = Table(
        "dirty",
        metadata,
        *_stream_key(),
        Column("lane", SmallInteger, nullable=False),
        Column("generation", BigInteger, nullable=False),
        _clock("first_seen"),
        # The table whose foreign key holds the key's row, and when that was found.
        Column("parked", Text),
        Column("parked_at", DateTime(timezone=True)),
    )
    # Not over `generation`: a bump stays a heap-only update.
    Index("dirty_oldest", dirty.c.run, dirty.c.feed, dirty.c.lane, dirty.c.first_seen)
    Index("dirty_parked", dirty.c.run, dirty.c.feed, dirty.c.parked, postgresql_where=dirty.c.parked.is_not(None))
    # `touch` is the transaction that applied the key last: unlike a count, it never comes again.
    touched = Table("touched", metadata, *_stream_key(), Column("touch", BigInteger, nullable=False))
    # `noted` is the transaction that put it on record last: unlike a count, it never comes again.
    divergence = Table(
        "divergence",
        metadata,
        *_stream_key(),
        Column("noted", BigInteger, nullable=False),
        Column("kind", Text, nullable=False),
        Column("columns", ARRAY(Text), nullable=False),
    )
    comparison = Table(
        "comparison",
        metadata,
        *_feed(),
        _clock("at"),
        Column("streams", JSONB, nullable=False),
        Column("moving", BigInteger, nullable=False),
        Column("filled", JSONB, nullable=False),
    )
    # `part`: one of a few places for what chunks loaded, -1 - the lane's number for what was replaced.
    # `effect` and `reason` of notes at a `place` of the plan; or FILLED, and a column of the table `place`.
    fit = Table(
        "fit",
        metadata,
        *_feed(),
        _key("stream", Text),
        _key("part", Integer),
        _key("effect", Text),
        _key("place", Text),
        _key("reason", Text),
        Column("count", BigInteger, nullable=False),
    )
    # The notes of a key, of a ledger whose target is elsewhere: [place, reason, effect, count] of each kind.
    note = Table("note", metadata, *_stream_key(), Column("kinds", JSONB, nullable=False))
    quarantine = Table(
        "quarantine",
        metadata,
        *_stream_key(),
        Column("path", Text, nullable=False),
        Column("reason", Text, nullable=False),
        Column("document", LargeBinary, nullable=False),
        _clock("at"),
    )
    # For reading in key order. Of long keys only the beginning fits into an index entry; keys sort like it.
    Index(
        "quarantine_place",
        quarantine.c.run,
        quarantine.c.feed,
        quarantine.c.stream,
        func.substr(quarantine.c.key, 1, PREFIX),
    )
    return StateTables(
        metadata,
        version,
        epoch,
        backend,
        owned,
        chunk,
        attempt,
        lane,
        position,
        marker,
        route,
        router,
        dirty,
        touched,
        divergence,
        comparison,
        fit,
        note,
        quarantine,
    )


def place(scope: Scope, stream: Stream | None = None) -> dict[str, Any]:
    """The columns that say which feed (and stream) a row belongs to."""
    found: dict[str, Any] = {"run": scope.run, "feed": scope.feed}
    return found if stream is None else {**found, "stream": stream.name}


def of(table: Table, scope: Scope, stream: Stream | None = None) -> ColumnElement[bool]:
    """The condition that a row belongs to the scope's feed (and to the stream)."""
    mine = and_(table.c.run == scope.run, table.c.feed == scope.feed)
    return mine if stream is None else and_(mine, table.c.stream == stream.name)


def quoted(table: Table) -> str:
    """A control table's quoted name."""
    return f"{quote(table.schema or '')}.{quote(table.name)}"


def in_text(table: Table) -> str:
    """The same inside of `text()`, which reads colons as parameters."""
    return quoted(table).replace(":", "\\:")
