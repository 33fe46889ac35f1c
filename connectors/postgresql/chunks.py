"""Chunks and their attempts, inside of the caller's transaction.

Both forms of the target keep them alike: with the progress beside the rows they are planned and counted here; a target
that keeps marks alone (`connectors.postgresql.marked`) has just the attempts that have begun.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, Table, delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from tranship.connectors.errors import MarkMovedError
from tranship.connectors.postgresql.statetables import StateTables, of, place
from tranship.connectors.protocols import Chunk, ChunkMark, Scope, Span, Totals
from tranship.plans.streams import Stream


class Chunks:
    """The chunks of one feed."""

    def __init__(self, connection: Connection, tables: StateTables, scope: Scope) -> None:
        self._connection = connection
        self._tables = tables
        self._scope = scope

    def plan(self, stream: Stream, spans: Sequence[Span]) -> None:
        """Record the chunks of a stream, if it has none."""
        chunk, attempt = self._tables.chunk, self._tables.attempt
        known = select(chunk.c.number).where(of(chunk, self._scope, stream)).limit(1)
        if self._connection.execute(known).first():
            return
        highest = select(attempt.c.highest).where(of(attempt, self._scope, stream))
        used = self._connection.execute(highest).scalar() or 0
        self._connection.execute(
            insert(chunk),
            [
                {
                    **place(self._scope, stream),
                    "number": number,
                    "lower": span.lower,
                    "upper": span.upper,
                    "state": "planned",
                    "attempt": used,
                }
                for number, span in enumerate(spans)
            ],
        )

    def totals(self) -> dict[str, Totals]:
        """By stream that has chunks: how far its backfill is."""
        chunk = self._tables.chunk
        loaded = chunk.c.state == "loaded"
        query = (
            select(
                chunk.c.stream,
                func.count(),
                func.count().filter(loaded),
                func.coalesce(func.sum(chunk.c.rows).filter(loaded), 0),
            )
            .where(of(chunk, self._scope))
            .group_by(chunk.c.stream)
        )
        return {row[0]: Totals(row[1], row[2], int(row[3])) for row in self._connection.execute(query)}

    def all_of(self, stream: Stream) -> list[Chunk]:
        """A stream's chunks in key order."""
        table = self._tables.chunk
        query = select(table).where(of(table, self._scope, stream)).order_by(table.c.number)
        return [_chunk(row) for row in self._connection.execute(query)]

    def begin(self, chunk: Chunk) -> ChunkMark | None:
        """A new attempt of a chunk; None when it is loaded, `MarkMovedError` when it is not planned any more."""
        table = self._tables.chunk
        mine = of(table, self._scope) & (table.c.stream == chunk.stream) & (table.c.number == chunk.number)
        # Chunks may have been planned anew, with other spans under the same numbers.
        mine &= table.c.lower.is_not_distinct_from(chunk.span.lower)
        mine &= table.c.upper.is_not_distinct_from(chunk.span.upper)
        begin = (
            update(table)
            .where(mine, table.c.state != "loaded")
            .values(state="pending", attempt=table.c.attempt + 1)
            .returning(table.c.attempt)
        )
        attempt = self._connection.execute(begin).scalar()
        if attempt is None and self._connection.execute(select(table.c.number).where(mine)).first() is None:
            raise MarkMovedError(f"stream {chunk.stream}: chunk {chunk.number} is not planned any more")
        return None if attempt is None else ChunkMark(self._scope, chunk.stream, chunk.number, attempt)

    def note_begun(self, mark: ChunkMark) -> None:
        """An attempt that was begun elsewhere is the one that may load here; `MarkMovedError` if it is not the newest.
        Numbers of a stream that was emptied are over, too."""
        table, attempt = self._tables.chunk, self._tables.attempt
        over = of(attempt, self._scope) & (attempt.c.stream == mark.stream) & (attempt.c.highest >= mark.attempt)
        values = {**place(self._scope), "stream": mark.stream, "number": mark.chunk}
        noted = upsert(table).values(**values, state="pending", attempt=mark.attempt)
        newest = noted.on_conflict_do_update(
            index_elements=["run", "feed", "stream", "number"],
            set_={"state": "pending", "attempt": mark.attempt},
            where=table.c.attempt < mark.attempt,
        ).returning(table.c.number)
        if (
            self._connection.execute(select(attempt.c.highest).where(over)).first() is not None
            or self._connection.execute(newest).first() is None
        ):
            raise MarkMovedError(f"stream {mark.stream}, chunk {mark.chunk}: attempt {mark.attempt} is over")

    def forget(self, names: Sequence[str]) -> None:
        """Forget the chunks of streams and all that came with them. Their attempts' numbers are never used again
        (`rules.md` I1)."""
        self._save_attempts(names)
        tables = self._tables
        for table in (tables.fit, tables.chunk, tables.note, tables.quarantine):
            self._connection.execute(delete(table).where(self._among(table, names)))

    def _save_attempts(self, names: Sequence[str]) -> None:
        """Keep the highest attempt of each stream: new chunks count on from there."""
        chunk, attempt = self._tables.chunk, self._tables.attempt
        highest = (
            select(chunk.c.run, chunk.c.feed, chunk.c.stream, func.max(chunk.c.attempt))
            .where(self._among(chunk, names))
            .group_by(chunk.c.run, chunk.c.feed, chunk.c.stream)
        )
        save = upsert(attempt).from_select(["run", "feed", "stream", "highest"], highest)
        self._connection.execute(
            save.on_conflict_do_update(
                index_elements=["run", "feed", "stream"],
                set_={"highest": func.greatest(attempt.c.highest, save.excluded.highest)},
            )
        )

    def _among(self, table: Table, names: Sequence[str]) -> Any:
        return of(table, self._scope) & table.c.stream.in_(names)


def _chunk(row: Row[Any]) -> Chunk:
    return Chunk(row.stream, row.number, Span(row.lower, row.upper), row.state, row.attempt, row.rows, row.quarantined)
