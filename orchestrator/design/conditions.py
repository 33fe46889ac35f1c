"""The condition of a partial index in the language of plans."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from tranship.connectors.profile import IndexSeen
from tranship.orchestrator.design.proposals import Column

_WHOLE = {"int32": 32, "int64": 64}
_NUMBERS = (*_WHOLE, "float64", "decimal")

_KINDS = {
    "string": ("text",),
    "objectId": ("objectid",),
    "date": ("timestamp", "date"),
    "bool": ("bool",),
    "number": _NUMBERS,
}
"""MongoDB's names of types, and the columns that hold all values of one and nothing else."""


class UntranslatableError(ValueError):
    """A plan has no words for the condition; the message says why."""


def conditions(index: IndexSeen, columns: Mapping[str, Column]) -> dict[str, Any]:
    """What a plan says for the index's condition, over columns by their paths. Raises `UntranslatableError`."""
    if index.unclear:
        raise UntranslatableError(f"its condition has {index.unclear}")
    found: dict[str, dict[str, Any]] = {}
    for one in index.partial:
        column = columns.get(one.path)
        if column is None:
            raise UntranslatableError(f"its condition is about {one.path}, which is no column")
        test, value = _test(column, one.test, one.value)
        if index.unique and value == "absent" and column.off:
            # Then rows would be in it that MongoDB's does not have, and data that is right be refused.
            raise UntranslatableError(f"values of {one.path} that do not fit would be as if they were absent")
        if found.setdefault(column.name, {}).setdefault(test, value) != value:
            raise UntranslatableError(f"its condition says two things of {one.path}")
    return {name: tests["is"] if list(tests) == ["is"] else tests for name, tests in found.items()}


def _test(column: Column, test: str, value: Any) -> tuple[str, Any]:
    kind = column.spec["type"]
    if test == "is":
        return test, value
    if test == "type" and kind in _KINDS.get(value, ()):
        return "is", "present"
    if test == "in":
        return test, [_scalar(kind, one) for one in value]
    if test == "eq" or (test != "type" and kind != "text"):
        return test, _scalar(kind, value)
    raise UntranslatableError(f"a plan does not ask {test} of a column of the type {kind}")


def _scalar(kind: str, value: Any) -> Any:
    """A value as a plan writes it."""
    if kind == "bool" and isinstance(value, bool):
        return value
    if kind in _NUMBERS:
        return _number(kind, value)
    if kind == "text" and isinstance(value, str) and "\0" not in value:
        return value
    if kind == "objectid" and isinstance(value, bytes):
        return value.hex()
    if kind == "uuid" and isinstance(value, UUID):
        return str(value)
    if kind == "timestamp" and isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    raise UntranslatableError(f"its condition compares a column of the type {kind} with another type")


def _number(kind: str, value: Any) -> Any:
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool) and math.isfinite(value):
        if kind == "float64":
            return float(value)
        if value == int(value) and (kind == "decimal" or int(value).bit_length() < _WHOLE[kind]):
            return int(value)
        text = format(Decimal(repr(value)) if isinstance(value, float) else value, "f")
        if kind == "decimal" and len(text) < 38:
            return text
    raise UntranslatableError(f"its condition compares a column of the type {kind} with what it cannot hold")
