"""Canonical keys and spans in SQL: key values as text with a cast, spans as conditions over the key columns.

Every value travels as text and is cast in the statement, because a timestamp or decimal key may lie outside of what a
Python or driver type holds. A literal cast is folded before planning, so the primary key's index serves it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyarrow as pa
from psycopg import sql

from tranship.connectors import keycodec as codec
from tranship.connectors.errors import ConnectorError
from tranship.connectors.keys import BOTTOM, TOP, Cut, KeyForm, TypedValue
from tranship.connectors.postgresql.layout import Field, Layout, quote
from tranship.connectors.protocols import Key, Span
from tranship.plans.streams import LogicalType, Stream

_DAY = 86_400_000_000
_FIRST_DAY = -2_440_588  # 4714-11-24 BC, where PostgreSQL's calendar begins
_LAST_DATE = 2_145_042_905
_LAST_MICROSECOND = 2**63 - 1  # Arrow's and the canonical form's; PostgreSQL reaches 29 years further


_BEGINNING = {LogicalType.TEXT: 250, LogicalType.BYTES: 1000}
"""How much of a long value (characters, bytes) an index holds: at most 1,000 bytes."""


@dataclass(frozen=True)
class _Form:
    """How values of one type are written: as text, and the expression that makes a value of that text."""

    write: Callable[[TypedValue], str]
    expression: str
    lowest: int | None = None
    highest: int | None = None


def _bytes_text(value: TypedValue) -> str:
    assert isinstance(value, bytes)
    return "\\x" + value.hex()


def _hex_text(value: TypedValue) -> str:
    assert isinstance(value, bytes)
    return value.hex()


def _interval_text(value: TypedValue) -> str:
    assert isinstance(value, int)
    days, microseconds = divmod(value, _DAY)
    seconds, microseconds = divmod(microseconds, 1_000_000)
    # Each field with its sign: the server's IntervalStyle may let a first minus count for all of them. And each in 32
    # bits: PostgreSQL 14 takes no more in one.
    return f"{days:+} days {seconds:+} seconds {microseconds:+} microseconds"


_PLAIN = _Form(str, "CAST({} AS %s)")

_FORMS: dict[LogicalType, _Form] = {
    LogicalType.DECIMAL: _Form(str, "CAST({} AS numeric)"),  # no scale: a bound may have more digits than the column
    LogicalType.BYTES: _Form(_bytes_text, "CAST({} AS bytea)"),
    LogicalType.UUID: _Form(_hex_text, "CAST({} AS uuid)"),
    # Added to a timestamp without zone: with one, days would follow the session's daylight saving.
    LogicalType.TIMESTAMP: _Form(
        _interval_text,
        "((timestamp 'epoch' + CAST({} AS interval)) AT TIME ZONE 'UTC')",
        _FIRST_DAY * _DAY,
        _LAST_MICROSECOND,
    ),
    LogicalType.DATE: _Form(str, "(date 'epoch' + CAST({} AS integer))", _FIRST_DAY, _LAST_DATE),
}


def _form(field: Field) -> _Form:
    return _FORMS.get(field.type, _PLAIN)


def expression(field: Field, text: str) -> str:
    """The SQL expression of a value, from an expression of its text."""
    form = _form(field)
    template = form.expression % field.native if form is _PLAIN else form.expression
    return template.replace("{}", text)


def texts(field: Field, column: pa.Array) -> pa.Array:
    """A parameter that holds a column's values as texts, for `expression`."""
    storage = column.storage if isinstance(column, pa.ExtensionArray) else column
    write = _form(field).write
    return pa.array([[None if value is None else write(value) for value in _plain(storage)]], pa.list_(pa.string()))


