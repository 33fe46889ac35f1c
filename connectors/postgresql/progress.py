"""Durable progress beside the data: which transaction does what. The tables' own modules know how.

Each writing call is one transaction that ends with the epoch check (`ControlSessions.write`). Locks are taken in the
order tables, counts of chunks, chunks, dirty entries, counts of lanes, lanes, position, epoch: as in `target`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sqlalchemy import Connection, delete, func, select

from tranship.connectors.batch import Quarantined
from tranship.connectors.errors import MarkMovedError, UnsettledError
from tranship.connectors.fit import Cell, Fit
from tranship.connectors.postgresql import emptying, routes
from tranship.connectors.postgresql.builds import builds
from tranship.connectors.postgresql.capturing import Captured
from tranship.connectors.postgresql.chunks import Chunks
from tranship.connectors.postgresql.comparisons import Comparisons, Divergences
from tranship.connectors.postgresql.dirtykeys import DirtyKeys
from tranship.connectors.postgresql.fitsums import fit_of
from tranship.connectors.postgresql.lanes import Lanes
from tranship.connectors.postgresql.layout import quote
from tranship.connectors.postgresql.quarantine import Quarantine
from tranship.connectors.postgresql.routing import PostgresRecords, opened
from tranship.connectors.postgresql.sessions import ControlSessions
from tranship.connectors.postgresql.statetables import of, state_tables
from tranship.connectors.postgresql.tables import walk
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
        with self._sessions.write(scope) as connection:
            durable = Captured(connection, self._tables, scope).start(position)
            Lanes(connection, self._tables, scope).make(lanes)
        return durable

    def keep(self, scope: Scope, changes: Changes) -> None:
        with self._sessions.write(scope) as connection:
            captured = Captured(connection, self._tables, scope)
            DirtyKeys(connection, self._tables, scope).bump(changes.keys, self._single_lane)
            captured.note_markers(changes.markers)
            self._hook("keep.before_position")
            captured.move(changes)
            self._hook("keep.before_commit")
        self._hook("keep.after_commit")

    def position(self, scope: Scope) -> Position | None:
        with self._sessions.read() as connection:
            return Captured(connection, self._tables, scope).position()

    def restart_capture(self, scope: Scope, position: Position) -> None:
        with self._sessions.write(scope) as connection:
            Captured(connection, self._tables, scope).restart(position)

    def marker_seen(self, scope: Scope, name: str) -> bool:
        with self._sessions.read() as connection:
            return Captured(connection, self._tables, scope).marker_seen(name)

    def newest_marker(self, scope: Scope, owner: str) -> str | None:
        with self._sessions.read() as connection:
            return Captured(connection, self._tables, scope).newest_marker(owner)

    def stop_capture(self, scope: Scope) -> None:
        tables = self._tables
        with self._sessions.write(scope) as connection:
            for table in (tables.dirty, tables.touched, tables.lane, tables.marker, tables.position):
                connection.execute(delete(table).where(of(table, scope)))

    # --- chunks -------------------------------------------------------------------------------------------------------

    def plan_chunks(self, scope: Scope, stream: Stream, spans: Sequence[Span]) -> None:
        with self._sessions.write(scope) as connection:
            Chunks(connection, self._tables, scope).plan(stream, spans)

    def totals(self, scope: Scope) -> dict[str, Totals]:
        with self._sessions.read() as connection:
            return Chunks(connection, self._tables, scope).totals()

    def chunks(self, scope: Scope, stream: Stream) -> list[Chunk]:
        with self._sessions.read() as connection:
            return Chunks(connection, self._tables, scope).all_of(stream)

    def begin_chunk(self, scope: Scope, chunk: Chunk) -> ChunkMark | None:
        with self._sessions.write(scope) as connection:
            return Chunks(connection, self._tables, scope).begin(chunk)

    def forget_chunks(self, scope: Scope, streams: Sequence[Stream]) -> None:
        with self._sessions.write(scope) as connection:
            emptying.empty(connection, self._endpoint, self._tables, scope, streams)

    def building(self, streams: Sequence[Stream]) -> list[Build]:
        tables = walk(streams, self._endpoint.schema)
        with self._sessions.read() as connection:
            return builds(connection, [quote(table.schema) + "." + quote(table.table) for table, _ in tables])

    # --- lanes and dirty keys -----------------------------------------------------------------------------------------

    def take(self, scope: Scope, lane: int, limit: int) -> tuple[LaneMark, list[DirtyKey]]:
        with self._sessions.read() as connection:
            # The mark first: a batch that another applier commits after this makes the mark too old, never the keys.
            mark, sealed = Lanes(connection, self._tables, scope).mark(lane)
            return mark, [] if sealed else DirtyKeys(connection, self._tables, scope).oldest(lane, limit)

    def lane_marks(self, scope: Scope) -> list[LaneMark]:
        with self._sessions.read() as connection:
            return Lanes(connection, self._tables, scope).marks()

    @property
    def records(self) -> PostgresRecords:
        return self._records

    def seal(self, scope: Scope, most_divergences: int, opening: Opening | None = None) -> None:
        with self._sessions.write(scope) as connection:
            if opening is not None:
                routes.lock(connection, self._tables, opening.id)
            # The lanes first: what is about to commit is waited for and then seen, what comes later meets another mark.
            Lanes(connection, self._tables, scope).seal()
            self._refuse_unsettled(connection, scope, most_divergences)
            if opening is not None and not opened(connection, self._tables.route, opening):
                raise MarkMovedError(moved(opening))
            self._hook("seal.before_commit")
        self._hook("seal.after_commit")

    def unseal(self, scope: Scope) -> None:
        with self._sessions.write(scope) as connection:
            Lanes(connection, self._tables, scope).unseal()

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
        entries = select(table.c.digest).where(of(table, scope)).order_by(*order).with_for_update().subquery()
        with self._sessions.write(scope) as connection:
            connection.execute(select(func.count()).select_from(entries))
            connection.execute(delete(table).where(of(table, scope)))

    def touched(self, scope: Scope, stream: Stream, after: Key | None, limit: int) -> list[TouchedKey]:
        with self._sessions.read() as connection:
            return DirtyKeys(connection, self._tables, scope).touched(stream, after, limit)

    def forget_equal(self, scope: Scope, stream: Stream, keys: Sequence[TouchedKey]) -> int:
        with self._sessions.write(scope) as connection:
            return DirtyKeys(connection, self._tables, scope).forget_equal(stream, keys)

    # --- what reconcile found -----------------------------------------------------------------------------------------

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

    # --- quarantine ---------------------------------------------------------------------------------------------------

    def quarantine(self, scope: Scope, stream: Stream, after: Key | None, limit: int) -> list[Aside]:
        with self._sessions.read() as connection:
            return Quarantine(connection, self._tables, scope).page(stream, after, limit)

    def quarantined(self, scope: Scope, stream: Stream, key: Key) -> Quarantined | None:
        with self._sessions.read() as connection:
            return Quarantine(connection, self._tables, scope).entry(stream, key)

    def quarantine_count(self, scope: Scope) -> dict[str, int]:
        with self._sessions.read() as connection:
            return Quarantine(connection, self._tables, scope).counts()
