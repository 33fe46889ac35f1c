"""BSON values with names, as raw bytes: the hard ones of every type. `docs/fidelity.md` says what becomes of each.

Put together from the specification, not by the code under test, so that they are an oracle for it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from tests.unit.mongodb.bson_strategies import Value, decimal128, pack_array, pack_document, pack_string

DOUBLE, STRING, DOCUMENT, ARRAY, BINARY, UNDEFINED, OBJECT_ID, BOOL = range(0x01, 0x09)
DATE, NULL, REGEX, DB_POINTER, CODE, SYMBOL, CODE_WITH_SCOPE, INT32 = range(0x09, 0x11)
TIMESTAMP, INT64, DECIMAL = range(0x11, 0x14)
MIN_KEY, MAX_KEY = 0xFF, 0x7F


def int32(number: int) -> bytes:
    """Value bytes of an int32."""
    return struct.pack("<i", number)


def int64(number: int) -> bytes:
    """Value bytes of an int64, and of a date in milliseconds."""
    return struct.pack("<q", number)


def double(number: float) -> bytes:
    """Value bytes of a double."""
    return struct.pack("<d", number)


def binary(subtype: int, content: bytes) -> bytes:
    """Value bytes of a binary."""
    return struct.pack("<i", len(content)) + bytes((subtype,)) + content


def raw_string(content: bytes) -> bytes:
    """Value bytes of a string that need not be UTF-8."""
    return struct.pack("<i", len(content) + 1) + content + b"\0"


def document(*fields: tuple[str, Value]) -> bytes:
    """A document of named values."""
    return pack_document([(kind, name, value) for name, (kind, value) in fields])


def nested(levels: int) -> bytes:
    """A document in a document, so many levels down."""
    inner = document()
    for _ in range(levels):
        inner = document(("d", (DOCUMENT, inner)))
    return inner


def code_with_scope(code: str, scope: bytes) -> bytes:
    """Value bytes of a code with scope."""
    body = pack_string(code) + scope
    return struct.pack("<i", len(body) + 4) + body


def _bits(number: int) -> bytes:
    return number.to_bytes(16, "little")


_UUID = bytes.fromhex("00112233445566778899aabbccddeeff")
ONE: Value = (INT32, int32(1))
TWO: Value = (INT32, int32(2))
TEXT_ONE: Value = (STRING, pack_string("1"))
NOTHING: Value = (NULL, b"")

TYPES: Mapping[str, int] = {
    "double": DOUBLE, "string": STRING, "document": DOCUMENT, "array": ARRAY, "binary": BINARY,
    "undefined": UNDEFINED, "objectid": OBJECT_ID, "bool": BOOL, "date": DATE, "null": NULL, "regex": REGEX,
    "dbpointer": DB_POINTER, "code": CODE, "symbol": SYMBOL, "code with scope": CODE_WITH_SCOPE, "int32": INT32,
    "timestamp": TIMESTAMP, "int64": INT64, "decimal128": DECIMAL, "minkey": MIN_KEY, "maxkey": MAX_KEY,
    "unknown type": 0x20,
}  # fmt: skip
"""Type bytes by name; the last one is no type at all."""

VALUES: Mapping[str, Mapping[str, bytes]] = {
    "double": {
        "1.5": double(1.5),
        "5.0": double(5.0),
        "1e300": double(1e300),
        "5e-324": double(5e-324),
        "-0.0": double(-0.0),
        "Infinity": double(float("inf")),
        "-Infinity": double(float("-inf")),
        "NaN": struct.pack("<Q", 0x7FF8000000000000),
        "NaN with a payload": struct.pack("<Q", 0x7FF8000000000123),
        "negative NaN": struct.pack("<Q", 0xFFF8000000000000),
    },
    "string": {
        "søk": pack_string("søk"),
        "empty": pack_string(""),
        "1": pack_string("1"),
        "a, U+0000, b": pack_string("a\0b"),
        "not UTF-8": raw_string(b"a\xff"),
        "lone surrogate": raw_string(b"\xed\xa0\x80"),
        "unterminated": struct.pack("<i", 2) + b"ab",
    },
    "document": {
        "empty": document(),
        "a: 1, b: '1'": document(("a", ONE), ("b", TEXT_ONE)),
        "b: 1, a: 2": document(("b", ONE), ("a", TWO)),
        "a: 1, a: 2": document(("a", ONE), ("a", TWO)),
        "'': 1, '$oid': 2, 'a.b': 1": document(("", ONE), ("a.b", ONE), ("$oid", TWO)),
        "a: 'U+0000'": document(("a", (STRING, pack_string("\0")))),
        "DBRef": document(("$ref", (STRING, pack_string("c"))), ("$id", ONE)),
        "251 levels": nested(251),
    },
    "array": {
        "empty": pack_array([]),
        "1, '1', 1.5, true, null": pack_array(
            [ONE, TEXT_ONE, (DOUBLE, double(1.5)), (BOOL, b"\1"), NOTHING],
        ),
        "'a', null": pack_array([(STRING, pack_string("a")), NOTHING]),
        "int64 5, 6": pack_array([(INT64, int64(5)), (INT64, int64(6))]),
        "int32 1, 2": pack_array([ONE, TWO]),
        "[1], [2]": pack_array([(ARRAY, pack_array([ONE])), (ARRAY, pack_array([TWO]))]),
        "int32 1, 2, named x": document(("x", ONE), ("x", TWO)),
    },
    "binary": {
        "subtype 0, ab": binary(0, b"ab"),
        "subtype 0, empty": binary(0, b""),
        "subtype 2": binary(2, struct.pack("<i", 2) + b"ab"),
        "subtype 2, inner length 3 of 2": binary(2, struct.pack("<i", 3) + b"ab"),
        "subtype 3 (UUID)": binary(3, _UUID),
        "subtype 4 (UUID)": binary(4, _UUID),
        "subtype 4, 3 bytes": binary(4, b"abc"),
        "subtype 5 (MD5)": binary(5, _UUID),
        "subtype 200 (user)": binary(200, b"ab"),
    },
    "undefined": {"undefined": b""},
    "objectid": {"0123456789abcdef01234567": bytes.fromhex("0123456789abcdef01234567")},
    "bool": {"false": b"\0", "true": b"\1", "byte 2": b"\2"},
    "date": {
        "1970-01-01": int64(0),
        "1969-12-31 23:59:59.999": int64(-1),
        "year 0": int64(-62_167_219_200_000),
        "year 10000": int64(253_402_300_800_000),
        "first that PostgreSQL has": int64(-210_866_803_200_000),
        "one ms earlier": int64(-210_866_803_200_001),
        "last that a column has": int64(9_223_372_036_854_774),
        "one ms later": int64(9_223_372_036_854_775),
        "2^63 - 1 ms": int64(2**63 - 1),
        "-2^63 ms": int64(-(2**63)),
    },
    "null": {"null": b""},
    "regex": {"/a.b/imx": b"a.b\0imx\0", "options xi": b"a\0xi\0"},
    "dbpointer": {"dbpointer": pack_string("db.c") + b"o" * 12},
    "code": {"f()": pack_string("f()")},
    "symbol": {"abc": pack_string("abc"), "a, U+0000, b": pack_string("a\0b")},
    "code with scope": {
        "f(), x: 1": code_with_scope("f()", document(("x", ONE))),
        "no length of code": struct.pack("<ii", 20, 0) + document(("x", ONE)),
        "length of code beyond": struct.pack("<ii", 14, 2) + b"\0" + document(),
    },
    "int32": {"5": int32(5), "-2^31": int32(-(2**31))},
    "timestamp": {"7 at 4294967295": struct.pack("<II", 7, 2**32 - 1)},
    "int64": {"5": int64(5), "2^53 + 1": int64(2**53 + 1), "2^63 - 1": int64(2**63 - 1)},
    "decimal128": {
        "1.10": decimal128(0, 110, -2),
        "1": decimal128(0, 1, 0),
        "1E+3": decimal128(0, 1, 3),
        "3.14159": decimal128(0, 314159, -5),
        "-0.00": decimal128(1, 0, -2),
        "1E-6176": decimal128(0, 1, -6176),
        "9E+6144": decimal128(0, 9 * 10**33, 6111),
        "Infinity": _bits(0x78 << 120),
        "-Infinity": _bits(0xF8 << 120),
        "NaN": _bits(0x7C << 120),
        "NaN with a payload": _bits((0x7C << 120) | 5),
        "signalling NaN": _bits(0x7E << 120),
        "not canonical": _bits(0x6C << 120),
    },
    "minkey": {"minkey": b""},
    "maxkey": {"maxkey": b""},
    "unknown type": {"0x20": b""},
}
"""Value bytes by type and name."""


def value(kind: str, name: str) -> Value:
    """A value by type and name."""
    return TYPES[kind], VALUES[kind][name]
