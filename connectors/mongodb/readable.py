"""A document for people: canonical Extended JSON, or where it is not well formed and the bytes around that place.

Unlike a decoder into dicts it keeps duplicate fields and deprecated types, because a document that somebody has to look
at is likely to be an odd one.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import TypeAlias

from tranship.connectors.mongodb import bsonwalk as b
from tranship.connectors.mongodb import jsontext
from tranship.connectors.printable import printable

_double, _int32, _int64 = struct.Struct("<d"), struct.Struct("<i"), struct.Struct("<q")

_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}

_Writer: TypeAlias = Callable[[bytes, int, int, str], str]
"""Takes the document, where the value starts and ends in it, and the indentation."""

_LINE = 16
_LINES_BEFORE, _LINES = 16, 64
"""How much of malformed bytes is shown around the fault: documents may have 16 MB."""


def readable(document: bytes) -> str:
    """The document's text, over several lines, without characters that a terminal would act on."""
    try:
        b.check_document(document, 0, len(document), "")
    except b.MalformedBSONError as error:
        at = _fault(document, 0, len(document))
        where = f"at {printable(error.path)}, " if error.path else ""
        head = f"not well formed BSON {where}in the value that starts at byte {at}: {error.reason}"
        return "\n".join([head, *_dump(document, at)])
    return _document(document, 0, len(document), "")


# --- well formed ------------------------------------------------------------------------------------------------------


def _document(raw: bytes, start: int, end: int, indent: str) -> str:
    inner = indent + "  "
    fields = []
    for kind, name, at, stop in b.split(raw, start, end):
        fields.append(f"{inner}{_quoted(name)}: {_WRITERS[kind](raw, at, stop, inner)}")
    return "{\n" + ",\n".join(fields) + f"\n{indent}}}" if fields else "{}"


def _array(raw: bytes, start: int, end: int, indent: str) -> str:
    inner = indent + "  "
    elements = []
    for kind, _, at, stop in b.split(raw, start, end):
        elements.append(inner + _WRITERS[kind](raw, at, stop, inner))
    return "[\n" + ",\n".join(elements) + f"\n{indent}]" if elements else "[]"


def _string(raw: bytes, start: int, end: int, _indent: str = "") -> str:
    return _quoted(raw[start + 4 : end - 1])


def _double_text(raw: bytes, start: int, _end: int, _indent: str) -> str:
    text = repr(_double.unpack_from(raw, start)[0])
    return f'{{"$numberDouble": "{_NOT_FINITE.get(text, text)}"}}'


def _number(tag: str, form: struct.Struct) -> _Writer:
    return lambda raw, start, _end, _indent: f'{{"{tag}": "{form.unpack_from(raw, start)[0]}"}}'


def _tagged(tag: str) -> _Writer:
    return lambda raw, start, end, _indent: f'{{"{tag}": {_string(raw, start, end)}}}'


def _regex(raw: bytes, start: int, end: int, _indent: str) -> str:
    pattern, options = raw[start : end - 1].split(b"\0")
    return f'{{"$regularExpression": {{"pattern": {_quoted(pattern)}, "options": {_quoted(options)}}}}}'


def _code_with_scope(raw: bytes, start: int, end: int, indent: str) -> str:
    scope = b.scope_of(raw, start, end, "")
    return f'{{"$code": {_string(raw, start + 4, scope)}, "$scope": {_document(raw, scope, end, indent)}}}'


def _db_pointer(raw: bytes, start: int, end: int, _indent: str) -> str:
    name, identity = _string(raw, start, end - 12), raw[end - 12 : end].hex()
    return f'{{"$dbPointer": {{"$ref": {name}, "$id": {{"$oid": "{identity}"}}}}}}'


def _as_in_json(kind: int) -> _Writer:
    """For types that cannot hold U+0000 and whose text in a json column is canonical Extended JSON, too."""
    return lambda raw, start, end, _indent: str(jsontext.write(kind, raw, start, end)[0])


_WRITERS: dict[int, _Writer] = {
    **{kind: _as_in_json(kind) for kind in b.TYPE_NAMES},
    b.DOUBLE: _double_text,
    b.STRING: _string,
    b.DOCUMENT: _document,
    b.ARRAY: _array,
    b.REGEX: _regex,
    b.DB_POINTER: _db_pointer,
    b.CODE: _tagged("$code"),
    b.SYMBOL: _tagged("$symbol"),
    b.CODE_WITH_SCOPE: _code_with_scope,
    b.INT32: _number("$numberInt", _int32),
    b.INT64: _number("$numberLong", _int64),
}


def _quoted(text: bytes) -> str:
    return printable(json.dumps(text.decode(), ensure_ascii=False))


# --- malformed --------------------------------------------------------------------------------------------------------


def _fault(raw: bytes, start: int, end: int) -> int:
    """Where the innermost value starts that is not well formed; the document itself when its elements cannot be told
    apart."""
    try:
        elements = b.split(raw, start, end)
    except (b.MalformedBSONError, struct.error, IndexError):
        return start
    for element in elements:
        kind, _, at, stop = element
        try:
            b.check(raw, element, "")
        except b.MalformedBSONError:
            return _fault(raw, at, stop) if kind in (b.DOCUMENT, b.ARRAY) else at
    return start


def _dump(raw: bytes, at: int) -> list[str]:
    """The bytes around a place, as hexadecimal digits and as ASCII."""
    first = max(at // _LINE - _LINES_BEFORE, 0) * _LINE
    last = min(first + _LINES * _LINE, len(raw))
    lines = [f"({first} bytes before)"] if first else []
    for place in range(first, last, _LINE):
        part = raw[place : min(place + _LINE, last)]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        lines.append(f"{place:08x}  {part.hex(' '):<{3 * _LINE - 1}}  {text}")
    if last < len(raw):
        lines.append(f"({len(raw) - last} bytes behind)")
    return lines
