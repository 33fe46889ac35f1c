"""What the shop's documents become in PostgreSQL, written down by hand.

This is the demo's own reading of its plan, for the oracle. It shares no code with the mapper and the connectors, so a
mistake in them cannot hide in it. The rules, as the plan's author understands them:

- a column takes a value of its type, or one of another number type that is exactly equal; all else leaves it NULL;
- a json column takes every value without U+0000: plain JSON for text, booleans, null, int32, doubles, arrays and
  documents, and `{"$type": …}` for the rest; a missing field is NULL, and null is JSON's null;
- an array of documents is one row per element, counted from 0; anything but an array is no rows.

Which rows have residue is in `orchestrator.demo.exactness`.
"""

from __future__ import annotations

import json
import math
import re
import struct
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeAlias

from bson import Binary, Code, DatetimeMS, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp

Document: TypeAlias = dict[str, Any]
Expect: TypeAlias = Callable[[Any], Any]

MISSING = object()
"""Stands for a field that is not there."""

_LARGEST_INT32 = 2**31
_WHOLE_DIGITS = 10
"""Before the point of an amount."""

_DAY_MS = 86_400_000
_FIRST_MS, _LAST_MS = -2_440_588 * _DAY_MS, 9_223_372_036_854_774
"""The dates that a timestamp column takes: 4714-11-24 BC, where PostgreSQL begins, and the year 294247."""


def text(value: Any) -> Any:
    """A text column."""
    return value if type(value) is str and "\0" not in value else None


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
    if number is None or not number.is_finite() or number.adjusted() >= _WHOLE_DIGITS:
        return None
    return number if number == number.quantize(Decimal("0.01")) else None


def object_id(value: Any) -> Any:
    """A column of 24 hex digits."""
    return str(value) if isinstance(value, ObjectId) else None


def moment(value: Any) -> Any:
    """A timestamp column, in milliseconds since 1970."""
    if isinstance(value, datetime):
        value = DatetimeMS(value)
    return int(value) if isinstance(value, DatetimeMS) and _FIRST_MS <= int(value) <= _LAST_MS else None


def anything(value: Any) -> Any:
    """A json column, as canonical text."""
    if value is MISSING:
        return None
    try:
        return json_text(_json(value))
    except _NulError:
        return None


def json_text(value: Any) -> str:
    """JSON by value: keys in order, so that equal values are equal texts; 3 and 3.0 differ."""
    return json.dumps(value, sort_keys=True)


class _NulError(Exception):
    """A text holds U+0000, which jsonb lacks."""


def _json(value: Any) -> Any:
    if isinstance(value, str) and not isinstance(value, Code):
        if "\0" in value:
            raise _NulError
        return value
    if isinstance(value, Mapping):
        return {f"$${name[1:]}" if name.startswith("$") else name: _json(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_json(part) for part in value]
    for kind, write in _TAGS.items():
        if type(value) is kind:
            return write(value)
    return value


def _int64(value: Int64) -> Any:
    fits = -_LARGEST_INT32 <= value < _LARGEST_INT32
    return {"$numberLong": str(value)} if fits else int(value)


def _double(value: float) -> Any:
    if math.isfinite(value) and str(value) != "-0.0" and 1e-20 < (abs(value) or 1) < 1e20:
        return value
    names = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
    return {"$numberDouble": names.get(str(value), str(value))}


def _binary(value: bytes) -> Any:
    subtype = value.subtype if isinstance(value, Binary) else 0
    return {"$binary": {"base64": b64encode(value).decode(), "subType": f"{subtype:02x}"}}


_OPTIONS = {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL, "x": re.VERBOSE}


def _regex(value: Regex[str]) -> Any:
    options = "".join(letter for letter, flag in _OPTIONS.items() if value.flags & flag)
    return {"$regularExpression": {"pattern": value.pattern, "options": options}}


_TAGS: dict[type, Callable[[Any], Any]] = {
    float: _double,
    Int64: _int64,
    Decimal128: lambda value: {"$numberDecimal": "NaN" if "NaN" in str(value) else str(value)},
    bytes: _binary,
    Binary: _binary,
    Regex: _regex,
    ObjectId: lambda value: {"$oid": str(value)},
    Timestamp: lambda value: {"$timestamp": {"t": value.time, "i": value.inc}},
    DatetimeMS: lambda value: {"$date": {"$numberLong": str(int(value))}},
    datetime: lambda value: {"$date": {"$numberLong": str(int(DatetimeMS(value)))}},
    MinKey: lambda _: {"$minKey": 1},
    MaxKey: lambda _: {"$maxKey": 1},
    Code: lambda value: {"$code": str(value)},
}
"""How a json column writes the types that JSON lacks."""


_SELECT: dict[Expect, str] = {anything: "{}::text", moment: "(extract(epoch from {}) * 1000)::bigint"}


@dataclass(frozen=True)
class Table:
    """One table: its columns with the field that each takes and how; in a child table fields of the array's element."""

    name: str
    columns: tuple[tuple[str, str, Expect], ...]

    def row(self, document: Document) -> tuple[Any, ...]:
        """The expected row of a document or element."""
        return tuple(expect(_at(document, path)) for _, path, expect in self.columns)

    def select(self) -> str:
        """The columns for a hand-written SELECT; json as text, times as numbers: no client turns those into others."""
        return ", ".join(_SELECT.get(expect, "{}").format(name) for name, _, expect in self.columns)

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
