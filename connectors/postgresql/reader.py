"""Reading a stream back from its tables: page by page, in key order, each page as one batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa

from tranship.connectors.batch import Batch, schema
from tranship.connectors.postgresql.aside import Entries
from tranship.connectors.postgresql.frames import Rows, together
from tranship.connectors.postgresql.keyspace import KeySpace
from tranship.connectors.postgresql.layout import Layout
from tranship.connectors.postgresql.selection import selection
from tranship.connectors.postgresql.sessions import DataSession
from tranship.connectors.protocols import Key, Span
from tranship.plans.streams import Stream

_PAGE_BYTES = 8 << 20
"""What one page should hold: large enough that statements cost little, small enough for several workers."""

_FIRST_PAGE_ROWS = 20
"""Nobody knows yet how large the rows are: documents of 16 MB exist."""

_MOST_PAGE_ROWS = 50_000
_FEWEST_PAGE_ROWS = 10
_GROWTH = 10
"""How many times more rows the next page may have: rows may suddenly be larger."""


class Reader:
    """Reads one stream through a session: its rows, and the quarantine entries of a run."""

    def __init__(self, session: DataSession, stream: Stream, layout: Layout, entries: Entries) -> None:
        self._session = session
        self._stream = stream
        self._entries = entries
        self._layout = layout
        self._keys = KeySpace(stream, layout)
        self._schema = schema(stream)

    def read(self, span: Span) -> Iterator[Batch]:
        """The rows of a span, then its entries. Each page is one snapshot; what changes in between is seen as it was
        before or after, and what moves from row to entry perhaps as both."""
        yield from self._rows(span)
        for entries in self._entries.within(self._stream, span):
            yield Batch(self._nothing(), entries)

    def _rows(self, span: Span) -> Iterator[Batch]:
        condition = self._keys.within(self._layout, span)
        limit = _FIRST_PAGE_ROWS
        while True:
            with self._session.read():
                rows, size = self._page(condition, limit)
            if rows.num_rows:
                yield Batch(rows)
            if rows.num_rows < limit:
                return
            # The last row's canonical key, as a span: it begins at that row, so the row itself is left out.
            condition = self._keys.within_after(self._layout, Span(rows.column(0)[-1].as_py(), span.upper))
            fitting = _PAGE_BYTES * rows.num_rows // max(size, 1)
            limit = max(_FEWEST_PAGE_ROWS, min(fitting, limit * _GROWTH, _MOST_PAGE_ROWS))

    def read_keys(self, keys: Sequence[Key]) -> Batch:
        """The rows and entries of the given keys, in key order."""
        values = self._keys.decode(keys)
        with self._session.read():
            given = self._keys.parameters(self._layout, values)
            order = f"ORDER BY {self._keys.order(self._layout)}"
            root = self._select(self._layout, self._keys.among(self._layout), order, given)
            below = self._children(self._keys.among, given)
            entries = self._entries.among(self._stream, keys)
        return Batch(self._together(root, below), entries)

    def _page(self, condition: str, limit: int) -> tuple[pa.RecordBatch, int]:
        """Up to `limit` rows with their children, and their size."""
        order = self._keys.order(self._layout)
        root = self._select(self._layout, condition, f"ORDER BY {order} LIMIT {limit}")
        if not root.count:
            return self._nothing(), 0
        edges = [column.take(pa.array([0, root.count - 1])) for column in root.key_columns()]
        first, last = self._keys.values(edges)
        below = self._children(lambda layout: self._keys.between(layout, first, last))
        return self._together(root, below), root.size + sum(rows.size for rows in below.values())

    def _nothing(self) -> pa.RecordBatch:
        return pa.RecordBatch.from_pylist([], schema=self._schema)

    def _children(self, condition: Callable[[Layout], str], parameters: Sequence[pa.Array] = ()) -> dict[str, Rows]:
        return {
            layout.table: self._select(layout, condition(layout), parameters=parameters)
            for layout, parent in self._layout.walk()
            if parent is not None
        }

    def _select(self, layout: Layout, condition: str, tail: str = "", parameters: Sequence[pa.Array] = ()) -> Rows:
        # Without parameters the driver reads by COPY, which streams; so pages have none.
        statement = f"SELECT {selection(layout)} FROM {layout.name} WHERE {condition} {tail}"
        return Rows(layout, self._session.run(statement, parameters))

    def _together(self, root: Rows, below: dict[str, Rows]) -> pa.RecordBatch:
        return together(root, below, self._keys.canonical(root.key_columns()), self._schema)
