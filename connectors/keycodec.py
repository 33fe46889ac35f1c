"""Canonical keys of BSON values: `encode` and `decode` between a BSON element and ordered bytes.

For any two values that a MongoDB `_id` can have, the byte order of their keys is the order of the server's `_id` index,
and keys are equal exactly when the server takes the values for equal: 1, 1.0 and Decimal128("1") are one key, `true`
is another (`rules.md` A7). Works on raw element bytes and knows no driver. The values must be well formed BSON
(`connectors.mongodb.bsonwalk` checks that); strings need not be valid UTF-8.

A key is the canonical type's byte, then the value in a form that sorts bytewise. A field of a subdocument is its type's
byte, its name, then its whole key, because the server compares fields in just that order; 0 ends a subdocument.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from tranship.connectors import keynumbers as numbers

MIN_KEY = 10
UNDEFINED = 15
NULL = 20
NUMBER = 30  # up to 35, by class
STRING = 60
OBJECT = 70
ARRAY = 80
BINARY = 90
OBJECT_ID = 100
FALSE, TRUE = 110, 111
DATE = 120
TIMESTAMP = 130
REGEX = 140
DB_POINTER = 150
CODE = 160
CODE_WITH_SCOPE = 170
MAX_KEY = 240

MAX_DEPTH = 250  # of subdocuments; no server can be told to allow more

_int32 = struct.Struct("<i")
_int64 = struct.Struct("<q")
_double = struct.Struct("<d")
_size = struct.Struct(">I")
_ordered64 = struct.Struct(">Q")
_SIGN64 = 1 << 63
_MASK64 = (1 << 64) - 1


class MalformedKeyError(ValueError):
    """These bytes are not a canonical key."""


def encode(kind: int, value: bytes) -> bytes:
    """The key of a BSON value, given as element type byte and value bytes. Raises `MalformedKeyError`, or another
    `ValueError`, `IndexError` or `struct.error`, when it is malformed or nested deeper than `MAX_DEPTH`."""
    return _encode(kind, value, 0, len(value), 0)


def _encode(kind: int, raw: bytes, start: int, end: int, depth: int) -> bytes:
    """The key of the value in `raw[start:end]`: nothing that is nested is copied once for each level."""
    if depth > MAX_DEPTH:
        raise MalformedKeyError("nested too deep")
    nesting = _NESTING.get(kind)
    return _ENCODERS[kind](raw[start:end]) if nesting is None else nesting(raw, start, end, depth)


def decode(key: bytes) -> tuple[int, bytes]:
    """A BSON value (type byte, value bytes) that has this key, so that a query for it finds the document.

    Raises `MalformedKeyError`.
    """
    kind, value, end = decode_at(key, 0)
    if end != len(key):
        raise MalformedKeyError("bytes behind the end of the key")
    return kind, value


def decode_at(key: bytes, at: int, depth: int = 0) -> tuple[int, bytes, int]:
    """The value whose key starts at `at`, and the place behind it. Raises `MalformedKeyError`."""
    if depth > MAX_DEPTH:
        raise MalformedKeyError("nested too deep")
    try:
        return _DECODERS[key[at]](key, at, depth)
    except (IndexError, KeyError, struct.error) as error:
        raise MalformedKeyError("key ends early or has an unknown type") from error
    except MalformedKeyError:
        raise
    except ValueError as error:
        raise MalformedKeyError(str(error)) from error


def value_size(kind: int, raw: bytes, at: int) -> int:
    """Length in bytes of the BSON value of type `kind` that starts at `at`. Raises ValueError where it sees none."""
    fixed = _FIXED_SIZES.get(kind)
    if fixed is not None:
        return fixed
    if kind == 0x0B:
        return raw.index(b"\0", raw.index(b"\0", at) + 1) + 1 - at
    length: int = _int32.unpack_from(raw, at)[0]
    if length < 0 or kind not in _EXTRA_SIZES:  # never go backwards, whatever the bytes are
        raise ValueError("not a BSON value")
    return length + _EXTRA_SIZES[kind]


def _elements(raw: bytes, start: int, end: int) -> Iterator[tuple[int, bytes, int, int]]:
    """(type, name, start and end of the value) of the elements of the well formed document in `raw[start:end]`."""
    at, last = start + 4, end - 1
    while at < last:
        kind = raw[at]
        stop = raw.index(b"\0", at + 1)
        behind = stop + 1 + value_size(kind, raw, stop + 1)
        if behind > last:  # what overlaps could be read over and over
            raise MalformedKeyError("a value reaches beyond its document")
        yield kind, raw[at + 1 : stop], stop + 1, behind
        at = behind


def generic_type(key: bytes, at: int = 0) -> int:
    """The canonical type's byte of the key at `at`: one for all numbers, one for both booleans."""
    kind = key[at]
    if NUMBER <= kind <= numbers.POSITIVE_INFINITY:
        return NUMBER
    return FALSE if kind == TRUE else kind


