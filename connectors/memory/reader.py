"""Rows of the memory target: read back, and what its two forms share in writing them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import pyarrow as pa

from tranship.connectors.batch import KEY, Batch, Quarantined
from tranship.connectors.counting import Counted
from tranship.connectors.memory.rows import Row, child_rows, has_residue, holds, make_batch
from tranship.connectors.memory.state import TargetState
from tranship.connectors.memory.store import MemoryStore
from tranship.connectors.protocols import Key, Loaded, Scope, Span
from tranship.plans.streams import Stream

BATCH_ROWS = 1000

Hook = Callable[[str], None]


def no_hook(_name: str) -> None:
    """Nothing happens at a crash site."""


class MemoryReader:
    """Reads the rows of a `MemoryStore`."""

    def __init__(self, store: MemoryStore, scope: Scope, hook: Hook = no_hook) -> None:
        self._store = store
        self._scope = scope
        self._hook = hook

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

    def _aside(self, stream: Stream) -> list[Quarantined]:  # noqa: ARG002
        """What is kept aside in the same place."""
        return []

    def close(self) -> None:
        """Nothing to release; the store lives on."""

    def _reach(self, call: str, *sites: str) -> None:
        """A transaction is sent as a whole, so all sites before COMMIT come before any of its statements."""
        for site in sites:
            self._hook(f"{call}.{site}")


def rows_of(batches: Iterable[Batch]) -> list[Row]:
    """All their rows."""
    return [row for batch in batches for row in batch.rows.to_pylist()]


def loaded_of(stream: Stream, rows: Sequence[Row], counted: Counted | None = None) -> Loaded:
    """What a load of these rows says of itself."""
    children = sum(child_rows(stream.children, row) for row in rows)
    return Loaded(len(rows), children, len(counted.quarantined) if counted else 0)


def put_rows(state: TargetState, stream: Stream, keys: Iterable[Key], batch: pa.RecordBatch) -> None:
    """Make the keys equal to the rows, in place."""
    rows: list[Row] = batch.to_pylist()
    # A row that stays is not deleted for a moment: what others hang on it would go with it (`rules.md` C4).
    state.delete(stream, set(keys) - {row[KEY] for row in rows})
    state.put(stream, rows)
