"""A strict reader of raw BSON: says where the elements of a document are, and refuses what is not well formed.

It decodes no values and copies nothing but names; the mapper's programs do the rest. A document is well formed when all
lengths, terminators, booleans and type bytes are right, names and strings are UTF-8, and nesting ends at `MAX_DEPTH`;
what a binary holds is its own affair.
`split` reads one level and leaves what lies inside values to whoever reads those; `check` reads a value in full.
"""

from __future__ import annotations

import struct
from typing import TypeAlias

from tranship.connectors.errors import ConnectorError
from tranship.connectors.keycodec import MAX_DEPTH

DOUBLE, STRING, DOCUMENT, ARRAY, BINARY, UNDEFINED, OBJECT_ID, BOOL = range(0x01, 0x09)
DATE, NULL, REGEX, DB_POINTER, CODE, SYMBOL, CODE_WITH_SCOPE, INT32 = range(0x09, 0x11)
TIMESTAMP, INT64, DECIMAL128 = range(0x11, 0x14)
MIN_KEY, MAX_KEY = 0xFF, 0x7F

NAME_SHOWN = 200
"""Bytes of a field name that a path shows."""

SCOPE_DEPTH = 2
"""A scope lies two levels down: below its value, as a document of its own."""

TYPE_NAMES = {
    DOUBLE: "double", STRING: "string", DOCUMENT: "document", ARRAY: "array", BINARY: "binary",
    UNDEFINED: "undefined", OBJECT_ID: "objectid", BOOL: "bool", DATE: "date", NULL: "null", REGEX: "regex",
    DB_POINTER: "dbpointer", CODE: "code", SYMBOL: "symbol", CODE_WITH_SCOPE: "code with scope", INT32: "int32",
    TIMESTAMP: "timestamp", INT64: "int64", DECIMAL128: "decimal128", MIN_KEY: "minkey", MAX_KEY: "maxkey",
}  # fmt: skip

Element: TypeAlias = tuple[int, bytes, int, int]
"""Type byte, name, and where the value's bytes start and end."""

_int32 = struct.Struct("<i").unpack_from

# Sizes of values by type byte. Negative: _UNKNOWN, _REGEX, or _LENGTH - n for values that start with their length,
# to which n bytes are to be added (a string's own length field, a binary's subtype, ...).
_UNKNOWN, _REGEX_SIZE, _LENGTH = -1, -2, -100
_SIZES = [
    {
        DOUBLE: 8, STRING: _LENGTH - 4, DOCUMENT: _LENGTH, ARRAY: _LENGTH, BINARY: _LENGTH - 5, UNDEFINED: 0,
        OBJECT_ID: 12, BOOL: 1, DATE: 8, NULL: 0, REGEX: _REGEX_SIZE, DB_POINTER: _LENGTH - 16, CODE: _LENGTH - 4,
        SYMBOL: _LENGTH - 4, CODE_WITH_SCOPE: _LENGTH, INT32: 4, TIMESTAMP: 8, INT64: 8, DECIMAL128: 16, MIN_KEY: 0,
        MAX_KEY: 0,
    }.get(kind, _UNKNOWN)
    for kind in range(256)
]  # fmt: skip

# The least length field of each type: below it the value could not even hold its own terminator.
_LEAST = {STRING: 1, DOCUMENT: 5, ARRAY: 5, BINARY: 0, DB_POINTER: 1, CODE: 1, SYMBOL: 1, CODE_WITH_SCOPE: 14}


