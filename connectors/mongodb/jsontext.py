"""BSON values as JSON text and back: what a `json` column holds.

`write` gives exactly the text that PostgreSQL prints for the jsonb value (keys by length, then bytes; ", " and ": ";
its escapes), so that a batch read from the source and one read from the target are equal as text. `read` gives the BSON
value that a text stands for. Types stay apart:

- strings, booleans, null, arrays and documents are themselves;
- an integer without a point is an int32, or an int64 when it is too large for one; a number with a point is a double;
- all else is tagged like canonical Extended JSON, `{"$oid": "…"}`: a small int64, a double that has no plain decimal
  form of reasonable size, NaN, -0.0, decimal128, dates, binaries and so on;
- a field whose own name starts with `$` gets one more `$`, so that no document looks like a tag.

What jsonb cannot keep (order of keys, duplicates, U+0000) makes the text inexact; the caller keeps the value elsewhere.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable
from decimal import Decimal
from json.encoder import encode_basestring as quote
from typing import Any, TypeAlias

from tranship.connectors.keycodec import MAX_DEPTH, document
from tranship.connectors.keynumbers import decimal128_to_decimal, decimal_to_decimal128
from tranship.connectors.mongodb import bsonwalk as b

_double, _int32, _int64 = struct.Struct("<d"), struct.Struct("<i"), struct.Struct("<q")
_timestamp = struct.Struct("<II")
_NAN = _double.pack(float("nan"))

_OLD_BINARY = 2
"""The subtype whose content begins with its length once more; Extended JSON says the content alone."""

_PLAIN_DOUBLE_DIGITS = 40  # longer ones, such as 1e300, are tagged instead of written out


class _NotJson(Exception):  # noqa: N818 - control flow of this module, never seen outside
    """The value holds U+0000, which jsonb has no place for."""


class _Writer:
    """Writes one value; `exact` turns false when the text does not determine the value."""

    def __init__(self, raw: bytes, depth: int) -> None:
        self.raw = raw
        self.exact = True
        self.depth = depth

    def value(self, kind: int, start: int, end: int) -> str:
        return _WRITERS[kind](self, start, end)

    def string(self, start: int, end: int) -> str:
        if self.raw[end - 1]:
            raise b.MalformedBSONError("", "unterminated string")
        return quoted(self.raw[start + 4 : end - 1])

    def document(self, start: int, end: int) -> str:
        self._enter(1)
        fields: dict[bytes, str] = {}
        last = (0, b"")
        for kind, name, at, stop in b.split(self.raw, start, end):
            key = b"$" + name if name[:1] == b"$" else name
            place = (len(key), key)
            if fields and place <= last:
                self.exact = False
            last = place
            fields[key] = f"{quoted(key)}: {self.value(kind, at, stop)}"
        self.depth -= 1
        ordered = fields if self.exact else sorted(fields, key=lambda key: (len(key), key))
        return "{" + ", ".join([fields[key] for key in ordered]) + "}"

    def array(self, start: int, end: int) -> str:
        self._enter(1)
        texts = []
        for place, (kind, name, at, stop) in enumerate(b.split(self.raw, start, end)):
            if name != b"%d" % place:
                self.exact = False
            texts.append(self.value(kind, at, stop))
        self.depth -= 1
        return "[" + ", ".join(texts) + "]"

    def _enter(self, levels: int) -> None:
        self.depth += levels
        if self.depth > MAX_DEPTH:
            raise b.too_deep("")

    def double(self, start: int, end: int) -> str:
        raw = self.raw[start:end]
        number: float = _double.unpack(raw)[0]
        text = repr(number)
        if text in ("nan", "inf", "-inf"):
            if text == "nan" and raw != _NAN:
                self.exact = False
            return _tag("$numberDouble", {"nan": '"NaN"', "inf": '"Infinity"', "-inf": '"-Infinity"'}[text])
        if raw == b"\0\0\0\0\0\0\0\x80":
            return _tag("$numberDouble", '"-0.0"')
        if "e" in text:
            written_out = format(Decimal(text), "f")
            if len(written_out) > _PLAIN_DOUBLE_DIGITS:
                return _tag("$numberDouble", f'"{text}"')
            return written_out if "." in written_out else written_out + ".0"
        return text

    def int32(self, start: int, _end: int) -> str:
        return str(_int32.unpack_from(self.raw, start)[0])

    def int64(self, start: int, _end: int) -> str:
        number: int = _int64.unpack_from(self.raw, start)[0]
        if -(2**31) <= number < 2**31:
            return _tag("$numberLong", f'"{number}"')
        return str(number)

    def decimal128(self, start: int, end: int) -> str:
        raw = self.raw[start:end]
        number = decimal128_to_decimal(raw)
        if decimal_to_decimal128(number) != raw:
            self.exact = False
        return _tag("$numberDecimal", f'"{number}"')

    def binary(self, start: int, end: int) -> str:
        subtype = self.raw[start + 4]
        content = self.raw[start + 5 : end]
        if subtype == _OLD_BINARY:
            if content[:4] == _int32.pack(len(content) - 4):
                content = content[4:]
            else:
                self.exact = False
        return _tag("$binary", f'{{"base64": "{base64.b64encode(content).decode()}", "subType": "{subtype:02x}"}}')

    def object_id(self, start: int, end: int) -> str:
        return _tag("$oid", f'"{self.raw[start:end].hex()}"')

    def boolean(self, start: int, _end: int) -> str:
        return ("false", "true")[self.raw[start]]

    def date(self, start: int, _end: int) -> str:
        return _tag("$date", _tag("$numberLong", f'"{_int64.unpack_from(self.raw, start)[0]}"'))

    def timestamp(self, start: int, _end: int) -> str:
        increment, seconds = _timestamp.unpack_from(self.raw, start)
        return _tag("$timestamp", f'{{"i": {increment}, "t": {seconds}}}')

    def regex(self, start: int, end: int) -> str:
        pattern, options = self.raw[start : end - 1].split(b"\0")
        return _tag("$regularExpression", f'{{"options": {quoted(options)}, "pattern": {quoted(pattern)}}}')

    def symbol(self, start: int, end: int) -> str:
        return _tag("$symbol", self.string(start, end))

    def code(self, start: int, end: int) -> str:
        return _tag("$code", self.string(start, end))

    def code_with_scope(self, start: int, end: int) -> str:
        scope = b.scope_of(self.raw, start, end, "")
        self._enter(b.SCOPE_DEPTH - 1)
        text = f'{{"$code": {self.string(start + 4, scope)}, "$scope": {self.document(scope, end)}}}'
        self.depth -= b.SCOPE_DEPTH - 1
        return text

    def db_pointer(self, start: int, end: int) -> str:
        identity = self.object_id(end - 12, end)
        return _tag("$dbPointer", f'{{"$id": {identity}, "$ref": {self.string(start, end - 12)}}}')


def _constant(text: str) -> Callable[[_Writer, int, int], str]:
    return lambda _writer, _start, _end: text


_WRITERS: dict[int, Callable[[_Writer, int, int], str]] = {
    b.DOUBLE: _Writer.double,
    b.STRING: _Writer.string,
    b.DOCUMENT: _Writer.document,
    b.ARRAY: _Writer.array,
    b.BINARY: _Writer.binary,
    b.UNDEFINED: _constant('{"$undefined": true}'),
    b.OBJECT_ID: _Writer.object_id,
    b.BOOL: _Writer.boolean,
    b.DATE: _Writer.date,
    b.NULL: _constant("null"),
    b.REGEX: _Writer.regex,
    b.DB_POINTER: _Writer.db_pointer,
    b.CODE: _Writer.code,
    b.SYMBOL: _Writer.symbol,
    b.CODE_WITH_SCOPE: _Writer.code_with_scope,
    b.INT32: _Writer.int32,
    b.TIMESTAMP: _Writer.timestamp,
    b.INT64: _Writer.int64,
    b.DECIMAL128: _Writer.decimal128,
    b.MIN_KEY: _constant('{"$minKey": 1}'),
    b.MAX_KEY: _constant('{"$maxKey": 1}'),
}


def write(kind: int, raw: bytes, start: int, end: int, depth: int = 0) -> tuple[str | None, bool]:
    """The text of a value (None: jsonb cannot hold one), and whether `read` makes just that value of it.

    `depth` is how many levels below the root the document lies that has it. Raises `MalformedBSONError`, or another
    `ValueError`, `IndexError` or `struct.error`, when it is malformed or nested too deep.
    """
    writer = _Writer(raw, depth)
    try:
        return writer.value(kind, start, end), writer.exact
    except _NotJson:
        return None, False


def quoted(text: bytes) -> str:
    if b"\0" in text:
        raise _NotJson
    return quote(text.decode())


def _tag(name: str, text: str) -> str:
    return f'{{"{name}": {text}}}'


class Number(str):
    """A JSON number as it is written."""

    __slots__ = ()


class Fields(tuple[tuple[str, Any], ...]):
    """The members of a JSON object, in their order."""

    __slots__ = ()


Tree: TypeAlias = Any
"""Parsed JSON: None, bool, str, Number, list, or Fields."""

_parser = json.JSONDecoder(object_pairs_hook=Fields, parse_float=Number, parse_int=Number, parse_constant=Number)


def parse(text: str) -> Tree:
    """Parse a JSON text without losing how numbers are written."""
    return _parser.decode(text)


def read(text: str) -> tuple[int, bytes]:
    """The BSON value (type byte, value bytes) that a json column's text stands for."""
    return from_tree(parse(text))


