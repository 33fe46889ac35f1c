"""What a `where` may say, by examples written by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.plans.texts import HEAD, problems_of

WHOLE: tuple[dict[str, Any], ...] = (
    {"name": {"$regex": "^acme", "$nin": ["acme-secret"]}},
    {"name": {"$regex": "^acme", "$options": "i"}},
    {"at": {"$gte": {"$date": "2024-01-01T00:00:00Z"}}},
    {"name": "$$NOW"},
    {"$expr": {"$eq": ["$name", {"$literal": "$$NOW"}]}},
    {"$nor": [{"a": {"$type": "string"}}, {"b": {"$exists": True}}]},
    {"ref": {"$ref": "shops", "$id": 1}},
    {"a": {"$in": [{"$numberLong": 5}, {"$numberLong": "-9223372036854775808"}, {"$numberInt": "-5"}]}},
    {"a": {"$in": [{"$numberDouble": "-Infinity"}, {"$numberDouble": "1e300"}, {"$numberDecimal": "-1.5E-10"}]}},
    {"a": {"$in": [{"$date": "2024-01-01T00:00:00.5+02:00"}, {"$date": 5}, {"$date": {"$numberLong": "-5"}}]}},
    {"a": {"$in": [{"$binary": {"base64": "", "subType": "2"}}, {"$uuid": "00112233-4455-6677-8899-aabbccddeeff"}]}},
    {"a": {"$in": [{"$minKey": 1}, {"$maxKey": 1}, {"$timestamp": {"t": 4294967295, "i": 0}}, {"$symbol": "a"}]}},
    {"a": {"$code": "x", "$scope": {"y": {"$oid": "507f1f77bcf86cd799439011"}}}},
)
REFUSED: tuple[tuple[dict[str, Any], str], ...] = (
    ({"a": {"$oid": "507f1f77bcf86cd799439011", "$ne": 1}}, "a: $ne cannot stand beside $oid"),
    ({"a": {"$date": "2024-01-01T00:00:00Z", "$gt": 1}}, "a: $gt cannot stand beside $date"),
    ({"$or": [{"a": {"$numberLong": "1", "b": 2}}]}, "$or.0.a: b cannot stand beside $numberLong"),
    ({"a": {"$code": "x", "$scope": {}, "y": 1}}, "a: y cannot stand beside $code"),
    ({"$expr": {"$lt": ["$at", "$$NOW"]}}, "$$NOW in $expr.$lt.1 depends on time"),
    ({"$and": [{"$expr": {"$lt": ["$at", {"$add": ["$$NOW", 5]}]}}]}, "depends on time"),
    ({"$expr": {"$lt": ["$at", "$$CLUSTER_TIME"]}}, "depends on time"),
    ({"$expr": {"$lt": [{"$rand": {}}, 0.5]}}, "depends on chance"),
    ({"$sampleRate": 0.5}, "$sampleRate depends on chance"),
    ({"$nor": [{"$where": "this.a > 1"}]}, "$nor.0.$where runs code of its own"),
    ({"$expr": {"$function": {"body": "x", "args": [], "lang": "js"}}}, "runs code of its own"),
    ({"a": {"$undefined": True}}, "$undefined cannot be asked for"),
    ({"$expr": {"$eq": ["$a", {"$createObjectId": {}}]}}, "depends on chance"),
    ({"$or": [{"loc": {"$geoNear": [1, 1]}}]}, "does not stand beside a condition on keys"),
    ({"a": {"$numberLong": 1.9}}, "a: not a value of $numberLong"),
    ({"a": {"$numberLong": True}}, "not a value of $numberLong"),
    ({"a": {"$numberLong": "9223372036854775808"}}, "not a value of $numberLong"),
    ({"a": {"$numberInt": "2147483648"}}, "not a value of $numberInt"),
    ({"a": {"$numberDouble": "x"}}, "not a value of $numberDouble"),
    ({"a": {"$numberDouble": "1e400"}}, "not a value of $numberDouble"),
    ({"a": {"$numberDecimal": 1.5}}, "not a value of $numberDecimal"),
    ({"a": {"$date": 1.5}}, "not a value of $date"),
    ({"a": {"$date": {"$numberDouble": "1.5"}}}, "not a value of $date"),
    ({"a": {"$date": "2024-01-01T00:00:00.123456Z"}}, "not a value of $date"),
    ({"a": {"$date": "2024-01-01T00:00:00"}}, "not a value of $date"),
    ({"a": {"$binary": {"base64": "Y!WI=", "subType": "00"}}}, "not a value of $binary"),
    ({"a": {"$binary": {"base64": "YWI=", "subType": "00", "x": 1}}}, "not a value of $binary"),
    ({"a": {"$regularExpression": {"pattern": "a", "options": "q"}}}, "not a value of $regularExpression"),
    ({"a": {"$timestamp": {"t": -1, "i": 1}}}, "not a value of $timestamp"),
    ({"a": {"$oid": "5"}}, "not a value of $oid"),
    ({"a": {"$symbol": 5}}, "not a value of $symbol"),
    ({"a": {"$code": "x", "$scope": 5}}, "not a value of $code"),
    ({"a": {"$minKey": True}}, "not a value of $minKey"),
)


def said_of(folder: Path, where: dict[str, Any]) -> str:
    streams = json.dumps({"streams": {"orders": {"where": where, "columns": {"status": "text"}}}})
    return "\n".join(problems_of(folder, HEAD + streams[1:-1]))


@pytest.mark.parametrize("where", WHOLE, ids=str)
def test_a_whole_filter_is_taken(tmp_path: Path, where: dict[str, Any]) -> None:
    assert said_of(tmp_path, where) == ""


@pytest.mark.parametrize(("where", "said"), REFUSED, ids=lambda one: str(one)[:40])
def test_what_would_be_dropped_or_change_its_mind_is_refused(tmp_path: Path, where: dict[str, Any], said: str) -> None:
    assert said in said_of(tmp_path, where)
