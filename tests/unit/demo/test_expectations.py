"""The oracle's own reading of the plan, value by value, and how it counts."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from bson import DatetimeMS, Decimal128, Int64, MinKey, ObjectId

from tranship.orchestrator.demo import expectations as e
from tranship.orchestrator.demo.ledger import place_of
from tranship.orchestrator.demo.oracle import compare

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        (e.text, "søk", "søk"),
        (e.text, 12, None),
        (e.text, None, None),
        (e.text, e.MISSING, None),
        (e.int32, 12, 12),
        (e.int32, Int64(12), 12),
        (e.int32, Int64(2**31), None),
        (e.int32, "12", None),
        (e.int32, 12.0, None),
        (e.int32, True, None),
        (e.int64, Int64(2**40), 2**40),
        (e.money, Decimal128("1.10"), Decimal("1.10")),
        (e.money, Decimal128("5"), Decimal(5)),
        (e.money, Decimal128("1E+2"), Decimal(100)),
        (e.money, 0, Decimal(0)),
        (e.money, Decimal128("3.14159"), None),
        (e.money, Decimal128("NaN"), None),
        (e.money, 9.5, None),
        (e.object_id, ObjectId("0123456789abcdef01234567"), "0123456789abcdef01234567"),
        (e.object_id, "guest", None),
        (e.moment, NOON, 1_714_564_800_000),
        (e.moment, DatetimeMS(253_402_300_800_000), 253_402_300_800_000),
        (e.moment, DatetimeMS(2**63 - 1), None),
        (e.text, "a\0b", None),
        (e.money, Decimal128("9.99E+6144"), None),
        (e.money, Decimal128("1E-6176"), None),
        (e.anything, {"a": ["a\0b"]}, None),
        (e.anything, MinKey(), '{"$minKey": 1}'),
        (e.anything, {"$oid": -0.0}, '{"$$oid": {"$numberDouble": "-0.0"}}'),
        (e.moment, "2024-02-30", None),
        (e.anything, e.MISSING, None),
        (e.anything, None, "null"),
        (e.anything, {"b": 1, "a": [True, "x", 1.5, 3.0]}, '{"a": [true, "x", 1.5, 3.0], "b": 1}'),
        (e.anything, {"n": Int64(5)}, '{"n": {"$numberLong": "5"}}'),
        (e.anything, Decimal128("1.50"), '{"$numberDecimal": "1.50"}'),
    ],
)
def test_columns(column: e.Expect, value: Any, expected: Any) -> None:
    assert column(value) == expected


def test_doubles_are_told_apart_by_their_bits() -> None:
    assert e.double(5) == e.double(Int64(5)) == e.double(5.0)
    assert e.double(0.0) != e.double(-0.0)
    assert e.double(math.nan) == e.double(-math.nan)
    assert e.double(Int64(2**53 + 1)) is None
    assert e.double("1.5") is None


def test_an_order_is_its_row_and_its_items_in_order() -> None:
    order = {
        "_id": ObjectId(),
        "order_no": 7,
        "address": {"city": "Porto"},
        "items": [{"sku": "a", "qty": "12"}, {"qty": 2, "price": Decimal128("1.50")}],
    }
    row, items = e.EXPECTATIONS["orders"].form(order)
    assert row == (7, None, None, None, None, "Porto")
    assert items == (("a", None, None), (None, 2, Decimal("1.50")))


@pytest.mark.parametrize("items", [[], None, "none"])
def test_an_order_without_items_has_no_item_rows(items: Any) -> None:
    assert e.EXPECTATIONS["orders"].form({"_id": 1, "items": items})[1] == ()


def test_comparison_counts_lost_and_wrong() -> None:
    same, changed, missing, undeleted, extra, either = (place_of("orders", {"_id": n}) for n in range(6))
    allowed = {same: ("a",), changed: ("b",), missing: ("c",), undeleted: (None,), either: (None, "d")}
    result = compare(allowed, {same: "a", changed: "x", undeleted: "y", extra: "z", either: "d"}, rows=5)
    assert (result.lost, result.wrong, result.documents) == (3, 3, 5)
    assert [line.split(":")[0] for line in result.examples] == [f"orders {n}" for n in (1, 2, 3, 4)]
    assert not result.equal


def test_both_outcomes_of_an_unknown_write_are_right() -> None:
    place = place_of("orders", {"_id": 1})
    for found in ({}, {place: "after"}):
        assert compare({place: (None, "after")}, found, rows=0).equal
