"""Dirty keys: changed keys that wait to be applied, and touched ones that were.

A key's lane is the first byte of its digest modulo the number of lanes, but for streams with unique columns. Entries
are locked in the order of stream and digest everywhere, so that capture and the appliers cannot deadlock.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any
from zlib import crc32

from sqlalchemy import ColumnElement, Connection, LargeBinary, Table, and_, bindparam, false, func, or_, select, text
from sqlalchemy.dialects.postgresql import ARRAY

from tranship.connectors.errors import ConnectorError
from tranship.connectors.postgresql.statetables import StateTables, digest, in_text
from tranship.connectors.protocols import MOST_COUNTED, Backlog, DirtyKey, Key, Scope, TouchedKey, Unapplied
from tranship.plans.streams import Stream

PARKED = timedelta(seconds=10)
"""After how long a key whose row was held is tried again: nobody says when it is let go."""


class DirtyKeys:
    """The dirty and touched keys of one feed, inside of the caller's transaction."""

    def __init__(self, connection: Connection, tables: StateTables, scope: Scope) -> None:
        self._connection = connection
        self._tables = tables
        self._scope = scope

    def bump(self, keys: Sequence[tuple[str, Key]], single_lane: Collection[str]) -> None:
        """Insert entries, or count up the generation of those that are there: one statement for all.

        The streams in `single_lane` have unique columns, and values move between their rows. All keys of such a stream
        share a lane: there the row that gives a value up comes before the one that takes it, being older, or with it;
        in several lanes each move would be a conflict, or a deadlock of two lanes.
        """
        if not keys:
            return
        lanes = self._connection.execute(select(func.count()).where(self._mine(self._tables.lane))).scalar_one()
        if lanes == 0:
            raise ConnectorError(f"run {self._scope.run}: capture has not started or was stopped")
        statement = text(
            f"INSERT INTO {in_text(self._tables.dirty)} AS d (run, feed, stream, digest, key, lane, generation) "
            "SELECT :run, :feed, g.stream, g.digest, g.key, g.number % :lanes, 1 "
            "FROM unnest(CAST(:streams AS text[]), CAST(:digests AS bytea[]), CAST(:keys AS bytea[]), "
            "CAST(:numbers AS int8[])) AS g(stream, digest, key, number) "
            "ON CONFLICT (run, feed, stream, digest) DO UPDATE SET generation = d.generation + 1, "
            "first_seen = CASE WHEN d.parked IS NULL THEN d.first_seen ELSE excluded.first_seen END, "
            "parked = NULL, parked_at = NULL"
        )
        entries = sorted({(stream, digest(key), key) for stream, key in keys})
        streams, digests, plain = zip(*entries, strict=True)
        numbers = [crc32(stream.encode()) if stream in single_lane else digest_[0] for stream, digest_, _ in entries]
        values = {"streams": list(streams), "digests": list(digests), "keys": list(plain), "numbers": numbers}
        place = {"run": self._scope.run, "feed": self._scope.feed, "lanes": lanes}
        self._connection.execute(statement, {**place, **values})

    def oldest(self, lane: int, limit: int) -> list[DirtyKey]:
        """Up to `limit` entries of one stream, of those whose chunk is loaded: the oldest's stream, oldest first."""
        dirty = self._tables.dirty
        due = or_(dirty.c.parked.is_(None), dirty.c.parked_at < func.clock_timestamp() - PARKED)
        ready = and_(self._mine(dirty), dirty.c.lane == lane, self._loaded(), due)
        order = (dirty.c.first_seen, dirty.c.stream, dirty.c.digest)
        first = select(dirty.c.stream).where(ready).order_by(*order).limit(1)
        stream = self._connection.execute(first).scalar()
        if stream is None:
            return []
        query = (
            select(dirty.c.key, dirty.c.generation).where(ready, dirty.c.stream == stream).order_by(*order).limit(limit)
        )
        return [DirtyKey(stream, row.key, row.generation) for row in self._connection.execute(query)]

    def _loaded(self) -> ColumnElement[bool]:
        """The condition that an entry's key lies in a loaded chunk.

        Neighbouring loaded chunks are put together: while a load goes on there are about as many ranges as workers, not
        as many as chunks; afterwards it is one, without bounds, per stream.
        """
        dirty = self._tables.dirty
        name = in_text(self._tables.chunk)
        # Streams one by one, by their chunks' index; of one that is loaded as a whole no chunk is looked at.
        query = text(
            f"WITH RECURSIVE streams AS ((SELECT stream FROM {name} WHERE run = :run AND feed = :feed "
            "ORDER BY stream LIMIT 1) UNION ALL SELECT (SELECT c.stream FROM "
            f"{name} AS c WHERE c.run = :run AND c.feed = :feed AND c.stream > s.stream ORDER BY c.stream LIMIT 1) "
            "FROM streams AS s WHERE s.stream IS NOT NULL), "
            f"part AS (SELECT s.stream, EXISTS (SELECT FROM {name} AS c WHERE c.run = :run AND c.feed = :feed "
            "AND c.stream = s.stream AND c.state <> 'loaded') AS partly FROM streams AS s WHERE s.stream IS NOT NULL), "
            "islands AS (SELECT stream, min(number) AS first, max(number) AS last FROM "
            "(SELECT stream, number, number - row_number() OVER (PARTITION BY stream ORDER BY number) AS island "
            f"FROM {name} WHERE run = :run AND feed = :feed AND state = 'loaded' "
            "AND stream = ANY(ARRAY(SELECT stream FROM part WHERE partly))) AS loaded GROUP BY stream, island) "
            "SELECT stream, CAST(NULL AS bytea) AS lower, CAST(NULL AS bytea) AS upper FROM part WHERE NOT partly "
            f"UNION ALL SELECT i.stream, f.lower, l.upper FROM islands AS i JOIN {name} AS f ON f.run = :run "
            "AND f.feed = :feed AND f.stream = i.stream AND f.number = i.first "
            f"JOIN {name} AS l ON l.run = :run AND l.feed = :feed AND l.stream = i.stream AND l.number = i.last"
        )
        conditions = []
        for row in self._connection.execute(query, {"run": self._scope.run, "feed": self._scope.feed}):
            bounds = [dirty.c.stream == row.stream]
            if row.lower is not None:
                bounds.append(dirty.c.key >= row.lower)
            if row.upper is not None:
                bounds.append(dirty.c.key < row.upper)
            conditions.append(and_(*bounds))
        return or_(false(), *conditions)

    def backlog(self) -> Backlog:
        """Counts and ages by the database's clock. All ages are 0 while nothing is captured."""
        dirty, position, lane = self._tables.dirty, self._tables.position, self._tables.lane
        waits = and_(self._mine(dirty), dirty.c.parked.is_(None))
        some = select(dirty.c.lane).where(waits).limit(MOST_COUNTED).subquery()
        # The oldest of each lane by the index that the lanes are served by.
        of_lane = select(func.min(dirty.c.first_seen)).where(waits, dirty.c.lane == lane.c.lane).scalar_subquery()
        ages_of_lanes = select(of_lane.label("first_seen")).where(self._mine(lane)).subquery()
        waiting = self._connection.execute(
            select(
                select(func.count()).select_from(some).scalar_subquery(),
                select(_age(func.min(ages_of_lanes.c.first_seen))).scalar_subquery(),
            )
        ).one()
        kept = self._connection.execute(
            select(_age(position.c.kept_at), _age(position.c.changed_at)).where(self._mine(position))
        ).first()
        ages = (waiting[1], *(kept or (0, 0)))
        # A row that was written by a statement after this one's clock was read is not younger than now.
        oldest, capture, quiet = (max(float(age or 0), 0.0) for age in ages)
        return Backlog(waiting[0], oldest_s=oldest, capture_age_s=capture, quiet_s=quiet)

    def unapplied(self, most: int) -> list[Unapplied]:
        """Those that wait longest, oldest first."""
        dirty = self._tables.dirty
        since = func.extract("epoch", dirty.c.first_seen).label("since")
        query = select(dirty.c.stream, dirty.c.key, since).where(self._mine(dirty))
        found = self._connection.execute(query.order_by(dirty.c.first_seen, dirty.c.stream, dirty.c.key).limit(most))
        return [Unapplied(row.stream, bytes(row.key), float(row.since)) for row in found]

    def parked(self) -> dict[str, int]:
        """How many entries wait for rows of which table."""
        dirty = self._tables.dirty
        query = select(dirty.c.parked, func.count()).where(self._mine(dirty), dirty.c.parked.is_not(None))
        return {
            row[0]: row[1] for row in self._connection.execute(query.group_by(dirty.c.parked).order_by(dirty.c.parked))
        }

    def still_dirty(self, stream: Stream, keys: Sequence[Key]) -> set[Key]:
        """Which of the keys have an entry."""
        dirty = self._tables.dirty
        wanted = bindparam("digests", [digest(key) for key in keys], type_=ARRAY(LargeBinary))
        query = select(dirty.c.key).where(
            self._mine(dirty), dirty.c.stream == stream.name, dirty.c.digest == func.any(wanted)
        )
        return set(self._connection.execute(query).scalars())

    def touched(self, stream: Stream, after: Key | None, limit: int) -> list[TouchedKey]:
        """One page of the keys that were applied, ordered by digest."""
        table = self._tables.touched
        mine = and_(self._mine(table), table.c.stream == stream.name)
        if after is not None:
            mine = and_(mine, table.c.digest > digest(after))
        query = select(table.c.key, table.c.touch).where(mine).order_by(table.c.digest).limit(limit)
        return [TouchedKey(row.key, row.touch) for row in self._connection.execute(query)]

    def count(self) -> int:
        """All dirty entries, parked ones too."""
        dirty = self._tables.dirty
        found = select(func.count()).select_from(dirty).where(self._mine(dirty))
        return int(self._connection.execute(found).scalar_one())

    def unseen(self) -> int:
        """Touched keys that are not on record as different: nobody knows what they are."""
        touched, known = self._tables.touched, self._tables.divergence
        same = and_(known.c.stream == touched.c.stream, known.c.digest == touched.c.digest)
        recorded = select(known.c.key).where(self._mine(known), same).exists()
        found = select(func.count()).select_from(touched).where(self._mine(touched), ~recorded)
        return int(self._connection.execute(found).scalar_one())

    def forget_equal(self, stream: Stream, keys: Sequence[TouchedKey]) -> int:
        """Remove entries that still say the same; locked in the order of all who write here."""
        name = in_text(self._tables.touched)
        entries = sorted((digest(one.key), one.touch) for one in keys)
        statement = text(
            f"WITH noted AS (SELECT t.ctid FROM {name} AS t "
            "JOIN unnest(CAST(:digests AS bytea[]), CAST(:touches AS int8[])) AS g(digest, touch) "
            "ON t.digest = g.digest AND t.touch = g.touch "
            "WHERE t.run = :run AND t.feed = :feed AND t.stream = :stream "
            f"ORDER BY t.digest FOR UPDATE OF t) DELETE FROM {name} AS t USING noted WHERE t.ctid = noted.ctid"
        )
        values = {"digests": [entry[0] for entry in entries], "touches": [entry[1] for entry in entries]}
        place = {"run": self._scope.run, "feed": self._scope.feed, "stream": stream.name}
        return self._connection.execute(statement, {**place, **values}).rowcount

    def _mine(self, table: Table) -> ColumnElement[bool]:
        return and_(table.c.run == self._scope.run, table.c.feed == self._scope.feed)


def _age(moment: ColumnElement[Any]) -> ColumnElement[Any]:
    """Seconds since then."""
    return func.extract("epoch", func.clock_timestamp() - moment)
