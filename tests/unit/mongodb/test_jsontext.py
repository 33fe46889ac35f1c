"""JSON text of BSON values: written as PostgreSQL prints jsonb, and read back to the same value."""

from __future__ import annotations

import struct
from random import Random, randrange
from typing import Any

import bson
import pytest
from bson import Binary, Code, DatetimeMS, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp, json_util
from bson.binary import UuidRepresentation

from tests.unit.mongodb import random_bson
from tests.unit.mongodb.bson_strategies import pack_document, pack_string
from tranship.connectors.mongodb import jsontext


def written(value: object) -> tuple[str | None, bool]:
    raw = bson.encode({"v": value})
    return jsontext.write(raw[4], raw, 7, len(raw) - 1)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (5, "5"),
        (Int64(5), '{"$numberLong": "5"}'),
        (2**31, "2147483648"),
        (-(2**63), "-9223372036854775808"),
        (1.0, "1.0"),
        (0.1, "0.1"),
        (1e16, "10000000000000000.0"),
        (1e-7, "0.0000001"),
        (1e300, '{"$numberDouble": "1e+300"}'),
        (-0.0, '{"$numberDouble": "-0.0"}'),
        (float("nan"), '{"$numberDouble": "NaN"}'),
        (float("-inf"), '{"$numberDouble": "-Infinity"}'),
        (Decimal128("1.10"), '{"$numberDecimal": "1.10"}'),
        (Decimal128("1E+3"), '{"$numberDecimal": "1E+3"}'),
        (Decimal128("-0"), '{"$numberDecimal": "-0"}'),
        ('a"\\\n\x01\x7fé😀', '"a\\"\\\\\\n\\u0001\x7fé😀"'),
        ([], "[]"),
        ([1, [2]], "[1, [2]]"),
        ({}, "{}"),
        ({"b": 1, "aa": 2}, '{"b": 1, "aa": 2}'),
        ({"$oid": 1}, '{"$$oid": 1}'),
        ({"$$": 1}, '{"$$$": 1}'),
        (ObjectId("5" * 24), '{"$oid": "555555555555555555555555"}'),
        (Binary(b"ab", 4), '{"$binary": {"base64": "YWI=", "subType": "04"}}'),
        (Binary(b"ab", 2), '{"$binary": {"base64": "YWI=", "subType": "02"}}'),
        (Binary(b"", 2), '{"$binary": {"base64": "", "subType": "02"}}'),
        (DatetimeMS(2**63 - 1), '{"$date": {"$numberLong": "9223372036854775807"}}'),
        (Timestamp(2**32 - 1, 7), '{"$timestamp": {"i": 7, "t": 4294967295}}'),
        (Regex("a", "im"), '{"$regularExpression": {"options": "im", "pattern": "a"}}'),
        (Code("x"), '{"$code": "x"}'),
        (Code("x", {"y": 1}), '{"$code": "x", "$scope": {"y": 1}}'),
        (MinKey(), '{"$minKey": 1}'),
        (MaxKey(), '{"$maxKey": 1}'),
    ],
)
def test_values_and_their_text(value: Any, text: str) -> None:
    assert written(value) == (text, True)
    raw = bson.encode({"v": value})
    assert jsontext.read(text) == (raw[4], raw[7:-1])


@pytest.mark.parametrize("subtype", [0, 1, 2, 3, 4, 5, 6, 128, 255])
def test_the_driver_reads_binaries_as_they_are_written(subtype: int) -> None:
    """The driver's reading of Extended JSON is the judge."""
    options = json_util.JSONOptions(uuid_representation=UuidRepresentation.UNSPECIFIED)
    for content in (b"", b"ab", bytes(16)):
        value = Binary(content, subtype)
        text, exact = written(value)
        assert exact
        assert text is not None
        assert bson.encode({"v": json_util.loads(text, json_options=options)}) == bson.encode({"v": value})


@pytest.mark.parametrize("content", [b"", b"ab", b"\3\0\0\0ab", b"\xff\xff\xff\xff"])
def test_a_binary_whose_inner_length_lies_is_not_exact(content: bytes) -> None:
    raw = struct.pack("<i", len(content)) + b"\2" + content
    _, exact = jsontext.write(0x05, raw, 0, len(raw))
    assert not exact


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        (0x06, b"", '{"$undefined": true}'),
        (0x0E, pack_string("s"), '{"$symbol": "s"}'),
        (0x0C, pack_string("c") + b"\1" * 12, '{"$dbPointer": {"$id": {"$oid": "' + "01" * 12 + '"}, "$ref": "c"}}'),
    ],
)  # fmt: skip
def test_deprecated_types(kind: int, value: bytes, text: str) -> None:
    assert jsontext.write(kind, value, 0, len(value)) == (text, True)
    assert jsontext.read(text) == (kind, value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"aa": 2, "b": 1}, '{"b": 1, "aa": 2}'),
        ({"a": {"d": 1, "c": 1}}, '{"a": {"c": 1, "d": 1}}'),
        ("a\0", None),
        ({"a": ["\0"]}, None),
    ],
)
def test_what_jsonb_cannot_keep_is_not_exact(value: Any, text: str | None) -> None:
    assert written(value) == (text, False)


def test_repeated_fields_and_odd_arrays_are_not_exact() -> None:
    twice = pack_document([(0x08, "a", b"\0"), (0x08, "a", b"\1")])
    assert jsontext.write(0x03, twice, 0, len(twice)) == ('{"a": true}', False)
    odd = pack_document([(0x08, "1", b"\1")])
    assert jsontext.write(0x04, odd, 0, len(odd)) == ("[true]", False)


def test_nan_with_a_payload_is_not_exact() -> None:
    raw = struct.pack("<Q", 0x7FF8000000000001)
    assert jsontext.write(0x01, raw, 0, 8) == ('{"$numberDouble": "NaN"}', False)


def test_exact_texts_give_back_just_the_value() -> None:
    seed = randrange(2**32)
    random = Random(seed)
    exact = 0
    for _ in range(400):
        kind, raw = random_bson.value(random)
        text, is_exact = jsontext.write(kind, raw, 0, len(raw))
        assert is_exact == (text is not None and jsontext.read(text) == (kind, raw)), f"seed {seed}"
        exact += is_exact
    assert exact > 100


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e2", 100.0),
        ('{"$oid": "short"}', {"$oid": "short"}),
        ('{"$unknown": 1}', {"$unknown": 1}),
        ('{"$numberLong": "x"}', {"$numberLong": "x"}),
        ('{"a": {"$date": 5}}', {"a": {"$date": 5}}),
        ("123456789012345678901234567890", Decimal128("123456789012345678901234567890")),
    ],
)
def test_what_an_application_may_have_written_into_the_target_is_read(text: str, value: Any) -> None:
    raw = bson.encode({"v": value})
    assert jsontext.read(text) == (raw[4], raw[7:-1])
