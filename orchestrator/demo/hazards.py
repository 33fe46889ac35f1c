"""What makes a document awkward: the irregularities of real collections, one at a time.

None of them touches the key or makes two documents collide on a unique field.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any, TypeAlias

from bson import Decimal128, Int64

Document: TypeAlias = dict[str, Any]
Hazard: TypeAlias = Callable[[Document], None]


def make_awkward(rng: random.Random, collection: str, document: Document) -> None:
    """Apply one hazard, chosen by the generator, to a document of this collection in place."""
    rng.choice(HAZARDS[collection])(document)


def _missing(field: str) -> Hazard:
    def apply(document: Document) -> None:
        document.pop(field, None)

    return apply


def _set(field: str, value: Any) -> Hazard:
    def apply(document: Document) -> None:
        document[field] = value

    return apply


def _in_address(field: str, value: Any) -> Hazard:
    def apply(document: Document) -> None:
        document["address"][field] = value

    return apply


def _in_first_item(field: str, value: Any) -> Hazard:
    def apply(document: Document) -> None:
        document["items"][0][field] = value

    return apply


def _item_without_quantity(document: Document) -> None:
    del document["items"][0]["qty"]


def _other_order(document: Document) -> None:
    """Move the first field after the key to the end."""
    field = next(name for name in document if name != "_id")
    document[field] = document.pop(field)


HAZARDS: dict[str, list[Hazard]] = {
    "customers": [
        _missing("email"),
        _missing("address"),
        _missing("tags"),
        _set("name", None),
        _set("name", 42),
        _set("address", "12 High Street, Porto"),
        _set("address", None),
        _in_address("zip", 2100),
        _in_address("country", "日本"),
        _set("tags", [["nested"], ["deeper", ["still"]], []]),
        _set("tags", None),
        _set("tags", "gold"),
        _set("created_at", "2024-02-30"),
        _set("nickname", "not in the plan"),
        _other_order,
    ],
    "products": [
        _set("stock", "12"),
        _set("stock", Int64(7)),
        _set("stock", 7.0),
        _set("stock", 7.5),
        _set("stock", Decimal128("7")),
        _set("stock", None),
        _set("price", 19.99),
        _set("price", Decimal128("5")),
        _set("price", Decimal128("1E+2")),
        _set("price", Decimal128("NaN")),
        _set("price", Decimal128("3.14159")),
        _set("title", ""),
        _set("title", "zero width\u200b and \U0001f9ea and \u202eright to left"),
        _set("attrs", {}),
        _set("attrs", []),
        _set("attrs", {"deep": {"a": [[[{"b": [None, False, "", {}]}]]]}}),
        _set("attrs", {"long": Int64(5), "exact": Decimal128("1.50"), "whole": 3.0}),
        _missing("attrs"),
    ],
    "orders": [
        _set("items", []),
        _set("items", None),
        _missing("items"),
        _in_first_item("qty", "12"),
        _in_first_item("qty", Int64(3)),
        _in_first_item("qty", 2.0),
        _in_first_item("qty", None),
        _in_first_item("sku", None),
        _in_first_item("price", 9.5),
        _in_first_item("gift", True),
        _item_without_quantity,
        _missing("status"),
        _missing("address"),
        _set("address", {}),
        _in_address("city", ["Porto", "Gaia"]),
        _set("status", None),
        _set("customer_id", "guest"),
        _set("total", Decimal128(Decimal("12345.678"))),
        _set("total", 0),
        _set("placed_at", None),
        _other_order,
    ],
    "events": [
        _set("amount", 5),
        _set("amount", Int64(2**53 + 1)),
        _set("amount", float("nan")),
        _set("amount", float("-inf")),
        _set("amount", -0.0),
        _set("amount", "1.5"),
        _set("kind", ""),
        _set("kind", True),
        _set("payload", "plain text"),
        _set("payload", None),
        _set("payload", [1, "1", 1.5, True, None]),
        _set("payload", {"1": {"2": {"3": {"4": {"5": []}}}}, "ключ": "значение"}),
        _missing("payload"),
        _missing("amount"),
    ],
}
"""The hazards of each collection."""
