"""Reading a stream back from its tables: page by page, in key order, each page as one batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa

from tranship.connectors.arrowtypes import schema
from tranship.connectors.batch import RESIDUE, Batch
from tranship.connectors.pages import PageSize
from tranship.connectors.postgresql.aside import Entries
from tranship.connectors.postgresql.datasessions import DataSession
from tranship.connectors.postgresql.frames import Rows, together
from tranship.connectors.postgresql.keyspace import KeySpace
from tranship.connectors.postgresql.layout import Layout, names, quote
from tranship.connectors.postgresql.selection import selection
from tranship.connectors.protocols import Key, Span
from tranship.plans.streams import Stream

_MOST_ROWS = 50_000


class Reader:
    """Reads one stream through a session: its rows, and the quarantine entries of a run, where they are kept beside."""

    def __init__(self, session: DataSession, stream: Stream, layout: Layout, entries: Entries | None) -> None:
        self._session = session
        self._stream = stream
        self._entries = entries
        self._layout = layout
        self._keys = KeySpace(stream, layout)
        self._schema = schema(stream)

    def read(self, span: Span) -> Iterator[Batch]:
        """The rows and entries of a span. Before rows come the entries up to the last of them, each page of either as
        one snapshot: what changes in between is seen as it was before or after, what moves from row to entry or back
        perhaps as both or as neither."""
        lower = span.lower
        for rows in self._rows(span):
            above = rows.column(0)[-1].as_py() + b"\0"  # the least key above the last row's
            yield from self._aside(Span(lower, above))
            yield Batch(rows)
            lower = above
        yield from self._aside(Span(lower, span.upper))

    def _aside(self, span: Span) -> Iterator[Batch]:
        for entries in self._entries.within(self._stream, span) if self._entries is not None else ():
            yield Batch(self._nothing(), entries)

    def _rows(self, span: Span) -> Iterator[pa.RecordBatch]:
        condition = self._keys.within(self._layout, span)
        page = PageSize(_MOST_ROWS)
        while True:
            asked = page.items
            with self._session.read():
                rows, size = self._page(condition, asked)
            if rows.num_rows:
                yield rows
            if rows.num_rows < asked:
                return
            # The last row's canonical key, as a span: it begins at that row, so the row itself is left out.
            condition = self._keys.within_after(self._layout, Span(rows.column(0)[-1].as_py(), span.upper))
            page.learn(asked, size)

    def read_keys(self, keys: Sequence[Key]) -> Batch:
        """The rows and entries of the given keys, in key order."""
        values = self._keys.decode(keys)
        with self._session.read():
            given = self._keys.parameters(self._layout, values)
            order = f"ORDER BY {self._keys.order(self._layout)}"
            root = self._select(self._layout, self._keys.among(self._layout), order, given)
            below = self._children(self._keys.among, given)
            entries = self._entries.among(self._stream, keys) if self._entries is not None else ()
        return Batch(self._together(root, below), entries)

    def with_residue(self, keys: Sequence[Key]) -> pa.RecordBatch:
        """The rows of those of the given keys that have residue, in their root row or in a child row."""
        given = self._keys.parameters(self._layout, self._keys.decode(keys))
        found = self._keys_with_residue(lambda layout: f"WHERE {self._keys.among(layout)} AND", "", given)
        return self.read_keys(found).rows if found else self._nothing()

    def some_with_residue(self, limit: int) -> pa.RecordBatch:
        """The first rows with residue that a scan of each table finds, up to so many in all."""
        found = self._keys_with_residue(lambda _layout: "WHERE", f"LIMIT {limit}", ())[:limit]
        return self.read_keys(found).rows if found else self._nothing()

    def _keys_with_residue(
        self, where: Callable[[Layout], str], tail: str, parameters: Sequence[pa.Array]
    ) -> list[Key]:
        residue = quote(RESIDUE)
        parts = [
            f"(SELECT {names(layout.key)} FROM {layout.name} {where(layout)} {residue} IS NOT NULL {tail})"
            for layout, _ in self._layout.walk()
        ]
        with self._session.read():
            found = self._session.run(" UNION ".join(parts), parameters)
        return sorted(set(self._keys.canonical(Rows(self._layout, found, self._layout.key).key_columns())))

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