def from_tree(tree: Tree) -> tuple[int, bytes]:
    """The BSON value that parsed JSON stands for."""
    if isinstance(tree, Number):
        return _number(tree)
    if isinstance(tree, str):
        return b.STRING, string(tree)
    if tree is None:
        return b.NULL, b""
    if isinstance(tree, bool):
        return b.BOOL, b"\1" if tree else b"\0"
    if isinstance(tree, Fields):
        return _tagged(tree) or (b.DOCUMENT, _document(tree))
    parts: list[bytes] = []
    for place, inner in enumerate(tree):
        kind, value = from_tree(inner)
        parts += (bytes((kind,)), b"%d\0" % place, value)
    return b.ARRAY, document(parts)


def field_name(key: str) -> str:
    """The document's field name of an object's key."""
    return key[1:] if key.startswith("$$") else key


def string(text: str) -> bytes:
    """The value bytes of a BSON string."""
    content = text.encode()
    return _int32.pack(len(content) + 1) + content + b"\0"


def _document(tree: Fields) -> bytes:
    parts: list[bytes] = []
    for key, inner in tree:
        kind, value = from_tree(inner)
        parts += (bytes((kind,)), field_name(key).encode(), b"\0", value)
    return document(parts)


def _number(text: str) -> tuple[int, bytes]:
    if not text.lstrip("-").isdecimal():
        return b.DOUBLE, _double.pack(float(text))
    number = int(text)
    if -(2**31) <= number < 2**31:
        return b.INT32, _int32.pack(number)
    if -(2**63) <= number < 2**63:
        return b.INT64, _int64.pack(number)
    try:
        return b.DECIMAL128, decimal_to_decimal128(Decimal(number))
    except ValueError:  # more digits than any BSON number has; only the target's application can have written it
        return b.DOUBLE, _double.pack(float(Decimal(text)))


