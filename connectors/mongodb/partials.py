"""What a `partialFilterExpression` asks, field by field."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from bson import Binary, Decimal128, Int64, ObjectId

from tranship.connectors.profile import Asked

_COMPARED = {"$eq": "eq", "$gt": "gt", "$gte": "gte", "$lt": "lt", "$lte": "lte", "$in": "in"}


class UnclearError(ValueError):
    """Something is asked that is no condition on single fields; the message says what."""


def asked(expression: Mapping[str, Any]) -> Iterator[Asked]:
    """The conditions, all of which must hold. Raises `UnclearError`."""
    for key, value in expression.items():
        if key == "$and":
            for part in value:
                yield from asked(part)
        elif key.startswith("$"):
            raise UnclearError(key)
        else:
            yield from _of_field(key, value)


def _of_field(path: str, value: Any) -> Iterator[Asked]:
    if not (isinstance(value, dict) and any(key.startswith("$") for key in value)):
        value = {"$eq": value}
    for operator, operand in value.items():
        if operator == "$exists":
            yield Asked(path, "is", "present" if operand else "absent")
        elif operator == "$eq" and operand is None:
            yield Asked(path, "is", "absent")
        elif operator == "$type":
            yield Asked(path, "type", str(operand))
        elif operator in _COMPARED:
            yield Asked(path, _COMPARED[operator], _plain(operand))
        else:
            raise UnclearError(operator)


def _plain(value: Any) -> Any:
    """A value without BSON's own types: an ObjectId is its bytes."""
    if isinstance(value, list):
        return tuple(map(_plain, value))
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) in _WITHOUT_BSON and (not isinstance(value, Binary) or value.subtype == 4):
        return _WITHOUT_BSON[type(value)](value)
    raise UnclearError(f"a value of the type {type(value).__name__}")


_WITHOUT_BSON: Mapping[type, Callable[[Any], Any]] = {
    Int64: int,
    Decimal128: lambda value: value.to_decimal(),
    ObjectId: lambda value: value.binary,
    Binary: lambda value: UUID(bytes=bytes(value)),
    datetime: lambda value: value.replace(tzinfo=UTC),
}