class KeySpace:
    """The keys of one stream. `root` is its root table; conditions can be asked for its child tables too."""

    def __init__(self, stream: Stream, root: Layout) -> None:
        self.stream = stream
        self.root = root
        self._form = KeyForm(stream.key)
        self._has_times = any(_form(field).lowest is not None for field in root.key)

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
        return list(zip(*(_plain(column) for column in columns), strict=True))

    def decode(self, keys: Sequence[Key]) -> list[tuple[TypedValue, ...]]:
        """The key values of those keys that rows can have, sorted by key, each once."""
        decoded = (self._form.decode(key) for key in sorted(set(keys)))
        return [values for values in decoded if values is not None and _beyond(self.root, values) is None]

    # --- in SQL -------------------------------------------------------------------------------------------------------

    def order(self, layout: Layout) -> str:
        """ORDER BY of the source's key order."""
        return ", ".join(term for field in layout.key for term in _terms(field, quote(field.name)))

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
            _identity(field, expression(field, name)) for field, name in zip(layout.key, columns, strict=True)
        )
        key = ", ".join(quote(field.identity) for field in layout.key)
        return f"({key}) IN (SELECT {values} FROM unnest({arrays}) AS given({', '.join(columns)}))"

    def parameters(self, layout: Layout, keys: Sequence[tuple[TypedValue, ...]]) -> list[pa.Array]:
        """The parameters of `among`: one array of texts per key column."""
        return [
            pa.array([[_form(field).write(values[place]) for values in keys]], pa.list_(pa.string()))
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
            left += _terms(field, quote(field.name))
            right += _terms(field, expression(field, _literal(_form(field).write(value))))
        sign = (">" if cut.after else ">=") if lower else ("<=" if cut.after else "<")
        return f"({', '.join(left)}) {sign} ({', '.join(right)})"


def no_document(table: str, key: Sequence[Field]) -> ConnectorError:
    """The error for a row whose key cannot be a document's: there is nothing on the source to compare it with."""
    columns = ", ".join(f"{field.name} ({field.native})" for field in key)
    return ConnectorError(
        f"table {table}, key {columns}: a row has a key that no document's _id becomes (NaN, infinity, parts of a "
        "millisecond, an ObjectId that is not 24 lower-case hex digits), so another program has written it; remove it"
    )


def order_terms(layout: Layout) -> str:
    """What an index that serves reading in key order is over; of long values it holds the beginning."""
    terms: list[str] = []
    for field in layout.key:
        terms += (f"({term})" for term in _terms(field, quote(field.name)))
        if field.long:
            return ", ".join(terms[:-1])
    return ", ".join(terms)


def _terms(field: Field, value: str) -> list[str]:
    """What is compared for a value of one key column, given as an expression: one thing after the other."""
    # Binary keys that are not canonical sort by length first; the canonical ones simply by their bytes.
    terms = [f"octet_length({value})"] if field.by_length else []
    if field.long:
        terms.append(f"substr({value}, 1, {_BEGINNING[field.type]})")
    return [*terms, value]


def _identity(field: Field, value: str) -> str:
    return field.digest(value) if field.long else value


def _inside(layout: Layout, cut: Cut) -> Cut:
    """The same place among the rows with values that PostgreSQL can express: none of its rows lies beyond them."""
    return _beyond(layout, cut.values) or cut


def _beyond(layout: Layout, values: Sequence[TypedValue]) -> Cut | None:
    """Where among the rows values lie of which PostgreSQL cannot express one; None if it can express them all."""
    for place, value in enumerate(values):
        form = _form(layout.key[place])
        if form.lowest is None or form.highest is None:
            continue
        assert isinstance(value, int)
        if not form.lowest <= value <= form.highest:
            return Cut(tuple(values[:place]), value > form.highest)
    return None


def _literal(text: str) -> str:
    return sql.Literal(text).as_string(None)


def _plain(column: pa.Array) -> list[TypedValue]:
    """Python values of a key column. Times as integers: Python's end at the years 1 and 9999."""
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    elif pa.types.is_date32(column.type):
        column = column.cast(pa.int32())
    values: list[TypedValue] = column.to_pylist()
    return values
