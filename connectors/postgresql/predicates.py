"""Conditions on a row in SQL: which rows a partial index holds, and which values a column may have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from uuid import UUID

from tranship.connectors.postgresql.layout import Field, Layout, literal, quote
from tranship.connectors.postgresql.naming import derived
from tranship.plans.streams import Condition, LogicalType

_COMPARED = {"eq": "=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}

# Each in one form only, whatever a plan writes: with its zone no setting of a session changes what a time is.
_WRITTEN: Mapping[LogicalType, Callable[[str], str]] = {
    LogicalType.UUID: lambda text: str(UUID(text)),
    LogicalType.TIMESTAMP: lambda text: datetime.fromisoformat(text).isoformat(),
    LogicalType.DATE: lambda text: date.fromisoformat(text).isoformat(),
}


def predicate(table: Layout, conditions: Sequence[Condition], of: str = "") -> str:
    """All of the conditions on a row of the table; `of`: how the row is called, where that must be said."""
    return " AND ".join(_condition(table.field(one.column), one, f"{of}." if of else "") for one in conditions)


def listed(table: Layout) -> dict[str, str]:
    """What columns must meet whose values are listed, by the constraint's name."""
    conditions = {field.name: field for field in table.columns if field.column.values}
    return {
        derived(table.table, (name,), "check"): f"{quote(name)} IN ({_values(field, field.column.values)})"
        for name, field in conditions.items()
    }


def _condition(field: Field, condition: Condition, of: str) -> str:
    name = of + quote(field.name)
    if condition.test == "absent":
        return f"{name} IS NULL"
    if condition.test == "present":
        return f"{name} IS NOT NULL"
    if condition.test == "in":
        return f"{name} IN ({_values(field, condition.values)})"
    return f"{name} {_COMPARED[condition.test]} {_values(field, condition.values)}"


def _values(field: Field, values: Sequence[bool | int | float | str]) -> str:
    return ", ".join(_value(field, value) for value in values)


def _value(field: Field, value: bool | int | float | str) -> str:
    # A text with its type is read once, when the index is made: a function's result would not be the same for ever.
    native = "numeric" if field.type is LogicalType.DECIMAL else field.native  # compared exactly, not rounded
    written = _WRITTEN[field.type](str(value)) if field.type in _WRITTEN else str(value)
    return f"{literal(written)}::{native}"
