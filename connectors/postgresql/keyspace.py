"""Canonical keys and spans in SQL: key values as text with a cast, spans as conditions over the key columns.

Every value travels as text and is cast in the statement, because a timestamp or decimal key may lie outside of what a
Python or driver type holds. A literal cast is folded before planning, so the primary key's index serves it.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from psycopg import sql

from tranship.connectors import keycodec as codec
from tranship.connectors.arrowtypes import plain_values
from tranship.connectors.errors import ConnectorError
from tranship.connectors.keys import BOTTOM, TOP, Cut, KeyForm, TypedValue
from tranship.connectors.postgresql.keyterms import expression, form_of, identity_of, key_terms
from tranship.connectors.postgresql.layout import Field, Layout, quote
from tranship.connectors.protocols import Key, Span
from tranship.plans.streams import Stream


def texts(field: Field, column: pa.Array) -> pa.Array:
    """A parameter that holds a column's values as texts, for `expression`."""
    storage = column.storage if isinstance(column, pa.ExtensionArray) else column
    write = form_of(field).write
    return pa.array(
        [[None if value is None else write(value) for value in plain_values(storage)]], pa.list_(pa.string())
    )


class KeySpace:
    """The keys of one stream. `root` is its root table; conditions can be asked for its child tables too."""

    def __init__(self, stream: Stream, root: Layout) -> None:
        self.stream = stream
        self.root = root
        self._form = KeyForm(stream.key)
        self._has_times = any(form_of(field).lowest is not None for field in root.key)

    def canonical(self, columns: Sequence[pa.Array]) -> list[Key]:
        """The canonical keys of rows. Raises `ConnectorError` for a row that no document can have become."""
        rows = self.values(columns)
        try:
            keys = [self._form.encode(values) for values in rows]
            if self.stream.key[0].is_canonical:
                for key in keys:
                    codec.decode(key)
        except ValueError:
            raise no_document(self.root.table, self.root.key) from None
        if self._has_times and any(_beyond(self.root, values) for values in rows):  # infinite ones read as that
            raise no_document(self.root.table, self.root.key)
        return keys

    def values(self, columns: Sequence[pa.Array]) -> list[tuple[TypedValue, ...]]:
        """The key values of rows, in the form that the key codec takes."""
        return list(zip(*(plain_values(column) for column in columns), strict=True))

    def decode(self, keys: Sequence[Key]) -> list[tuple[TypedValue, ...]]:
        """The key values of those keys that rows can have, sorted by key, each once."""
        decoded = (self._form.decode(key) for key in sorted(set(keys)))
        return [values for values in decoded if values is not None and _beyond(self.root, values) is None]

    # --- in SQL -------------------------------------------------------------------------------------------------------

    def order(self, layout: Layout) -> str:
        """ORDER BY of the source's key order."""
        return ", ".join(term for field in layout.key for term in key_terms(field, quote(field.name)))

    def within(self, layout: Layout, span: Span) -> str:
        """The condition that a row's key lies in the span."""
        found = self._form.range(span)
        return f"{self._bound(layout, found.lower, lower=True)} AND {self._bound(layout, found.upper, lower=False)}"

    def within_after(self, layout: Layout, span: Span) -> str:
        """The condition that a row's key lies in the span but is not its lower bound, which is a row's key."""
        found = self._form.range(span)
        lower = self._bound(layout, Cut(found.lower.values, True), lower=True)
        return f"{lower} AND {self._bound(layout, found.upper, lower=False)}"

    def between(self, layout: Layout, first: tuple[TypedValue, ...], last: tuple[TypedValue, ...]) -> str:
        """The condition that a row lies from the first of the given ones to the last, both included."""
        lower = self._bound(layout, Cut(first, False), lower=True)
        return f"{lower} AND {self._bound(layout, Cut(last, True), lower=False)}"

    def among(self, layout: Layout) -> str:
        """The condition that a row has one of the keys given by `parameters`."""
        columns = [f"k{i}" for i in range(len(layout.key))]
        arrays = ", ".join(f"${i + 1}::text[]" for i in range(len(columns)))
        values = ", ".join(
            identity_of(field, expression(field, name)) for field, name in zip(layout.key, columns, strict=True)
        )
        key = ", ".join(quote(field.identity) for field in layout.key)
        return f"({key}) IN (SELECT {values} FROM unnest({arrays}) AS given({', '.join(columns)}))"

    def parameters(self, layout: Layout, keys: Sequence[tuple[TypedValue, ...]]) -> list[pa.Array]:
        """The parameters of `among`: one array of texts per key column."""
        return [
            pa.array([[form_of(field).write(values[place]) for values in keys]], pa.list_(pa.string()))
            for place, field in enumerate(layout.key)
        ]

    def _bound(self, layout: Layout, cut: Cut, *, lower: bool) -> str:
        cut = _inside(layout, cut)
        if cut in (BOTTOM, TOP):
            return "true" if (cut == BOTTOM) is lower else "false"
        left: list[str] = []
        right: list[str] = []
        for place, value in enumerate(cut.values):
            field = layout.key[place]
            left += key_terms(field, quote(field.name))
            right += key_terms(field, expression(field, _literal(form_of(field).write(value))))
        sign = (">" if cut.after else ">=") if lower else ("<=" if cut.after else "<")
        return f"({', '.join(left)}) {sign} ({', '.join(right)})"


def no_document(table: str, key: Sequence[Field]) -> ConnectorError:
    """The error for a row whose key cannot be a document's: there is nothing on the source to compare it with."""
    columns = ", ".join(f"{field.name} ({field.native})" for field in key)
    return ConnectorError(
        f"table {table}, key {columns}: a row has a key that no document's _id becomes (NaN, infinity, parts of a "
        "millisecond, an ObjectId that is not 24 lower-case hex digits), so another program has written it; remove it"
    )


def _inside(layout: Layout, cut: Cut) -> Cut:
    """The same place among the rows with values that PostgreSQL can express: none of its rows lies beyond them."""
    return _beyond(layout, cut.values) or cut


def _beyond(layout: Layout, values: Sequence[TypedValue]) -> Cut | None:
    """Where among the rows values lie of which PostgreSQL cannot express one; None if it can express them all."""
    for place, value in enumerate(values):
        form = form_of(layout.key[place])
        if form.lowest is None or form.highest is None:
            continue
        assert isinstance(value, int)
        if not form.lowest <= value <= form.highest:
            return Cut(tuple(values[:place]), value > form.highest)
    return None


def _literal(text: str) -> str:
    return sql.Literal(text).as_string(None)
