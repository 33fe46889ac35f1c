"""The ledger: progress that stands alone, for a target that keeps its own marks and is elsewhere.

It keeps the notes of each key, because the rows that a repeated batch finds are its own already: what they say of the
notes before it would be what it is about to write. Counts are made of them as with rows that are beside.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tranship.connectors.batch import Batch, Quarantined
from tranship.connectors.counting import Counted
from tranship.connectors.fit import Notes, noted
from tranship.connectors.postgresql import emptying
from tranship.connectors.postgresql.aside import Entries
from tranship.connectors.postgresql.datasessions import DataSession
from tranship.connectors.postgresql.heldnotes import HeldNotes
from tranship.connectors.postgresql.lanes import Lanes
from tranship.connectors.postgresql.marks import Marks
from tranship.connectors.postgresql.progress import Hook, PostgresProgress
from tranship.connectors.postgresql.settlement import Settlement
from tranship.connectors.protocols import Build, ChunkMark, DirtyKey, Key, LaneMark, Loaded, Scope, Span
from tranship.plans.streams import Endpoint, Stream


class PostgresLedger(PostgresProgress):
    """`Ledger`. What settles and reads entries belongs to one thread: it has a session of the data plane, opened when
    it is first needed. All else is safe from several threads, as in `PostgresProgress`."""

    def __init__(self, endpoint: Endpoint, streams: Sequence[Stream], hook: Hook) -> None:
        super().__init__(endpoint, streams, hook)
        self._data: DataSession | None = None
        self._data_scope: Scope | None = None

    def close(self) -> None:
        """End all sessions."""
        super().close()
        if self._data is not None:
            self._data.close()

    def adopt(self, scope: Scope, marks: Sequence[LaneMark]) -> None:
        with self._sessions.write(scope) as connection:
            Lanes(connection, self._tables, scope).catch_up(marks)

    def settle_chunk(self, stream: Stream, mark: ChunkMark, loaded: Loaded, counted: Counted) -> None:
        session, scope = self._session(mark.scope), mark.scope
        kept, marks = Settlement(session, self._schema, scope), Marks(session, self._schema, _no_hook)
        with marks.chunk(mark):
            kept.keep_aside(stream, counted.quarantined)
            HeldNotes(session, self._schema, scope).keep(stream, counted.notes)
            kept.count(mark, noted(counted.notes, counted.notes), counted.values)
            marks.end_chunk(mark, loaded.rows, loaded.quarantined)

    def settle(
        self,
        stream: Stream,
        dirty: Sequence[DirtyKey],
        batch: Batch,
        marks: Sequence[LaneMark],
        *,
        before: Notes,  # noqa: ARG002  it knows the notes of each key
        held: Mapping[Key, str],
    ) -> int:
        scope = marks[0].scope
        session = self._session(scope)
        notes = HeldNotes(session, self._schema, scope)
        with session.write():
            # Notes first, as quarantine: capture waits for dirty entries, so these are locked later and for less long.
            known = notes.take_out(stream, [entry.key for entry in dirty if entry.key not in held])
            notes.keep(stream, {key: batch.notes.get(key, ()) for key in batch.keys if key not in held})
            kept = Settlement(session, self._schema, scope)
            removed = kept.settle(stream, dirty, batch, marks[0], before=known, held=held)
            Marks(session, self._schema, _no_hook).end_batch(marks)
        return removed

    def entries(self, scope: Scope, stream: Stream, span: Span) -> Iterator[Quarantined]:
        for page in Entries(self._session(scope), self._schema, scope).within(stream, span):
            yield from page

    def entries_of(self, scope: Scope, stream: Stream, keys: Sequence[Key]) -> list[Quarantined]:
        session = self._session(scope)
        with session.read():
            return list(Entries(session, self._schema, scope).among(stream, keys))

    # --- what concerns rows is elsewhere ------------------------------------------------------------------------------

    def forget_chunks(self, scope: Scope, streams: Sequence[Stream]) -> None:
        # No table is emptied: those that the run has made here, if any, are the other side's of its feed.
        with self._sessions.write(scope) as connection:
            emptying.forget(connection, self._tables, scope, streams)

    def building(self, streams: Sequence[Stream]) -> list[Build]:  # noqa: ARG002
        return []

    @property
    def _schema(self) -> str:
        return self._endpoint.state_schema

    def _session(self, scope: Scope) -> DataSession:
        """The data plane's session; another one once the scope is another."""
        if self._data is None or self._data_scope != scope:
            if self._data is not None:
                self._data.close()
            self._data, self._data_scope = DataSession(self._endpoint, scope, at_once=False), scope
        return self._data


def _no_hook(_: str) -> None:
    """The sites of a target's transactions are not a ledger's."""
