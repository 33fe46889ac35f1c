"""What makes a document awkward: the irregularities of real collections, one at a time.

None of them touches the key or makes two documents collide on a unique field. A server may be unable to keep one: not
every MongoDB-compatible server has all of MongoDB's values. `not_kept` asks it, and the shop then does without those.
"""

from __future__ import annotations

import random
import secrets
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeAlias

import bson
import pymongo
from bson import Binary, Code, DatetimeMS, Decimal128, Int64, MaxKey, MinKey, Regex, Timestamp
from bson.raw_bson import RawBSONDocument
from pymongo.errors import PyMongoError

Document: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Hazard:
    """One irregularity. `plain`: the document is still what a dictionary holds, so that writers can go on with it."""

    name: str
    apply: Callable[[Document], None]
    plain: bool = True

    def __call__(self, document: Document) -> None:
        """Apply it to a document in place."""
        self.apply(document)


def make_awkward(
    rng: random.Random, collection: str, document: Document, without: frozenset[str], *, plain: bool = False
) -> None:
    """Apply one hazard, chosen by the generator, to a document of this collection in place."""
    found = [hazard for hazard in HAZARDS[collection] if hazard.name not in without and (hazard.plain or not plain)]
    rng.choice(found)(document)


def not_kept(uri: str, examples: Mapping[str, Callable[[], Document]]) -> frozenset[str]:
    """The names of the hazards that the server refuses or changes; `examples` make a plain document per collection."""
    name = f"tranship_{secrets.token_hex(6)}"
    with pymongo.MongoClient[Document](uri) as client:
        scratch = client[name].hazards
        try:
            return frozenset(
                hazard.name
                for collection, example in examples.items()
                for hazard in HAZARDS[collection]
                if not _is_kept(scratch, hazard, example())
            )
        finally:
            client.drop_database(name)


def _is_kept(scratch: pymongo.collection.Collection[Document], hazard: Hazard, document: Document) -> bool:
    hazard(document)
    raw = bson.encode(document)
    try:
        scratch.delete_many({})
        scratch.insert_one(RawBSONDocument(raw))
        blocks: Iterator[Any] = scratch.find_raw_batches()  # of bytes, whatever the driver's types say
        return b"".join(blocks) == raw
    except PyMongoError:
        return False


def _missing(field: str) -> Hazard:
    return Hazard(f"no {field}", lambda document: document.pop(field, None))


def _set(field: str, value: Any) -> Hazard:
    def apply(document: Document) -> None:
        document[field] = value

    return Hazard(f"{field}: {value!r}", apply)


def _in_address(field: str, value: Any) -> Hazard:
    def apply(document: Document) -> None:
        document["address"][field] = value

    return Hazard(f"address.{field}: {value!r}", apply)


def _in_first_item(field: str, value: Any) -> Hazard:
    def apply(document: Document) -> None:
        document["items"][0][field] = value

    return Hazard(f"items.0.{field}: {value!r}", apply)


def _without_quantity(document: Document) -> None:
    del document["items"][0]["qty"]


def _reordered(document: Document) -> None:
    """Move the first field after the key to the end."""
    field = next(name for name in document if name != "_id")
    document[field] = document.pop(field)


def _twice(field: str, name: str, first: int, second: int) -> Hazard:
    """A subdocument with one name twice: no dictionary holds it."""
    elements = b"".join(b"\x10" + name.encode() + b"\0" + struct.pack("<i", number) for number in (first, second))
    raw = struct.pack("<i", len(elements) + 5) + elements + b"\0"

    def apply(document: Document) -> None:
        document[field] = RawBSONDocument(raw)

    return Hazard(f"{field}: {{{name}: {first}, {name}: {second}}}", apply, plain=False)


_item_without_quantity = Hazard("items.0 without qty", _without_quantity)
_other_order = Hazard("fields in another order", _reordered)

_YEAR_0, _YEAR_10000 = DatetimeMS(-62_167_219_200_000), DatetimeMS(253_402_300_800_000)
_FIRST_MS, _LAST_MS = DatetimeMS(-(2**63)), DatetimeMS(2**63 - 1)
_UUID = bytes.fromhex("00112233445566778899aabbccddeeff")

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
        _set("name", "U+0000: \0"),
        _set("name", Code("f()")),
        _in_address("zip", Binary(b"2100", 128)),
        _in_address("street", Regex("^High", "im")),
        _set("tags", ["U+0000: \0"]),
        _set("tags", [[[]], [[[None]]], Regex("^a.b$", "imx")]),
        _set("created_at", _YEAR_0),
        _set("created_at", _YEAR_10000),
        _set("created_at", _LAST_MS),
        _twice("address", "zip", 1, 2),
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
        _set("price", Decimal128("-0.00")),
        _set("price", Decimal128("1E-6176")),
        _set("price", Decimal128("9.99E+6144")),
        _set("price", Decimal128("-Infinity")),
        _set("price", Decimal128("sNaN")),
        _set("title", ""),
        _set("title", "zero width\u200b and \U0001f9ea and \u202eright to left"),
        _set("attrs", {}),
        _set("attrs", []),
        _set("attrs", {"deep": {"a": [[[{"b": [None, False, "", {}]}]]]}}),
        _set("attrs", {"long": Int64(5), "exact": Decimal128("1.50"), "whole": 3.0}),
        _missing("attrs"),
        _set("attrs", {"four": Binary(_UUID, 4), "user": Binary(b"\xff", 200), "three": Binary(_UUID, 3)}),
        _set("attrs", {"amounts": [Decimal128("-0"), Decimal128("1E+3"), Decimal128("NaN"), Decimal128("1.10")]}),
        _set("attrs", {"$oid": "no tag", "": 1, "a.b": [MinKey(), MaxKey()]}),
        _set("attrs", {"": 1, "a.b": [MinKey(), MaxKey()], "$oid": "no tag"}),
        _twice("attrs", "colour", 1, 2),
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
        _set("placed_at", _YEAR_10000),
        _set("placed_at", Timestamp(1_700_000_000, 7)),
        _set("status", "U+0000: \0"),
        _set("status", MinKey()),
        _set("total", Decimal128("1E+3")),
        _in_first_item("sku", "U+0000: \0"),
        _in_first_item("sku", Binary(_UUID, 4)),
        _in_first_item("price", Decimal128("1E+1")),
        _set("items", [[], [[]]]),
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
        _set("amount", MaxKey()),
        _set("kind", "U+0000: \0"),
        _set("at", _FIRST_MS),
        _set("at", _YEAR_10000),
        _set("payload", {"at": Timestamp(2**32 - 1, 2), "re": Regex("a.b", "ix"), "min": MinKey()}),
        _set("payload", [_LAST_MS]),
        _set("payload", {"text": "U+0000: \0"}),
        _set("payload", {"numbers": [float("nan"), float("inf"), -0.0, 1e300, 5e-324, 2.0**53]}),
        _twice("payload", "pages", 1, 2),
    ],
}
"""The hazards of each collection."""
