"""Which rows of the shop must have residue, written down by hand, as `orchestrator.demo.expectations` is for columns.

A row has none if its columns alone say what the document was: fields in the plan's order and no others, each of just
the type that the plan expects, numbers of the expected scale, json with its keys in jsonb's order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeAlias

from bson import DatetimeMS, Decimal128, Int64, ObjectId

from tranship.orchestrator.demo.expectations import Document, moment
from tranship.orchestrator.demo.ledger import is_plain

Exact: TypeAlias = Callable[[Any], bool]
Shape: TypeAlias = Mapping[str, "Exact | Shape"]
"""What belongs into each field, in order; a subdocument has a shape of its own."""


def key(_: Any) -> bool:
    """A key: the shop's are all of one type."""
    return True


def text(value: Any) -> bool:
    """A string without U+0000."""
    return type(value) is str and "\0" not in value


def int32(value: Any) -> bool:
    """An int32."""
    return type(value) is int


def number(value: Any) -> bool:
    """An int32, for a column that has room for more."""
    return type(value) is int or (type(value) is Int64 and not -(2**31) <= value < 2**31)


def double(value: Any) -> bool:
    """A double."""
    return type(value) is float


def money(value: Any) -> bool:
    """A Decimal128 with just two digits after the point, and no negative zero."""
    if not isinstance(value, Decimal128):
        return False
    amount: Decimal = value.to_decimal()
    sign, digits, exponent = amount.as_tuple()
    return exponent == -2 and len(digits) <= 12 and not (sign and amount == 0)


def object_id(value: Any) -> bool:
    """An ObjectId."""
    return isinstance(value, ObjectId)


def time(value: Any) -> bool:
    """A date that PostgreSQL has."""
    return isinstance(value, datetime | DatetimeMS) and moment(value) is not None


def array(value: Any) -> bool:
    """An array whose elements are rows of their own."""
    return isinstance(value, list)


def anything(value: Any) -> bool:
    """A value that comes back from jsonb as it was."""
    if isinstance(value, dict):
        names = [("$" + name if name.startswith("$") else name).encode() for name in value]
        ordered = names == sorted(names, key=lambda name: (len(name), name))
        return ordered and all(b"\0" not in name for name in names) and all(map(anything, value.values()))
    if isinstance(value, list):
        return all(map(anything, value))
    if isinstance(value, Decimal128):
        return not value.to_decimal().is_snan()
    return "\0" not in value if isinstance(value, str) else True


SHAPES: dict[str, Shape] = {
    "customers": {
        "_id": key,
        "email": text,
        "name": text,
        "address": {"street": text, "city": text, "zip": text},
        "created_at": time,
        "tags": anything,
    },
    "products": {"_id": key, "title": text, "price": money, "stock": int32, "attrs": anything},
    "orders": {
        "_id": key,
        "order_no": number,
        "customer_id": object_id,
        "status": text,
        "total": money,
        "placed_at": time,
        "address": {"city": text},
        "items": array,
    },
    "events": {"_id": key, "kind": text, "at": time, "amount": double, "payload": anything},
}
"""The plan's order of the fields, and what belongs into each."""

ITEM: Shape = {"sku": text, "qty": int32, "price": money}

REQUIRED = {"orders": "items"}
"""No rows stand for an empty array: that there is none at all only the residue says."""


def root(collection: str, state: bytes, document: Document) -> bool:
    """Whether the document's own row must have residue."""
    required = REQUIRED.get(collection)
    complete = required is None or required in document
    return not (complete and is_plain(state) and _fits(document, SHAPES[collection]))


def element(value: Any) -> bool:
    """Whether the row of a line item must have residue."""
    return not (isinstance(value, dict) and _fits(value, ITEM))


def _fits(document: Document, shape: Shape) -> bool:
    if list(document) != [name for name in shape if name in document]:
        return False
    return all(_exact(value, shape[name]) for name, value in document.items())


def _exact(value: Any, wanted: Exact | Shape) -> bool:
    if isinstance(wanted, Mapping):
        return isinstance(value, dict) and bool(value) and _fits(value, wanted)
    return wanted(value)