_FIXED_SIZES = {
    0x01: 8, 0x06: 0, 0x07: 12, 0x08: 1, 0x09: 8, 0x0A: 0, 0x10: 4, 0x11: 8, 0x12: 8, 0x13: 16, 0xFF: 0, 0x7F: 0,
}  # fmt: skip
_EXTRA_SIZES = {0x02: 4, 0x03: 0, 0x04: 0, 0x05: 5, 0x0C: 16, 0x0D: 4, 0x0E: 4, 0x0F: 0}


def _constant(kind: int) -> Callable[[bytes], bytes]:
    key = bytes([kind])
    return lambda _: key


def _escape(text: bytes) -> bytes:
    """Bytes that end in 0 and sort like `text`: an inner 0 is followed by 255, which no key starts with."""
    return text.replace(b"\0", b"\0\xff") + b"\0"


def _text(kind: int) -> Callable[[bytes], bytes]:
    head = bytes([kind])
    return lambda value: head + _escape(value[4:-1])


def _object(raw: bytes, start: int, end: int, depth: int) -> bytes:
    parts = [b"F"]
    for kind, name, at, stop in _elements(raw, start, end):
        key = _encode(kind, raw, at, stop, depth + 1)
        parts += (bytes((generic_type(key),)), name, b"\0", key)
    parts.append(b"\0")
    return b"".join(parts)


def _array(raw: bytes, start: int, end: int, depth: int) -> bytes:
    # The server does not compare the names of an array's elements.
    keys = [_encode(kind, raw, at, stop, depth + 1) for kind, _, at, stop in _elements(raw, start, end)]
    return b"P" + b"".join(keys) + b"\0"


def _binary(value: bytes) -> bytes:
    size = len(value) - 5
    head = bytes((BINARY, size)) if size < 255 else bytes((BINARY, 255)) + _size.pack(size)
    return head + value[4:]


def _date(value: bytes) -> bytes:
    return b"x" + _ordered64.pack((_int64.unpack(value)[0] + _SIGN64) & _MASK64)


def _regex(value: bytes) -> bytes:
    return bytes((REGEX,)) + value


def _db_pointer(value: bytes) -> bytes:
    return bytes((DB_POINTER,)) + _size.pack(len(value) - 17) + value[4:-13] + value[-12:]


def _code_with_scope(raw: bytes, start: int, end: int, depth: int) -> bytes:
    length = _int32.unpack_from(raw, start + 4)[0]
    if length < 1 or start + 8 + length > end:
        raise MalformedKeyError("length of code")
    code = _escape(raw[start + 8 : start + 7 + length])
    return bytes((CODE_WITH_SCOPE,)) + code + _object(raw, start + 8 + length, end, depth)[1:]


_ENCODERS: dict[int, Callable[[bytes], bytes]] = {
    0x01: lambda value: numbers.encode_double(_double.unpack(value)[0]),
    0x02: _text(STRING),
    0x05: _binary,
    0x06: _constant(UNDEFINED),
    0x07: lambda value: b"d" + value,
    0x08: lambda value: b"o" if value != b"\0" else b"n",
    0x09: _date,
    0x0A: _constant(NULL),
    0x0B: _regex,
    0x0C: _db_pointer,
    0x0D: _text(CODE),
    0x0E: _text(STRING),  # a symbol is equal to the string
    0x10: lambda value: numbers.encode_int(_int32.unpack(value)[0]),
    0x11: lambda value: bytes((TIMESTAMP,)) + value[::-1],
    0x12: lambda value: numbers.encode_int(_int64.unpack(value)[0]),
    0x13: numbers.encode_decimal128,
    0xFF: _constant(MIN_KEY),
    0x7F: _constant(MAX_KEY),
}

_NESTING: dict[int, Callable[[bytes, int, int, int], bytes]] = {0x03: _object, 0x04: _array, 0x0F: _code_with_scope}

_Decoded = tuple[int, bytes, int]


def _take(key: bytes, at: int, size: int) -> bytes:
    if at + size > len(key):
        raise MalformedKeyError("key ends early")
    return key[at : at + size]


def _read_constant(kind: int, value: bytes = b"") -> Callable[[bytes, int, int], _Decoded]:
    return lambda _key, at, _depth: (kind, value, at + 1)


