"""The memory target: rows and all that is kept about them in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tranship.connectors.batch import Batch, Quarantined
from tranship.connectors.counting import Counted
from tranship.connectors.errors import MarkMovedError
from tranship.connectors.fit import NOTHING_NOTED, Notes
from tranship.connectors.memory.reader import MemoryReader, loaded_of, put_rows, rows_of
from tranship.connectors.memory.state import TargetState
from tranship.connectors.protocols import BatchTarget, ChunkMark, DirtyKey, LaneMark, Loaded
from tranship.plans.streams import Stream


class MemoryTarget(MemoryReader):
    """`BatchTarget` over a `MemoryStore`. `hook` is called with the name of each crash site that is reached."""

    def load(self, stream: Stream, batches: Iterable[Batch], mark: ChunkMark) -> Loaded:
        counted = Counted(stream)
        rows = rows_of(counted.passing(batches))
        loaded = loaded_of(stream, rows, counted)

        def work(state: TargetState) -> Loaded:
            kept = state.feed(mark.scope)
            kept.swap_chunk(mark, loaded.rows, loaded.quarantined)
            state.insert(stream, rows)
            kept.hold_loaded(counted)
            return loaded

        self._reach("load", "before_mark", "before_epoch", "before_commit")
        self._store.transact("load", mark.scope, work)
        self._reach("load", "after_commit")
        return loaded

    def replace(
        self,
        stream: Stream,
        dirty: Sequence[DirtyKey],
        batch: Batch,
        marks: Sequence[LaneMark],
        before: Notes = NOTHING_NOTED,  # noqa: ARG002  it knows the notes of each key
    ) -> int:
        scope = marks[0].scope

        def work(state: TargetState) -> int:
            kept = state.feed(scope)
            kept.swap_lanes(marks)
            if not all(kept.is_loaded((stream.name, entry.key)) for entry in dirty):
                raise MarkMovedError(f"stream {stream.name}: a chunk of the keys is not loaded any more")
            put_rows(state, stream, [entry.key for entry in dirty], batch.rows)
            return kept.settle_batch(stream, dirty, batch, self._store.clock())

        self._reach("replace", "before_delete", "before_mark", "before_epoch", "before_commit")
        removed = self._store.transact("replace", scope, work)
        self._reach("replace", "after_commit")
        return removed

    def _aside(self, stream: Stream) -> list[Quarantined]:
        kept = self._store.state.feeds.get((self._scope.run, self._scope.feed))
        return kept.aside(stream.name) if kept is not None else []


def _implements(target: MemoryTarget) -> BatchTarget:
    return target
