"""What the memory target's unique indexes hold of a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any, TypeAlias
from uuid import UUID

from tranship.connectors.memory.rows import Row
from tranship.plans.streams import Column, Condition, Index, LogicalType, Stream

Held: TypeAlias = tuple[Any, ...]


def held_values(stream: Stream, index: Index, row: Row) -> Held | None:
    """The values of a row by which an index tells rows apart; None for a row that is not in it, or holds a NULL."""
    values = tuple(_value(row[name]) for name in index.columns)
    columns = {column.name: column for column in (*stream.key, *stream.columns)}
    if None in values or not all(_meets(columns[one.column], one, row[one.column]) for one in index.where):
        return None
    return values


def constraint_name(stream: Stream, index: Index) -> str:
    """The name of a unique index."""
    conditions = [f"{one.column} {one.test}" for one in index.where]
    return "__".join([stream.table, *index.columns, *conditions, "key"])


def _value(value: Any) -> Any:
    """What a unique index compares: to it, all NaN are equal."""
    return "NaN" if isinstance(value, float) and value != value else value  # noqa: PLR0124 - only NaN differs from itself


def _meets(column: Column, condition: Condition, value: Any) -> bool:
    if condition.test in ("absent", "present"):
        return (value is None) == (condition.test == "absent")
    read = _READ.get(column.type, lambda given: given)
    return value is not None and any(_COMPARED[condition.test](value, read(given)) for given in condition.values)


_COMPARED: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": lambda held, given: held == given,
    "in": lambda held, given: held == given,
    "gt": lambda held, given: held > given,
    "gte": lambda held, given: held >= given,
    "lt": lambda held, given: held < given,
    "lte": lambda held, given: held <= given,
}

_READ: Mapping[LogicalType, Callable[[Any], Any]] = {
    LogicalType.DECIMAL: lambda given: Decimal(str(given)),
    LogicalType.UUID: lambda given: UUID(given).bytes,
    LogicalType.TIMESTAMP: datetime.fromisoformat,
    LogicalType.DATE: date.fromisoformat,
}