def _tagged(tree: Fields) -> tuple[int, bytes] | None:
    """The value of a tagged object; None when it is a plain document, also one that is only shaped like a tag."""
    reader = _READERS.get(tuple(name for name, _ in tree))
    if reader is None:
        return None
    try:
        return reader(*(value for _, value in tree))
    except (ValueError, TypeError, AttributeError, KeyError, struct.error, ArithmeticError):
        return None


def _read_double(text: str) -> tuple[int, bytes]:
    return b.DOUBLE, _double.pack(float(text))


def _read_binary(tree: Fields) -> tuple[int, bytes]:
    parts = dict(tree)
    content = base64.b64decode(parts["base64"], validate=True)
    [subtype] = bytes.fromhex(parts["subType"])
    if subtype == _OLD_BINARY:
        content = _int32.pack(len(content)) + content
    return b.BINARY, _int32.pack(len(content)) + bytes((subtype,)) + content


def _read_timestamp(tree: Fields) -> tuple[int, bytes]:
    parts = dict(tree)
    return b.TIMESTAMP, _timestamp.pack(int(parts["i"]), int(parts["t"]))


def _read_regex(tree: Fields) -> tuple[int, bytes]:
    parts = dict(tree)
    return b.REGEX, parts["pattern"].encode() + b"\0" + parts["options"].encode() + b"\0"


def _read_date(tree: Fields) -> tuple[int, bytes]:
    return b.DATE, _int64.pack(int(dict(tree)["$numberLong"]))


def _read_db_pointer(tree: Fields) -> tuple[int, bytes]:
    parts = dict(tree)
    return b.DB_POINTER, string(parts["$ref"]) + bytes.fromhex(dict(parts["$id"])["$oid"])


def _read_code_with_scope(code: str, scope: Fields) -> tuple[int, bytes]:
    body = string(code) + _document(scope)
    return b.CODE_WITH_SCOPE, _int32.pack(len(body) + 4) + body


def _read_object_id(text: str) -> tuple[int, bytes]:
    value = bytes.fromhex(text)
    if len(value) != 12:
        raise ValueError("an ObjectId has 12 bytes")
    return b.OBJECT_ID, value


_READERS: dict[tuple[str, ...], Callable[..., tuple[int, bytes]]] = {
    ("$numberDouble",): _read_double,
    ("$numberLong",): lambda text: (b.INT64, _int64.pack(int(text))),
    ("$numberDecimal",): lambda text: (b.DECIMAL128, decimal_to_decimal128(Decimal(text))),
    ("$binary",): _read_binary,
    ("$undefined",): lambda _: (b.UNDEFINED, b""),
    ("$oid",): _read_object_id,
    ("$date",): _read_date,
    ("$timestamp",): _read_timestamp,
    ("$regularExpression",): _read_regex,
    ("$symbol",): lambda text: (b.SYMBOL, string(text)),
    ("$code",): lambda text: (b.CODE, string(text)),
    ("$code", "$scope"): _read_code_with_scope,
    ("$dbPointer",): _read_db_pointer,
    ("$minKey",): lambda _: (b.MIN_KEY, b""),
    ("$maxKey",): lambda _: (b.MAX_KEY, b""),
}
