"""The data plane: whole chunks in, dirty keys replaced, each with its mark in one transaction.

**Order within a transaction.** Rows first, then what is kept about them, then the mark's swap, last the epoch check.
So what concurrent writers contend for (dirty entries, marks, the epoch) is locked as late and as briefly as possible,
and always in this order: nobody waits in a circle. Within one table the order is that of stream and digest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from tranship.connectors.batch import Batch
from tranship.connectors.fit import NOTHING_NOTED, Cell, Kind, Notes, filled, noted
from tranship.connectors.postgresql.datasessions import DataSession
from tranship.connectors.postgresql.marks import Marks
from tranship.connectors.postgresql.rows import Held, Hook, RowTarget
from tranship.connectors.postgresql.settlement import Settlement
from tranship.connectors.protocols import ChunkMark, DirtyKey, LaneMark, Loaded, Scope
from tranship.plans.streams import Endpoint, Stream


class PostgresTarget(RowTarget):
    """`BatchTarget`."""

    def __init__(self, endpoint: Endpoint, scope: Scope, hook: Hook) -> None:
        session = DataSession(endpoint, scope)
        self._marks = Marks(session, endpoint.state_schema, hook)
        self._kept = Settlement(session, endpoint.state_schema, scope)
        super().__init__(session, endpoint.schema, hook, self._kept.entries)

    def load(self, stream: Stream, batches: Iterable[Batch], mark: ChunkMark) -> Loaded:
        rows = child_rows = quarantined = 0
        notes, values = Counter[Kind](), Counter[Cell]()
        with self._marks.chunk(mark):
            for batch in batches:
                rows += batch.rows.num_rows
                child_rows += self._fill(stream, batch.rows)
                quarantined += len(batch.quarantined)
                self._kept.keep_aside(stream, batch.quarantined)
                notes.update(noted(batch.notes, batch.keys))
                values.update(filled(stream, batch.rows))  # with those that are 0
            self._kept.count(mark, notes, values)
            self._marks.end_chunk(mark, rows, quarantined)
        self._hook("load.after_commit")
        return Loaded(rows, child_rows, quarantined)

    def replace(
        self,
        stream: Stream,
        dirty: Sequence[DirtyKey],
        batch: Batch,
        marks: Sequence[LaneMark],
        before: Notes = NOTHING_NOTED,
    ) -> int:
        def settle(held: Held) -> int:
            removed = self._kept.settle(stream, dirty, batch, marks[0], before=before, held=held)
            self._marks.end_batch(marks)
            return removed

        removed = self._replace(stream, [entry.key for entry in dirty], batch.rows, settle)
        self._hook("replace.after_commit")
        return removed
