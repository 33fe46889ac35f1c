"""The target that keeps its own marks, and nothing else of a run: its ledger is in another database.

Of its state schema it uses the epoch, which is the one that has claimed it, the attempts that have begun, the lanes,
what runs have made, and the routing records. Rows first, then the mark's swap, last the epoch check: as in `target`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa
from sqlalchemy import delete, select

from tranship.connectors.batch import Batch
from tranship.connectors.errors import EpochMovedError
from tranship.connectors.postgresql import emptying
from tranship.connectors.postgresql.chunks import Chunks
from tranship.connectors.postgresql.datasessions import DataSession
from tranship.connectors.postgresql.lanes import Lanes
from tranship.connectors.postgresql.marks import Marks
from tranship.connectors.postgresql.routing import PostgresRecords
from tranship.connectors.postgresql.rows import Held, Hook, RowTarget
from tranship.connectors.postgresql.sessions import ControlSessions
from tranship.connectors.postgresql.statetables import of, state_tables
from tranship.connectors.protocols import ChunkMark, Key, LaneMark, Loaded, Scope, Span
from tranship.plans.streams import Endpoint, Stream


class PostgresMarkedTarget(RowTarget):
    """`MarkedTarget`. What is about rows has one session, opened when it is first needed, which is behind the first
    claim; what is about marks alone takes one from a pool for each call."""

    def __init__(self, endpoint: Endpoint, scope: Scope, hook: Hook) -> None:
        session = DataSession(endpoint, scope, at_once=False)
        super().__init__(session, endpoint.schema, hook)
        self._endpoint = endpoint
        self._tables = state_tables(endpoint.state_schema)
        self._marks = Marks(session, endpoint.state_schema, hook)
        self._sessions = ControlSessions(endpoint)
        self._records = PostgresRecords(endpoint)

    def close(self) -> None:
        """End all sessions."""
        super().close()
        self._sessions.close()
        self._records.close()

    # --- rows and their marks -----------------------------------------------------------------------------------------

    def load(self, stream: Stream, span: Span, batches: Iterable[Batch], mark: ChunkMark) -> Loaded:
        rows = child_rows = 0
        with self._marks.chunk(mark):
            self._clear(stream, span)
            for batch in batches:
                rows += batch.rows.num_rows
                child_rows += self._fill(stream, batch.rows)
            self._marks.end_chunk(mark, rows, 0)
        return Loaded(rows, child_rows, 0)

    def replace(
        self, stream: Stream, keys: Sequence[Key], rows: pa.RecordBatch, marks: Sequence[LaneMark]
    ) -> Mapping[Key, str]:
        def end(held: Held) -> Held:
            self._marks.end_batch(marks)
            return held

        return self._replace(stream, keys, rows, end)

    # --- marks alone --------------------------------------------------------------------------------------------------

    def claim(self, scope: Scope, known: Sequence[LaneMark]) -> list[LaneMark]:
        epoch, marks = self._look(scope)
        if epoch is not None and epoch > scope.epoch:
            raise EpochMovedError(f"run {scope.run}: another orchestrator took over; epoch {scope.epoch} is over")
        if epoch == scope.epoch and not _behind(marks, known):
            return marks
        self._hook("claim.before_commit")
        self._sessions.claim(scope)
        with self._sessions.write(scope) as connection:
            lanes = Lanes(connection, self._tables, scope)
            lanes.catch_up(known)
            return lanes.marks()

    def begin(self, mark: ChunkMark) -> None:
        with self._sessions.write(mark.scope) as connection:
            Chunks(connection, self._tables, mark.scope).note_begun(mark)
            self._hook("begin.before_commit")

    def empty(self, scope: Scope, streams: Sequence[Stream]) -> None:
        with self._sessions.write(scope) as connection:
            emptying.empty(connection, self._endpoint, self._tables, scope, streams)

    @property
    def records(self) -> PostgresRecords:
        return self._records

    def seal(self, scope: Scope) -> None:
        with self._sessions.write(scope) as connection:
            Lanes(connection, self._tables, scope).seal()
            self._hook("seal.before_commit")

    def unseal(self, scope: Scope) -> None:
        with self._sessions.write(scope) as connection:
            Lanes(connection, self._tables, scope).unseal()

    def forget(self, scope: Scope) -> None:
        tables = self._tables
        with self._sessions.write(scope) as connection:
            for table in (tables.chunk, tables.attempt, tables.lane):
                connection.execute(delete(table).where(of(table, scope)))

    def _look(self, scope: Scope) -> tuple[int | None, list[LaneMark]]:
        """The epoch that has claimed the marks, None before the first one, and the lanes' marks."""
        epoch = self._tables.epoch
        with self._sessions.read() as connection:
            found: int | None = connection.execute(select(epoch.c.epoch).where(epoch.c.run == scope.run)).scalar()
            return found, Lanes(connection, self._tables, scope).marks()


def _behind(marks: Sequence[LaneMark], known: Sequence[LaneMark]) -> bool:
    """Whether a mark is behind the one that is known of its lane, or not there."""
    seqs = {mark.lane: mark.seq for mark in marks}
    return any(seqs.get(mark.lane, -1) < mark.seq for mark in known)
