"""What a SELECT names to read the columns of a table.

Others can put values into a column that the plan's type does not have: NaN into a `numeric`, infinite times, arrays of
several dimensions. The driver refuses some of them, takes others for a lost connection, and misreads the rest; so the
server looks first. Such a value is read as NULL, and the residue of its row as `FOREIGN`, which no source writes: the
row then differs from the source's whatever that holds, is named, and can be repaired.
"""

from __future__ import annotations

from tranship.connectors.batch import RESIDUE
from tranship.connectors.postgresql.layout import Field, Layout, quote
from tranship.plans.streams import LogicalType

FOREIGN = b"foreign"
"""Residue of a row that holds what only another program can have written. It is no BSON document."""

_ARROW_END = "294247-01-10 04:00:54.775807+00"
"""The last microsecond that Arrow's int64 holds; PostgreSQL reaches 29 years further."""

_FOREIGN = {
    LogicalType.DECIMAL: "{0} = 'NaN'",
    LogicalType.TIMESTAMP: f"({{0}} = '-infinity' OR {{0}} > timestamptz '{_ARROW_END}')",
    LogicalType.DATE: "NOT isfinite({0})",
}
"""Whether a value of a type is foreign, as an expression of it."""


def selection(layout: Layout) -> str:
    """The columns of a table, for the list of a SELECT. Foreign values of key columns are not hidden: they stand for no
    document, so that there is nothing to compare them with."""
    foreign = {field.name: condition for field in layout.columns if (condition := _is_foreign(field))}
    columns = [_unless(foreign.get(field.name), field, "NULL") for field in layout.fields if field.name != RESIDUE]
    (residue,) = (field for field in layout.columns if field.name == RESIDUE)
    anywhere = " OR ".join(foreign.values())
    return ", ".join((*columns, _unless(anywhere, residue, f"'\\x{FOREIGN.hex()}'::bytea")))


def _unless(condition: str | None, field: Field, otherwise: str) -> str:
    name = quote(field.name)
    return f"CASE WHEN {condition} THEN {otherwise} ELSE {name} END AS {name}" if condition else name


def _is_foreign(field: Field) -> str | None:
    """The condition that a column's value is foreign, NULL or false where it is not; None if no value can be."""
    name = quote(field.name)
    if field.type is not LogicalType.ARRAY:
        return _condition(field.type, name)
    odd = f"array_ndims({name}) > 1 OR array_lower({name}, 1) <> 1"
    item = field.items and _condition(field.items, "item")
    return f"({odd} OR EXISTS (SELECT FROM unnest({name}) AS item WHERE {item}))" if item else f"({odd})"


def _condition(kind: LogicalType, value: str) -> str | None:
    template = _FOREIGN.get(kind)
    return template and template.format(value)
