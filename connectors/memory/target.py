"""The memory target: writes and reads rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

import pyarrow as pa

from tranship.connectors.batch import KEY, Batch, Quarantined
from tranship.connectors.errors import MarkMovedError
from tranship.connectors.fit import NOTHING_NOTED, Cell, Kind, Notes, filled, noted
from tranship.connectors.memory.rows import Row, child_rows, has_residue, holds, make_batch
from tranship.connectors.memory.state import TargetState
from tranship.connectors.memory.store import MemoryStore
from tranship.connectors.protocols import BatchTarget, ChunkMark, DirtyKey, Key, LaneMark, Loaded, Scope, Span
from tranship.plans.streams import Stream

BATCH_ROWS = 1000

Hook = Callable[[str], None]


def no_hook(_name: str) -> None:
    """Nothing happens at a crash site."""


class MemoryTarget:
    """`BatchTarget` over a `MemoryStore`.

    `hook` is called with the name of each crash site that is reached. A transaction is sent as a whole, so all sites
    before COMMIT come before any of its statements.
    """

    def __init__(self, store: MemoryStore, scope: Scope, hook: Hook = no_hook) -> None:
        self._store = store
        self._scope = scope
        self._hook = hook

    def load(self, stream: Stream, batches: Iterable[Batch], mark: ChunkMark) -> Loaded:
        rows: list[Row] = []
        quarantined: list[Quarantined] = []
        notes, values = Counter[Kind](), Counter[Cell]()
        for batch in batches:
            rows += batch.rows.to_pylist()
            quarantined += batch.quarantined
            notes.update(noted(batch.notes, batch.keys))
            values.update(filled(stream, batch.rows))  # with those that are 0
        loaded = Loaded(len(rows), sum(child_rows(stream.children, row) for row in rows), len(quarantined))

        def work(state: TargetState) -> Loaded:
            kept = state.feed(mark.scope)
            kept.swap_chunk(mark, loaded.rows, loaded.quarantined)
            state.insert(stream, rows)
            kept.hold_notes(stream.name, notes, Counter())
            kept.filled.update({(stream.name, cell): count for cell, count in values.items()})
            kept.quarantine |= {(stream.name, q.key): q for q in quarantined}
            return loaded

        for site in ("load.before_mark", "load.before_epoch", "load.before_commit"):
            self._hook(site)
        self._store.transact("load", mark.scope, work)
        self._hook("load.after_commit")
        return loaded

    def replace(
        self,
        stream: Stream,
        dirty: Sequence[DirtyKey],
        batch: Batch,
        marks: Sequence[LaneMark],
        before: Notes = NOTHING_NOTED,
    ) -> int:
        scope = marks[0].scope
        rows: list[Row] = batch.rows.to_pylist()
        keys = [(stream.name, d.key) for d in dirty]

        def work(state: TargetState) -> int:
            kept = state.feed(scope)
            kept.swap_lanes(marks)
            if not all(map(kept.is_loaded, keys)):
                raise MarkMovedError(f"stream {stream.name}: a chunk of the keys is not loaded any more")
            # A row that stays is not deleted for a moment: what others hang on it would go with it (`rules.md` C4).
            state.delete(stream, {d.key for d in dirty} - {row[KEY] for row in rows})
            state.put(stream, rows)
            kept.hold_notes(stream.name, noted(batch.notes, batch.keys), noted(before, [d.key for d in dirty]))
            for key in keys:
                kept.quarantine.pop(key, None)
            kept.quarantine |= {(stream.name, q.key): q for q in batch.quarantined}
            return sum([kept.settle(d, self._store.clock()) for d in dirty])

        for site in ("replace.before_delete", "replace.before_mark", "replace.before_epoch", "replace.before_commit"):
            self._hook(site)
        removed = self._store.transact("replace", scope, work)
        self._hook("replace.after_commit")
        return removed

    def refused(self, stream: Stream, batch: Batch) -> dict[Key, str]:  # noqa: ARG002
        """It holds every row."""
        return {}

    def read(self, stream: Stream, span: Span) -> Iterator[Batch]:
        rows = self._store.state.table(stream)
        keys = sorted(key for key in rows if holds(span, key))
        entries = [entry for entry in self._aside(stream) if holds(span, entry.key)]
        for start in range(0, len(keys), BATCH_ROWS):
            page = keys[start : start + BATCH_ROWS]
            yield make_batch(stream, [rows[key] for key in page], [e for e in entries if e.key <= page[-1]])
            entries = [entry for entry in entries if entry.key > page[-1]]
        if entries:
            yield make_batch(stream, [], entries)

    def read_keys(self, stream: Stream, keys: Sequence[Key]) -> Batch:
        rows = self._store.state.table(stream)
        wanted = set(keys)
        entries = [entry for entry in self._aside(stream) if entry.key in wanted]
        return make_batch(stream, [rows[key] for key in sorted(wanted) if key in rows], entries)

    def with_residue(self, stream: Stream, keys: Sequence[Key]) -> pa.RecordBatch:
        rows = self._store.state.table(stream)
        return make_batch(stream, [rows[k] for k in sorted(set(keys)) if k in rows and has_residue(rows[k])]).rows

    def some_with_residue(self, stream: Stream, limit: int) -> pa.RecordBatch:
        return self.with_residue(stream, list(self._store.state.table(stream))).slice(0, limit)

    def _aside(self, stream: Stream) -> list[Quarantined]:
        kept = self._store.state.feeds.get((self._scope.run, self._scope.feed))
        return kept.aside(stream.name) if kept is not None else []

    def close(self) -> None:
        """Nothing to release; the store lives on."""


def _implements(target: MemoryTarget) -> BatchTarget:
    return target
