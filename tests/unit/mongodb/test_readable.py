"""Documents as people see them: nothing of a well formed one is left out, and a malformed one shows where."""

from __future__ import annotations

import json
from typing import Any

import bson
import pytest
from bson import (
    Binary,
    Code,
    DatetimeMS,
    DBRef,
    Decimal128,
    Int64,
    MaxKey,
    MinKey,
    ObjectId,
    Regex,
    Timestamp,
    json_util,
)
from bson.codec_options import DatetimeConversion
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.mongodb.bson_strategies import VALUES
from tranship.connectors.mongodb import bsonwalk
from tranship.connectors.mongodb.readable import readable

IDENTITY = ObjectId("0123456789abcdef01234567")

EVERYTHING: dict[str, Any] = {
    "": 1.5, "nan": float("nan"), "inf": float("-inf"), "zero": -0.0, "text": 'a"b\\c\n', "é": {"$oid": "no tag"},
    "array": [1, [], {}, [None]], "binary": Binary(b"\0\xff", 128), "id": IDENTITY, "yes": True, "no": False,
    "date": DatetimeMS(-(2**63)), "null": None, "regex": Regex("a.b", "im"), "ref": DBRef("c", IDENTITY, "d"),
    "code": Code("x()"), "scoped": Code("y()", {"z": 1}), "int": -5, "time": Timestamp(2, 1), "long": Int64(2**62),
    "decimal": Decimal128("1E+3"), "min": MinKey(), "max": MaxKey(),
}  # fmt: skip


def test_it_is_canonical_extended_json() -> None:
    options = json_util.CANONICAL_JSON_OPTIONS
    expected = json.loads(json_util.dumps(EVERYTHING, json_options=options))
    found = json.loads(readable(bson.encode(EVERYTHING)))
    assert found == expected
    assert list(found) == list(expected)


@given(st.dictionaries(st.text("ab$.", max_size=3), VALUES, max_size=3))
def test_what_is_read_stands_for_the_document(document: dict[str, Any]) -> None:
    raw = bson.encode(document)
    options = json_util.CANONICAL_JSON_OPTIONS
    decoded = bson.decode(raw, bson.CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS))
    assert json.loads(readable(raw)) == json.loads(json_util.dumps(decoded, json_options=options))


def element(kind: int, name: bytes, value: bytes) -> bytes:
    return bytes((kind,)) + name + b"\0" + value


def document(*elements: bytes) -> bytes:
    body = b"".join(elements) + b"\0"
    return (len(body) + 4).to_bytes(4, "little") + body


def string(text: bytes) -> bytes:
    return (len(text) + 1).to_bytes(4, "little") + text + b"\0"


def test_what_a_decoder_would_drop_or_change_is_there() -> None:
    raw = document(
        element(bsonwalk.INT32, b"twice", b"\1\0\0\0"),
        element(bsonwalk.INT32, b"twice", b"\2\0\0\0"),
        element(bsonwalk.SYMBOL, b"symbol", string(b"s")),
        element(bsonwalk.UNDEFINED, b"undefined", b""),
        element(bsonwalk.DB_POINTER, b"pointer", string(b"c") + IDENTITY.binary),
    )
    assert readable(raw).splitlines() == [
        "{",
        '  "twice": {"$numberInt": "1"},',
        '  "twice": {"$numberInt": "2"},',
        '  "symbol": {"$symbol": "s"},',
        '  "undefined": {"$undefined": true},',
        f'  "pointer": {{"$dbPointer": {{"$ref": "c", "$id": {{"$oid": "{IDENTITY}"}}}}}}',
        "}",
    ]


def test_no_character_acts_on_a_terminal() -> None:
    odd = "\x1b[2J\0\x9b\u202e\u2028\U000e0001"
    text = readable(bson.encode({"a" + odd.replace("\0", ""): odd}))
    assert all(one.isprintable() or one == "\n" for one in text)
    assert list(json.loads(text).values()) == [odd]


def test_deep_documents_are_read() -> None:
    nested: dict[str, Any] = {}
    for _ in range(bsonwalk.MAX_DEPTH // 2):
        nested = {"d": [nested]}
    assert json.loads(readable(bson.encode(nested))) == nested


BAD_TEXT = element(bsonwalk.STRING, b"bad", string(b"\xff\xfe"))


@pytest.mark.parametrize(
    ("raw", "path", "reason", "at"),
    [
        (document(element(bsonwalk.NULL, b"a", b""), BAD_TEXT), "bad", "string is not UTF-8", 12),
        (
            document(element(bsonwalk.DOCUMENT, b"in", document(element(bsonwalk.BOOL, b"flag", b"\7")))),
            "in.flag",
            "boolean is neither 0 nor 1",
            18,
        ),
        (document(element(0x55, b"odd", b"")), "odd", "unknown type 0x55", 0),
        (document(element(bsonwalk.ARRAY, b"in", document(element(0x55, b"0", b"")))), "in.0", "unknown type 0x55", 8),
    ],
)
def test_a_fault_is_shown_with_its_place(raw: bytes, path: str, reason: str, at: int) -> None:
    head, *dump = readable(raw).splitlines()
    assert head == f"not well formed BSON at {path}, in the value that starts at byte {at}: {reason}"
    assert bytes.fromhex("".join(line[10:57] for line in dump)) == raw
    assert [line[:8] for line in dump] == [f"{place:08x}" for place in range(0, len(raw), 16)]


def test_of_large_malformed_documents_the_bytes_around_the_fault_are_shown() -> None:
    padding = element(bsonwalk.BINARY, b"p", (5000).to_bytes(4, "little") + b"\0" + bytes(5000))
    raw = document(padding, BAD_TEXT, padding)
    _, first, *dump, last = readable(raw).splitlines()
    before = int(first.split()[0].strip("("))
    assert len(dump) == 64
    shown = bytes.fromhex("".join(line[10:57] for line in dump))
    assert raw[before : before + len(shown)] == shown
    assert b"\xff\xfe" in shown
    assert last == f"({len(raw) - before - len(shown)} bytes behind)"


@given(st.binary(max_size=60), st.integers(0, 60), st.binary(max_size=3))
def test_arbitrary_bytes_are_shown(data: bytes, place: int, noise: bytes) -> None:
    spoiled = bytearray(bson.encode(EVERYTHING))
    spoiled[place : place + len(noise)] = noise
    for raw in (data, bytes(spoiled)):
        assert readable(raw)
