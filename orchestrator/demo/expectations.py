"""What the shop's documents become in PostgreSQL, written down by hand.

This is the demo's own reading of its plan, for the oracle. It shares no code with the mapper and the connectors, so a
mistake in them cannot hide in it. The rules, as the plan's author understands them:

- a column takes a value of its type, or one of another number type that is exactly equal; all else leaves it NULL;
- a json column takes every value: plain JSON for text, booleans, null, int32, doubles, arrays and documents, and
  `{"$type": …}` for the rest; a missing field is NULL, and null is JSON's null;
- an array of documents is one row per element, counted from 0; anything but an array is no rows.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeAlias

from bson import Decimal128, Int64, ObjectId

Document: TypeAlias = dict[str, Any]
Expect: TypeAlias = Callable[[Any], Any]

MISSING = object()
"""Stands for a field that is not there."""

_LARGEST_INT32 = 2**31


def text(value: Any) -> Any:
    """A text column."""
    return value if isinstance(value, str) else None


def int32(value: Any) -> Any:
    """An integer column of 32 bits."""
    fits = type(value) in (int, Int64) and -_LARGEST_INT32 <= value < _LARGEST_INT32
    return int(value) if fits else None


def int64(value: Any) -> Any:
    """An integer column of 64 bits."""
    return int(value) if type(value) in (int, Int64) else None


def double(value: Any) -> Any:
    """A column of double precision, as its bytes: NaN equals NaN, and -0.0 is not 0.0."""
    if type(value) in (int, Int64):
        value = float(value) if int(float(value)) == value else None
    if not isinstance(value, float):
        return None
    return struct.pack(">d", math.nan if math.isnan(value) else value)


def money(value: Any) -> Any:
    """A numeric column with two digits after the point."""
    if type(value) in (int, Int64):
        return Decimal(value)
    number = value.to_decimal() if isinstance(value, Decimal128) else None
    if number is None or not number.is_finite() or number != number.quantize(Decimal("0.01")):
        return None
    return number


def object_id(value: Any) -> Any:
    """A column of 24 hex digits."""
    return str(value) if isinstance(value, ObjectId) else None


def moment(value: Any) -> Any:
    """A timestamp column."""
    return value if isinstance(value, datetime) else None


def anything(value: Any) -> Any:
    """A json column, as canonical text."""
    return None if value is MISSING else json_text(_json(value))


def json_text(value: Any) -> str:
    """JSON by value: keys in order, so that equal values are equal texts; 3 and 3.0 differ."""
    return json.dumps(value, sort_keys=True)


def _json(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _json(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_json(part) for part in value]
    if type(value) is Int64 and -_LARGEST_INT32 <= value < _LARGEST_INT32:
        return {"$numberLong": str(value)}
    if isinstance(value, Decimal128):
        return {"$numberDecimal": str(value)}
    if isinstance(value, Int64):
        return int(value)
    return value


@dataclass(frozen=True)
class Table:
    """One table: its columns with the field that each takes and how; in a child table fields of the array's element."""

    name: str
    columns: tuple[tuple[str, str, Expect], ...]

    def row(self, document: Document) -> tuple[Any, ...]:
        """The expected row of a document or element."""
        return tuple(expect(_at(document, path)) for _, path, expect in self.columns)

    def select(self) -> str:
        """The columns for a hand-written SELECT; json as text, so that no client turns its numbers into others."""
        return ", ".join(f"{name}::text" if expect is anything else name for name, _, expect in self.columns)

    def found(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        """A row that PostgreSQL returned, in the form that `row` has."""
        return tuple(_found(expect, value) for (_, _, expect), value in zip(self.columns, values, strict=True))


@dataclass(frozen=True)
class Expectation:
    """What a collection becomes: a root table, and one child table or none, from the array in the field of that name.

    `key` turns the primary key back into the `_id`.
    """

    key: Callable[[Any], Any]
    root: Table
    field: str = ""
    child: Table | None = None

    def form(self, document: Document) -> tuple[Any, ...]:
        """The expected root row, and the child rows in order."""
        elements = document.get(self.field)
        rows = [self.child.row(element) for element in elements] if self.child and isinstance(elements, list) else []
        return self.root.row(document), tuple(rows)


EXPECTATIONS = {
    "customers": Expectation(
        ObjectId,
        Table(
            "customers",
            (
                ("email", "email", text),
                ("name", "name", text),
                ("street", "address.street", text),
                ("city", "address.city", text),
                ("zip", "address.zip", text),
                ("created_at", "created_at", moment),
                ("tags", "tags", anything),
            ),
        ),
    ),
    "products": Expectation(
        str,
        Table(
            "products",
            (
                ("title", "title", text),
                ("price", "price", money),
                ("stock", "stock", int32),
                ("attrs", "attrs", anything),
            ),
        ),
    ),
    "orders": Expectation(
        ObjectId,
        Table(
            "orders",
            (
                ("order_no", "order_no", int64),
                ("customer_id", "customer_id", object_id),
                ("status", "status", text),
                ("total", "total", money),
                ("placed_at", "placed_at", moment),
                ("city", "address.city", text),
            ),
        ),
        "items",
        Table("order_items", (("sku", "sku", text), ("qty", "qty", int32), ("price", "price", money))),
    ),
    "events": Expectation(
        Int64,
        Table(
            "events",
            (
                ("kind", "kind", text),
                ("at", "at", moment),
                ("amount", "amount", double),
                ("payload", "payload", anything),
            ),
        ),
    ),
}
"""Each collection's expectation, in line with the example plan of the shop."""


def _at(document: Document, path: str) -> Any:
    value: Any = document
    for step in path.split("."):
        if not isinstance(value, dict) or step not in value:
            return MISSING
        value = value[step]
    return value


def _found(expect: Expect, value: Any) -> Any:
    if value is None:
        return None
    if expect is anything:
        return json_text(json.loads(value))
    return double(value) if expect is double else value
