"""The rows of streams through one session: written inside of a transaction, read back. What is kept about them, and the
marks, are others' business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

import pyarrow as pa

from tranship.connectors.batch import Batch
from tranship.connectors.postgresql.aside import Entries
from tranship.connectors.postgresql.conflicts import unique_conflict
from tranship.connectors.postgresql.datasessions import DataSession
from tranship.connectors.postgresql.errors import DuplicateError, ReferredError
from tranship.connectors.postgresql.frames import frames
from tranship.connectors.postgresql.keyspace import KeySpace
from tranship.connectors.postgresql.layout import layout
from tranship.connectors.postgresql.reader import Reader
from tranship.connectors.postgresql.replacement import refused_rows, replace_free_rows, replace_rows
from tranship.connectors.protocols import Key, Span
from tranship.plans.streams import Stream

Hook = Callable[[str], None]
T = TypeVar("T")
Held = Mapping[Key, str]
Write = Callable[[DataSession, KeySpace, Sequence[Key], pa.RecordBatch], Held]
"""Writes rows; returns the keys that somebody else's foreign key holds, with the name of its table."""


class RowTarget:
    """What both forms of the target do with rows, on one session. Belongs to one thread; it survives every error and
    reconnects by itself. `entries`: the quarantine that is read with the rows, where it is kept beside them."""

    def __init__(self, session: DataSession, schema: str, hook: Hook, entries: Entries | None = None) -> None:
        self._session = session
        self._schema = schema
        self._hook = hook
        self._aside = entries

    def close(self) -> None:
        """End the session."""
        self._session.close()

    # --- written ------------------------------------------------------------------------------------------------------

    def _clear(self, stream: Stream, span: Span) -> None:
        """Delete the rows of a span, children first, in the caller's transaction."""
        keys = self._keys(stream)
        for table, _ in reversed(list(keys.root.walk())):
            # Without parameters: they stand in the condition.
            self._session.run(f"DELETE FROM {table.name} WHERE {keys.within(table, span)}")

    def _fill(self, stream: Stream, rows: pa.RecordBatch) -> int:
        """Insert rows in the caller's transaction; returns how many went into child tables."""
        root = layout(stream, self._schema)
        child_rows = 0
        for table, part in frames(root, rows):
            self._session.append(table.schema, table.table, part)
            child_rows += part.num_rows if table is not root else 0
        return child_rows

    def _replace(self, stream: Stream, wanted: Sequence[Key], rows: pa.RecordBatch, then: Callable[[Held], T]) -> T:
        """One transaction: the rows of the wanted keys are made the given ones; then `then`, with the keys that
        somebody else's rows hold: those stay as they are.

        Raises `UniqueConflictError` when a row that is not among them holds a unique value.
        """
        keys = self._keys(stream)

        def once(write: Write) -> T:
            with self._session.write():
                self._hook("replace.before_delete")
                return then(write(self._session, keys, wanted, rows))

        try:
            try:
                return once(_replace_all)
            except ReferredError:
                return once(replace_free_rows)
        except DuplicateError as error:
            raise unique_conflict(self._session, keys, error, wanted, Batch(rows)) from None

    # --- read back ----------------------------------------------------------------------------------------------------

    def refused(self, stream: Stream, batch: Batch) -> dict[Key, str]:
        """As `BatchTarget.refused`."""
        with self._session.rehearsal():
            return refused_rows(self._session, self._keys(stream), batch.rows)

    def read(self, stream: Stream, span: Span) -> Iterator[Batch]:
        """As `BatchTarget.read`."""
        return self._reader(stream).read(span)

    def read_keys(self, stream: Stream, keys: Sequence[Key]) -> Batch:
        """As `BatchTarget.read_keys`."""
        return self._reader(stream).read_keys(keys)

    def with_residue(self, stream: Stream, keys: Sequence[Key]) -> pa.RecordBatch:
        """As `BatchTarget.with_residue`."""
        return self._reader(stream).with_residue(keys)

    def some_with_residue(self, stream: Stream, limit: int) -> pa.RecordBatch:
        """As `BatchTarget.some_with_residue`."""
        return self._reader(stream).some_with_residue(limit)

    def _reader(self, stream: Stream) -> Reader:
        return Reader(self._session, stream, layout(stream, self._schema), self._aside)

    def _keys(self, stream: Stream) -> KeySpace:
        return KeySpace(stream, layout(stream, self._schema))


def _replace_all(session: DataSession, keys: KeySpace, wanted: Sequence[Key], rows: pa.RecordBatch) -> Held:
    replace_rows(session, keys, wanted, rows)
    return {}
