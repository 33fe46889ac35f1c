"""Durable progress beside the data: chunks, lanes, the capture position, quarantine. Dirty keys are in `dirtykeys`.

Each writing call is one transaction that ends with the epoch check (`ControlSessions.write`). Locks are taken in the
order tables, counts of chunks, chunks, dirty entries, counts of lanes, lanes, position, epoch: as in `target`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from tranship.connectors.batch import Quarantined
from tranship.connectors.errors import ConnectorError, MarkMovedError, UnsettledError
from tranship.connectors.fit import Cell, Fit
from tranship.connectors.postgresql import ownership, routes, strangers
from tranship.connectors.postgresql.builds import builds
from tranship.connectors.postgresql.catalog import ddl
from tranship.connectors.postgresql.comparisons import Comparisons, Divergences
from tranship.connectors.postgresql.dirtykeys import DirtyKeys
from tranship.connectors.postgresql.fitsums import fit_of
from tranship.connectors.postgresql.layout import quote
from tranship.connectors.postgresql.routing import PostgresRecords, opened
from tranship.connectors.postgresql.sessions import ControlSessions
from tranship.connectors.postgresql.statetables import PREFIX, digest, state_tables
from tranship.connectors.postgresql.tables import LOCK_TIMEOUT, walk
from tranship.connectors.protocols import (
    Aside,
    Backlog,
    Build,
    Changes,
    Chunk,
    ChunkMark,
    Compared,
    DirtyKey,
    Key,
    LaneMark,
    Mismatch,
    Opening,
    Position,
    Scope,
    Span,
    Tally,
    Totals,
    TouchedKey,
    Unapplied,
)
from tranship.connectors.protocols.routing import moved
from tranship.plans.streams import Endpoint, Stream

Hook = Callable[[str], None]


class PostgresProgress:
    """`Progress`. Safe to use from several threads: each call takes a session from a pool."""

    def __init__(self, endpoint: Endpoint, streams: Sequence[Stream], hook: Hook) -> None:
        self._single_lane = frozenset(s.name for s in streams if s.unique)
        self._endpoint = endpoint
        self._schema = endpoint.schema
        self._tables = state_tables(endpoint.state_schema)
        self._sessions = ControlSessions(endpoint)
        self._records = PostgresRecords(endpoint)
        self._hook = hook

    def close(self) -> None:
        """End all sessions."""
        self._sessions.close()
        self._records.close()

    # --- capture ------------------------------------------------------------------------------------------------------

    def start_capture(self, scope: Scope, position: Position, lanes: int) -> Position:
        table, lane = self._tables.position, self._tables.lane
        place = _place(scope)
        with self._sessions.write(scope) as connection:
            # Only if absent: a second attempt, or a late one, must not move the position forward (I3).
            connection.execute(upsert(table).values(**place, token=position.token).on_conflict_do_nothing())
            if connection.execute(select(lane.c.lane).where(_of(lane, scope)).limit(1)).first() is None:
                connection.execute(insert(lane), [{**place, "lane": number, "seq": 0} for number in range(lanes)])
            token: bytes = connection.execute(select(table.c.token).where(_of(table, scope))).scalar_one()
        return Position(token)

    def keep(self, scope: Scope, changes: Changes) -> None:
        marker = self._tables.marker
        with self._sessions.write(scope) as connection:
            DirtyKeys(connection, self._tables, scope).bump(changes.keys, self._single_lane)
            if changes.markers:
                rows = [{**_place(scope), "name": name} for name in changes.markers]
                connection.execute(upsert(marker).on_conflict_do_nothing(), rows)
            self._hook("keep.before_position")
            now = func.clock_timestamp()
            kept = {"token": changes.position.token, "kept_at": now - timedelta(seconds=changes.behind_s)}
            if changes.keys:
                kept["changed_at"] = now
            self._move(connection, scope, kept)
            self._hook("keep.before_commit")
        self._hook("keep.after_commit")

    def position(self, scope: Scope) -> Position | None:
        table = self._tables.position
        with self._sessions.read() as connection:
            token = connection.execute(select(table.c.token).where(_of(table, scope))).scalar()
        return None if token is None else Position(token)

    def _move(self, connection: Connection, scope: Scope, kept: dict[str, Any]) -> None:
        position = self._tables.position
        if connection.execute(update(position).where(_of(position, scope)).values(**kept)).rowcount != 1:
            raise ConnectorError(f"run {scope.run}: capture has not started or was stopped")

    def restart_capture(self, scope: Scope, position: Position) -> None:
        now, marker = func.clock_timestamp(), self._tables.marker
        with self._sessions.write(scope) as connection:
            # On a source that was restored they are gone, and that is known by now.
            connection.execute(delete(marker).where(_of(marker, scope)))
            self._move(connection, scope, {"token": position.token, "kept_at": now, "changed_at": now})

    def marker_seen(self, scope: Scope, name: str) -> bool:
        table = self._tables.marker
        with self._sessions.read() as connection:
            found = connection.execute(select(table.c.name).where(_of(table, scope), table.c.name == name)).first()
        return found is not None

    def newest_marker(self, scope: Scope, owner: str) -> str | None:
        table = self._tables.marker
        own = select(table.c.name).where(_of(table, scope), func.starts_with(table.c.name, f"{owner}."))
        with self._sessions.read() as connection:
            name: str | None = connection.execute(own.order_by(table.c.kept_at.desc()).limit(1)).scalar()
        return name

    def stop_capture(self, scope: Scope) -> None:
        tables = self._tables
        with self._sessions.write(scope) as connection:
            for table in (tables.dirty, tables.touched, tables.lane, tables.marker, tables.position):
                connection.execute(delete(table).where(_of(table, scope)))

    # --- chunks -------------------------------------------------------------------------------------------------------

    def plan_chunks(self, scope: Scope, stream: Stream, spans: Sequence[Span]) -> None:
        chunk, attempt = self._tables.chunk, self._tables.attempt
        with self._sessions.write(scope) as connection:
            if connection.execute(select(chunk.c.number).where(_of(chunk, scope, stream)).limit(1)).first():
                return
            used = connection.execute(select(attempt.c.highest).where(_of(attempt, scope, stream))).scalar() or 0
            connection.execute(
                insert(chunk),
                [
                    {
                        **_place(scope, stream),
                        "number": number,
                        "lower": span.lower,
                        "upper": span.upper,
                        "state": "planned",
                        "attempt": used,
                    }
                    for number, span in enumerate(spans)
                ],
            )

    def totals(self, scope: Scope) -> dict[str, Totals]:
        chunk = self._tables.chunk
        loaded = chunk.c.state == "loaded"
        query = (
            select(
                chunk.c.stream,
                func.count(),
                func.count().filter(loaded),
                func.coalesce(func.sum(chunk.c.rows).filter(loaded), 0),
            )
            .where(_of(chunk, scope))
            .group_by(chunk.c.stream)
        )
        with self._sessions.read() as connection:
            return {row[0]: Totals(row[1], row[2], int(row[3])) for row in connection.execute(query)}

    def chunks(self, scope: Scope, stream: Stream) -> list[Chunk]:
        table = self._tables.chunk
        with self._sessions.read() as connection:
            rows = connection.execute(select(table).where(_of(table, scope, stream)).order_by(table.c.number)).all()
        return [_chunk(row) for row in rows]

    def begin_chunk(self, scope: Scope, chunk: Chunk) -> ChunkMark | None:
        table = self._tables.chunk
        mine = _of(table, scope) & (table.c.stream == chunk.stream) & (table.c.number == chunk.number)
        # Chunks may have been planned anew, with other spans under the same numbers.
        mine &= table.c.lower.is_not_distinct_from(chunk.span.lower)
        mine &= table.c.upper.is_not_distinct_from(chunk.span.upper)
        begin = (
            update(table)
            .where(mine, table.c.state != "loaded")
            .values(state="pending", attempt=table.c.attempt + 1)
            .returning(table.c.attempt)
        )
        with self._sessions.write(scope) as connection:
            attempt = connection.execute(begin).scalar()
            if attempt is None and connection.execute(select(table.c.number).where(mine)).first() is None:
                raise MarkMovedError(f"stream {chunk.stream}: chunk {chunk.number} is not planned any more")
        return None if attempt is None else ChunkMark(scope, chunk.stream, chunk.number, attempt)

    def forget_chunks(self, scope: Scope, streams: Sequence[Stream]) -> None:
        tables = self._tables
        names = [stream.name for stream in streams]
        with self._sessions.write(scope) as connection:
            connection.execute(text(LOCK_TIMEOUT))
            self._empty(connection, scope, streams)
            self._save_attempts(connection, scope, names)
            for table in (tables.fit, tables.chunk, tables.quarantine):
                connection.execute(delete(table).where(_of(table, scope), table.c.stream.in_(names)))
            # A batch that was read while the chunks were loaded must not put rows into the emptied tables (I2).
            seal = update(tables.lane).where(_of(tables.lane, scope)).values(seq=tables.lane.c.seq + 1)
            connection.execute(seal)

    def _empty(self, connection: Connection, scope: Scope, streams: Sequence[Stream]) -> None:
        """TRUNCATE those of the streams' tables that this run made and that are still there."""
        made = ownership.made(connection, self._tables, scope.run, "table")
        there = [made[table.name] for table, _ in walk(streams, self._schema) if table.name in made]
        if there:
            strangers.refuse_referring(connection, self._endpoint, streams)
            ddl(connection, routes.applying(scope.run))
            ddl(connection, f"TRUNCATE {', '.join(there)}")

    def _save_attempts(self, connection: Connection, scope: Scope, names: list[str]) -> None:
        """Keep the highest attempt of each stream: new chunks count on from there."""
        chunk, attempt = self._tables.chunk, self._tables.attempt
        highest = (
            select(chunk.c.run, chunk.c.feed, chunk.c.stream, func.max(chunk.c.attempt))
            .where(_of(chunk, scope), chunk.c.stream.in_(names))
            .group_by(chunk.c.run, chunk.c.feed, chunk.c.stream)
        )
        save = upsert(attempt).from_select(["run", "feed", "stream", "highest"], highest)
        connection.execute(
            save.on_conflict_do_update(
                index_elements=["run", "feed", "stream"],
                set_={"highest": func.greatest(attempt.c.highest, save.excluded.highest)},
            )
        )

    # --- dirty keys ---------------------------------------------------------------------------------------------------

    def take(self, scope: Scope, lane: int, limit: int) -> tuple[LaneMark, list[DirtyKey]]:
        table = self._tables.lane
        with self._sessions.read() as connection:
            # The mark first: a batch that another applier commits after this makes the mark too old, never the keys.
            mine = select(table.c.seq, table.c.sealed).where(_of(table, scope), table.c.lane == lane)
            mark = connection.execute(mine).first()
            if mark is None:
                raise ConnectorError(f"run {scope.run}: there is no lane {lane}")
            taken = [] if mark.sealed else DirtyKeys(connection, self._tables, scope).oldest(lane, limit)
            return LaneMark(scope, lane, mark.seq), taken

    def lane_marks(self, scope: Scope) -> list[LaneMark]:
        table = self._tables.lane
        with self._sessions.read() as connection:
            rows = connection.execute(select(table).where(_of(table, scope)).order_by(table.c.lane)).all()
        return [LaneMark(scope, row.lane, row.seq) for row in rows]

    @property
    def records(self) -> PostgresRecords:
        return self._records

    def seal(self, scope: Scope, most_divergences: int, opening: Opening | None = None) -> None:
        lane = self._tables.lane
        # The lanes first: what is about to commit is waited for and then seen, what comes later meets another mark.
        close = update(lane).where(_of(lane, scope), ~lane.c.sealed).values(seq=lane.c.seq + 1, sealed=True)
        with self._sessions.write(scope) as connection:
            if opening is not None:
                routes.lock(connection, self._tables, opening.id)
            connection.execute(close)
            self._refuse_unsettled(connection, scope, most_divergences)
            if opening is not None and not opened(connection, self._tables.route, opening):
                raise MarkMovedError(moved(opening))
            self._hook("seal.before_commit")
        self._hook("seal.after_commit")

    def unseal(self, scope: Scope) -> None:
        lane = self._tables.lane
        open_ = update(lane).where(_of(lane, scope), lane.c.sealed).values(seq=lane.c.seq + 1, sealed=False)
        with self._sessions.write(scope) as connection:
            connection.execute(open_)

    def _refuse_unsettled(self, connection: Connection, scope: Scope, most_divergences: int) -> None:
        keys = DirtyKeys(connection, self._tables, scope)
        dirty, unseen = keys.count(), keys.unseen()
        known = len(Divergences(connection, self._tables, scope).all())
        if dirty or unseen or known > most_divergences:
            raise UnsettledError(
                f"{dirty} changed keys are not applied, {unseen} that were applied are not compared, {known} are known "
                f"to differ, of which {most_divergences} may"
            )

    def backlog(self, scope: Scope) -> Backlog:
        with self._sessions.read() as connection:
            return DirtyKeys(connection, self._tables, scope).backlog()

    def unapplied(self, scope: Scope, most: int) -> list[Unapplied]:
        with self._sessions.read() as connection:
            return DirtyKeys(connection, self._tables, scope).unapplied(most)

    def mark_dirty(self, scope: Scope, keys: Sequence[tuple[str, Key]]) -> None:
        with self._sessions.write(scope) as connection:
            DirtyKeys(connection, self._tables, scope).bump(keys, self._single_lane)

    def parked(self, scope: Scope) -> dict[str, int]:
        with self._sessions.read() as connection:
            return DirtyKeys(connection, self._tables, scope).parked()

    def still_dirty(self, scope: Scope, stream: Stream, keys: Sequence[Key]) -> set[Key]:
        with self._sessions.read() as connection:
            return DirtyKeys(connection, self._tables, scope).still_dirty(stream, keys)

    def forget_touched(self, scope: Scope) -> None:
        table = self._tables.touched
        # Locked first, in the order of all who write here: so what is forgotten is also committed.
        order = (table.c.stream, table.c.digest)
        entries = select(table.c.digest).where(_of(table, scope)).order_by(*order).with_for_update().subquery()
        with self._sessions.write(scope) as connection:
            connection.execute(select(func.count()).select_from(entries))
            connection.execute(delete(table).where(_of(table, scope)))

    def touched(self, scope: Scope, stream: Stream, after: Key | None, limit: int) -> list[TouchedKey]:
        with self._sessions.read() as connection:
            return DirtyKeys(connection, self._tables, scope).touched(stream, after, limit)

    def forget_equal(self, scope: Scope, stream: Stream, keys: Sequence[TouchedKey]) -> int:
        with self._sessions.write(scope) as connection:
            return DirtyKeys(connection, self._tables, scope).forget_equal(stream, keys)

    # --- what reconcile found ---------------------------------------------------------------------------------------

    def note_divergences(self, scope: Scope, found: Sequence[Mismatch], equal: Sequence[Mismatch]) -> None:
        with self._sessions.write(scope) as connection:
            Divergences(connection, self._tables, scope).note(found, equal)

    def divergences(self, scope: Scope) -> list[Mismatch]:
        with self._sessions.read() as connection:
            return Divergences(connection, self._tables, scope).all()

    def note_comparison(
        self, scope: Scope, streams: Mapping[str, Tally], moving: int, filled: Mapping[str, Mapping[Cell, int]]
    ) -> None:
        with self._sessions.write(scope) as connection:
            Comparisons(connection, self._tables, scope).note(streams, moving, filled)

    def comparison(self, scope: Scope) -> Compared | None:
        with self._sessions.read() as connection:
            return Comparisons(connection, self._tables, scope).newest()

    def fit(self, scope: Scope) -> dict[str, Fit]:
        with self._sessions.read() as connection:
            return fit_of(connection, self._tables, scope)

    def building(self, streams: Sequence[Stream]) -> list[Build]:
        names = [quote(table.schema) + "." + quote(table.table) for table, _ in walk(streams, self._schema)]
        with self._sessions.read() as connection:
            return builds(connection, names)

    # --- quarantine ---------------------------------------------------------------------------------------------------

    def quarantine(self, scope: Scope, stream: Stream, after: Key | None, limit: int) -> list[Aside]:
        table = self._tables.quarantine
        place = func.substr(table.c.key, 1, PREFIX)
        size = func.octet_length(table.c.document).label("size")
        query = select(table.c.key, table.c.path, table.c.reason, size).where(_of(table, scope, stream))
        if after is not None:
            query = query.where(place >= after[:PREFIX], table.c.key > after)
        with self._sessions.read() as connection:
            rows = connection.execute(query.order_by(place, table.c.key).limit(limit)).all()
        return [Aside(*row) for row in rows]

    def quarantined(self, scope: Scope, stream: Stream, key: Key) -> Quarantined | None:
        table = self._tables.quarantine
        columns = (table.c.key, table.c.path, table.c.reason, table.c.document)
        query = select(*columns).where(_of(table, scope, stream), table.c.digest == digest(key))
        with self._sessions.read() as connection:
            row = connection.execute(query).first()
        return None if row is None else Quarantined(*row)

    def quarantine_count(self, scope: Scope) -> dict[str, int]:
        table = self._tables.quarantine
        query = select(table.c.stream, func.count().label("entries")).where(_of(table, scope)).group_by(table.c.stream)
        with self._sessions.read() as connection:
            return {row.stream: row.entries for row in connection.execute(query)}


def _place(scope: Scope, stream: Stream | None = None) -> dict[str, Any]:
    place: dict[str, Any] = {"run": scope.run, "feed": scope.feed}
    return place if stream is None else {**place, "stream": stream.name}


def _of(table: Any, scope: Scope, stream: Stream | None = None) -> Any:
    """The condition that a row belongs to the scope's feed (and to the stream)."""
    mine = (table.c.run == scope.run) & (table.c.feed == scope.feed)
    return mine if stream is None else mine & (table.c.stream == stream.name)


def _chunk(row: Row[Any]) -> Chunk:
    return Chunk(row.stream, row.number, Span(row.lower, row.upper), row.state, row.attempt, row.rows, row.quarantined)