class MalformedBSONError(ConnectorError):
    """These bytes are not well formed BSON; `path` says how far they are, `reason` what is wrong."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"malformed BSON at {path or 'the document'}: {reason}")
        self.path = path
        self.reason = reason

    def __reduce__(self) -> tuple[type[MalformedBSONError], tuple[str, str]]:
        return type(self), (self.path, self.reason)


def too_deep(path: str) -> MalformedBSONError:
    """The error for a document that is nested deeper than `MAX_DEPTH`."""
    return MalformedBSONError(path, f"nested deeper than {MAX_DEPTH} levels")


def split(raw: bytes, start: int, end: int, path: str = "") -> list[Element]:
    """The elements of the document in `raw[start:end]`, in their order. Raises `MalformedBSONError`.

    Names are checked to be terminated, not to be UTF-8: a caller that does not compare them with known names must.
    """
    if end - start < 5 or _int32(raw, start)[0] != end - start or raw[end - 1]:
        raise MalformedBSONError(path, "length or terminator of a document")
    found: list[Element] = []
    add, find, sizes = found.append, raw.find, _SIZES
    last = end - 1
    at = start + 4
    while at < last:
        kind = raw[at]
        stop = find(b"\0", at + 1, last)
        if stop < 0:
            raise MalformedBSONError(path, "unterminated field name")
        name = raw[at + 1 : stop]
        stop += 1
        size = sizes[kind]
        if size < 0:
            try:
                size = _variable_size(raw, kind, stop, last, size)
            except ValueError as error:
                raise MalformedBSONError(join(path, name), str(error)) from error
        at = stop + size
        add((kind, name, stop, at))
    if at != last:
        raise MalformedBSONError(path, "a value reaches beyond the end of its document")
    return found


def _variable_size(raw: bytes, kind: int, at: int, last: int, size: int) -> int:
    if size <= _LENGTH:
        if at + 4 > last:
            raise ValueError("value ends early")
        length: int = _int32(raw, at)[0]
        if length < _LEAST[kind]:
            raise ValueError("length is too small")
        return length + _LENGTH - size
    if size == _REGEX_SIZE:
        pattern = raw.find(b"\0", at, last)
        options = raw.find(b"\0", pattern + 1, last) if pattern >= 0 else -1
        if options < 0:
            raise ValueError("unterminated regular expression")
        return options + 1 - at
    raise ValueError(f"unknown type 0x{kind:02x}")


_ARRAY_NAMES = [b"%d" % place for place in range(1000)]


def array_names(count: int) -> list[bytes]:
    """The names of an array's elements."""
    if count <= len(_ARRAY_NAMES):
        return _ARRAY_NAMES[:count]
    return [b"%d" % place for place in range(count)]


def join(path: str, name: bytes) -> str:
    """The path of a field below `path`, for people to read: a name that takes pages is cut, an empty one is `""`."""
    text = name[:NAME_SHOWN].decode("utf-8", "backslashreplace") + ("…" if len(name) > NAME_SHOWN else "") or '""'
    return f"{path}.{text}" if path else text


def check(raw: bytes, element: Element, path: str, depth: int = 0) -> None:
    """Check one element in full, with its name and all that is nested in it. Raises `MalformedBSONError`."""
    kind, name, start, end = element
    check_name(name, path)
    if kind in (DOCUMENT, ARRAY):
        check_document(raw, start, end, join(path, name), depth + 1)
    elif kind in _CHECKS:
        _CHECKS[kind](raw, start, end, join(path, name), depth)


def check_document(raw: bytes, start: int, end: int, path: str, depth: int = 0) -> None:
    """Check a document in full. Raises `MalformedBSONError`."""
    if depth > MAX_DEPTH:
        raise too_deep(path)
    for element in split(raw, start, end, path):
        check(raw, element, path, depth)


def scope_of(raw: bytes, start: int, end: int, path: str) -> int:
    """Where the scope of a code with scope starts. Raises `MalformedBSONError`."""
    length: int = _int32(raw, start + 4)[0]
    scope = start + 8 + length
    if length < 1 or scope + 5 > end:
        raise MalformedBSONError(path, "length of code")
    return scope


def check_name(name: bytes, path: str) -> None:
    """Check that a field name is UTF-8. Raises `MalformedBSONError`."""
    if not name.isascii():
        _utf8(name, join(path, name), "field name")


def _utf8(text: bytes, path: str, what: str) -> None:
    try:
        text.decode()
    except UnicodeDecodeError as error:
        raise MalformedBSONError(path, f"{what} is not UTF-8") from error


def _check_string(raw: bytes, start: int, end: int, path: str, _depth: int) -> None:
    if raw[end - 1]:
        raise MalformedBSONError(path, "unterminated string")
    _utf8(raw[start + 4 : end - 1], path, "string")


def _check_bool(raw: bytes, start: int, _end: int, path: str, _depth: int) -> None:
    if raw[start] > 1:
        raise MalformedBSONError(path, "boolean is neither 0 nor 1")


def _check_regex(raw: bytes, start: int, end: int, path: str, _depth: int) -> None:
    _utf8(raw[start : end - 1], path, "regular expression")


def _check_db_pointer(raw: bytes, start: int, end: int, path: str, depth: int) -> None:
    _check_string(raw, start, end - 12, path, depth)


def _check_code_with_scope(raw: bytes, start: int, end: int, path: str, depth: int) -> None:
    scope = scope_of(raw, start, end, path)
    _check_string(raw, start + 4, scope, path, depth)
    check_document(raw, scope, end, path, depth + SCOPE_DEPTH)


_CHECKS = {
    STRING: _check_string,
    CODE: _check_string,
    SYMBOL: _check_string,
    BOOL: _check_bool,
    REGEX: _check_regex,
    DB_POINTER: _check_db_pointer,
    CODE_WITH_SCOPE: _check_code_with_scope,
}
