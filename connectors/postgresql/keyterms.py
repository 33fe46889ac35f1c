"""Key columns in SQL: how a value of each type is written, what stands for it, and in what order rows are read.

Apart from `keyspace`, because making tables and looking at them needs no rows, and so no pyarrow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tranship.connectors.keys import TypedValue
from tranship.connectors.postgresql.layout import Field, Layout, quote
from tranship.plans.streams import LogicalType

_DAY = 86_400_000_000
_FIRST_DAY = -2_440_588  # 4714-11-24 BC, where PostgreSQL's calendar begins
_LAST_DATE = 2_145_042_905
_LAST_MICROSECOND = 2**63 - 1  # Arrow's and the canonical form's; PostgreSQL reaches 29 years further


_BEGINNING = {LogicalType.TEXT: 250, LogicalType.BYTES: 1000}
"""How much of a long value (characters, bytes) an index holds: at most 1,000 bytes."""


@dataclass(frozen=True)
class Form:
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


_PLAIN = Form(str, "CAST({} AS %s)")

_FORMS: dict[LogicalType, Form] = {
    LogicalType.DECIMAL: Form(str, "CAST({} AS numeric)"),  # no scale: a bound may have more digits than the column
    LogicalType.BYTES: Form(_bytes_text, "CAST({} AS bytea)"),
    LogicalType.UUID: Form(_hex_text, "CAST({} AS uuid)"),
    # Added to a timestamp without zone: with one, days would follow the session's daylight saving.
    LogicalType.TIMESTAMP: Form(
        _interval_text,
        "((timestamp 'epoch' + CAST({} AS interval)) AT TIME ZONE 'UTC')",
        _FIRST_DAY * _DAY,
        _LAST_MICROSECOND,
    ),
    LogicalType.DATE: Form(str, "(date 'epoch' + CAST({} AS integer))", _FIRST_DAY, _LAST_DATE),
}


def form_of(field: Field) -> Form:
    """How values of a column are written."""
    return _FORMS.get(field.type, _PLAIN)


def expression(field: Field, text: str) -> str:
    """The SQL expression of a value, from an expression of its text."""
    form = form_of(field)
    template = form.expression % field.native if form is _PLAIN else form.expression
    return template.replace("{}", text)


def order_terms(layout: Layout) -> str:
    """What an index that serves reading in key order is over; of long values it holds the beginning."""
    terms: list[str] = []
    for field in layout.key:
        terms += (f"({term})" for term in key_terms(field, quote(field.name)))
        if field.long:
            return ", ".join(terms[:-1])
    return ", ".join(terms)


def key_terms(field: Field, value: str) -> list[str]:
    """What is compared for a value of one key column, given as an expression: one thing after the other."""
    # Binary keys that are not canonical sort by length first; the canonical ones simply by their bytes.
    terms = [f"octet_length({value})"] if field.by_length else []
    if field.long:
        terms.append(f"substr({value}, 1, {_BEGINNING[field.type]})")
    return [*terms, value]


def identity_of(field: Field, value: str) -> str:
    """What stands for a value, given as an expression, in primary and foreign keys."""
    return field.digest(value) if field.long else value