def _read_number(key: bytes, at: int, _depth: int) -> _Decoded:
    value, end = numbers.read_number(key, at)
    kind, raw = numbers.to_element(value)
    return kind, raw, end


def _read_escaped(key: bytes, at: int) -> tuple[bytes, int]:
    start = at
    while True:
        at = key.index(b"\0", at)
        if key[at + 1 : at + 2] != b"\xff":
            return key[start:at].replace(b"\0\xff", b"\0"), at + 1
        at += 2


def _string(text: bytes) -> bytes:
    return _int32.pack(len(text) + 1) + text + b"\0"


def _read_text(kind: int) -> Callable[[bytes, int, int], _Decoded]:
    def read(key: bytes, at: int, _depth: int) -> _Decoded:
        text, end = _read_escaped(key, at + 1)
        return kind, _string(text), end

    return read


def document(parts: list[bytes]) -> bytes:
    """A BSON document of whole elements."""
    body = b"".join(parts)
    return _int32.pack(len(body) + 5) + body + b"\0"


def _read_object(key: bytes, at: int, depth: int) -> _Decoded:
    parts: list[bytes] = []
    at += 1
    while key[at]:
        generic = key[at]
        stop = key.index(b"\0", at + 1)
        kind, value, end = decode_at(key, stop + 1, depth + 1)
        if generic_type(key, stop + 1) != generic:
            raise MalformedKeyError("field announces another type")
        parts += (bytes((kind,)), key[at + 1 : stop + 1], value)
        at = end
    return 0x03, document(parts), at + 1


def _read_array(key: bytes, at: int, depth: int) -> _Decoded:
    parts: list[bytes] = []
    at += 1
    while key[at]:
        kind, value, at = decode_at(key, at, depth + 1)
        parts += (bytes((kind,)), str(len(parts) // 3).encode(), b"\0" + value)
    return 0x04, document(parts), at + 1


def _read_binary(key: bytes, at: int, _depth: int) -> _Decoded:
    size = key[at + 1]
    at += 2
    if size == 255:
        size = _size.unpack_from(key, at)[0]
        at += 4
        if not 255 <= size < 2**31:
            raise MalformedKeyError("binary length is not in canonical form")
    return 0x05, _int32.pack(size) + _take(key, at, size + 1), at + size + 1


def _read_bytes(kind: int, size: int) -> Callable[[bytes, int, int], _Decoded]:
    return lambda key, at, _depth: (kind, _take(key, at + 1, size), at + 1 + size)


def _read_date(key: bytes, at: int, _depth: int) -> _Decoded:
    return 0x09, _int64.pack(_ordered64.unpack_from(key, at + 1)[0] - _SIGN64), at + 9


def _read_timestamp(key: bytes, at: int, _depth: int) -> _Decoded:
    return 0x11, _take(key, at + 1, 8)[::-1], at + 9


def _read_regex(key: bytes, at: int, _depth: int) -> _Decoded:
    end = key.index(b"\0", key.index(b"\0", at + 1) + 1) + 1
    return 0x0B, key[at + 1 : end], end


def _read_db_pointer(key: bytes, at: int, _depth: int) -> _Decoded:
    size = _size.unpack_from(key, at + 1)[0]
    body = _take(key, at + 5, size + 12)
    return 0x0C, _string(body[:size]) + body[size:], at + 17 + size


def _read_code_with_scope(key: bytes, at: int, depth: int) -> _Decoded:
    code, at = _read_escaped(key, at + 1)
    _, scope, end = _read_object(key, at - 1, depth)
    body = _string(code) + scope
    return 0x0F, _int32.pack(len(body) + 4) + body, end


_DECODERS: dict[int, Callable[[bytes, int, int], _Decoded]] = {
    MIN_KEY: _read_constant(0xFF),
    UNDEFINED: _read_constant(0x06),
    NULL: _read_constant(0x0A),
    **dict.fromkeys(range(NUMBER, NUMBER + 6), _read_number),
    STRING: _read_text(0x02),
    OBJECT: _read_object,
    ARRAY: _read_array,
    BINARY: _read_binary,
    OBJECT_ID: _read_bytes(0x07, 12),
    FALSE: _read_constant(0x08, b"\0"),
    TRUE: _read_constant(0x08, b"\1"),
    DATE: _read_date,
    TIMESTAMP: _read_timestamp,
    REGEX: _read_regex,
    DB_POINTER: _read_db_pointer,
    CODE: _read_text(0x0D),
    CODE_WITH_SCOPE: _read_code_with_scope,
    MAX_KEY: _read_constant(0x7F),
}
