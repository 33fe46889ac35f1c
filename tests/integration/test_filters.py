"""Filters, judged by the server itself: what it finds with the filter as a driver sends it is what has to arrive.

Each filter is written twice by hand: as a plan says it, and as BSON. Nothing of the program reads the second.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import Binary, Decimal128, Int64, ObjectId, Regex

from tests.integration.route import Route, wait_until

FINISHED = 0
WHEN = datetime(2024, 1, 1, tzinfo=UTC)
ONE = ObjectId("507f1f77bcf86cd799439011")

DOCUMENTS: list[dict[str, Any]] = [
    {"_id": "d00", "name": "acme"},
    {"_id": "d01", "name": "acme-secret"},
    {"_id": "d02", "name": "ACME east"},
    {"_id": "d03", "name": "acme west"},
    {"_id": "d04", "name": "other", "tags": ["acme", "b"]},
    {"_id": "d05", "name": None},
    {"_id": "d06"},
    {"_id": "d07", "name": "x", "at": datetime(2023, 12, 31, tzinfo=UTC)},
    {"_id": "d08", "name": "x", "at": WHEN},
    {"_id": "d09", "name": "x", "ref": ONE},
    {"_id": "d10", "name": "x", "n": 1},
    {"_id": "d11", "name": "x", "n": 1.5},
    {"_id": "d12", "name": "x", "n": Decimal128("2.50")},
    {"_id": "d13", "name": "x", "n": Int64(9007199254740993)},
    {"_id": "d14", "name": "x", "raw": Binary(b"ab", 5)},
    {"_id": "d15", "name": "x", "items": [{"a": 1, "b": 2}, {"a": 2, "b": 1}]},
    {"_id": "d16", "name": "x", "items": [{"a": 1, "b": 1}]},
]

FILTERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a regular expression beside another condition": (
        {"name": {"$regex": "^acme", "$nin": ["acme-secret"]}},
        {"name": {"$regex": "^acme", "$nin": ["acme-secret"]}},
    ),
    "the same inside of $nor": (
        {"$nor": [{"name": {"$regex": "^acme", "$nin": ["acme-secret"]}}]},
        {"$nor": [{"name": {"$regex": "^acme", "$nin": ["acme-secret"]}}]},
    ),
    "its options": ({"name": {"$regex": "^acme", "$options": "i"}}, {"name": re.compile("^acme", re.IGNORECASE)}),
    "as a value": (
        {"name": {"$regularExpression": {"pattern": "^acme", "options": "i"}}},
        {"name": Regex("^acme", "i")},
    ),
    "as a value in a list": (
        {"name": {"$in": [{"$regularExpression": {"pattern": "^acme", "options": ""}}, None]}},
        {"name": {"$in": [Regex("^acme"), None]}},
    ),
    "null or missing": ({"name": None}, {"name": None}),
    "missing": ({"name": {"$exists": False}}, {"name": {"$exists": False}}),
    "a date": ({"at": {"$gte": {"$date": "2024-01-01T00:00:00Z"}}}, {"at": {"$gte": WHEN}}),
    "a date in milliseconds": ({"at": {"$date": {"$numberLong": "1704067200000"}}}, {"at": WHEN}),
    "an ObjectId": ({"ref": {"$oid": "507f1f77bcf86cd799439011"}}, {"ref": ONE}),
    "a decimal": ({"n": {"$numberDecimal": "2.5"}}, {"n": Decimal128("2.5")}),
    "a long": ({"n": {"$gt": {"$numberLong": "9007199254740992"}}}, {"n": {"$gt": Int64(9007199254740992)}}),
    "a binary": ({"raw": {"$binary": {"base64": "YWI=", "subType": "05"}}}, {"raw": Binary(b"ab", 5)}),
    "an element": ({"items": {"$elemMatch": {"a": 1, "b": 1}}}, {"items": {"$elemMatch": {"a": 1, "b": 1}}}),
    "a type": ({"n": {"$type": "double"}}, {"n": {"$type": "double"}}),
    "an expression": ({"$expr": {"$gt": ["$n", 1]}}, {"$expr": {"$gt": ["$n", 1]}}),
    "the key": (
        {"_id": {"$gt": "d03"}, "$or": [{"n": 1}, {"name": "other"}]},
        {"_id": {"$gt": "d03"}, "$or": [{"n": 1}, {"name": "other"}]},
    ),
}


@pytest.fixture
def collection(route: Route) -> Any:
    route.documents().insert_many(DOCUMENTS)
    return route.documents()


def test_what_the_server_finds_is_what_arrives(route: Route, collection: Any) -> None:
    """By the copy and, after each document was touched, by the applier; and the program's own comparison agrees."""
    names = {f"s{number}": title for number, title in enumerate(FILTERS)}
    streams = {
        name: {"from": "things", "where": FILTERS[title][0], "key": {"_id": "text"}, "columns": {"name": "text"}}
        for name, title in names.items()
    }
    expected = {
        name: sorted(found["_id"] for found in collection.find(FILTERS[title][1])) for name, title in names.items()
    }
    assert all(expected.values()), "a filter that finds nothing proves nothing"
    plan = route.plan(streams)
    run = route.run_to_approval(plan)
    assert {name: [key for (key,) in route.rows(name, "_id")] for name in streams} == expected
    collection.insert_one({"_id": "d99", "name": "acme last"})
    collection.update_one({"_id": "d00"}, {"$set": {"name": "acme-secret"}})
    expected = {
        name: sorted(found["_id"] for found in collection.find(FILTERS[title][1])) for name, title in names.items()
    }

    def arrived() -> dict[str, list[str]]:
        return {name: [key for (key,) in route.rows(name, "_id")] for name in streams}

    wait_until(lambda: arrived() == expected, run, "what the server finds now")
    code, said = route.tranship("reconcile", plan)
    assert code == FINISHED, said
