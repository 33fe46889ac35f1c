"""An independent reading of raw BSON: what every column of a stream should hold of a document.

Written from the specification of BSON and from docs/fidelity.md, it shares no code with the mapper: a mistake there
cannot hide here. `expected` reads a document, `found` brings a row of the mapper into the same form.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from bson import Decimal128

from tranship.plans.streams import Child, Column, LogicalType, Stream

T = LogicalType
Field = tuple[bytes, int, bytes]
"""Name, type byte and value bytes."""

DOUBLE, STRING, DOCUMENT, ARRAY, BINARY, UNDEFINED, OBJECT_ID, BOOL = range(0x01, 0x09)
DATE, NULL, REGEX, DB_POINTER, CODE, SYMBOL, CODE_WITH_SCOPE, INT32 = range(0x09, 0x11)
TIMESTAMP, INT64, DECIMAL = range(0x11, 0x14)
MIN_KEY, MAX_KEY = 0xFF, 0x7F

_FIXED = {DOUBLE: 8, UNDEFINED: 0, OBJECT_ID: 12, BOOL: 1, DATE: 8, NULL: 0, INT32: 4, TIMESTAMP: 8, INT64: 8,
          DECIMAL: 16, MIN_KEY: 0, MAX_KEY: 0}  # fmt: skip
_BESIDE_LENGTH = {STRING: 4, DOCUMENT: 0, ARRAY: 0, BINARY: 5, DB_POINTER: 16, CODE: 4, SYMBOL: 4, CODE_WITH_SCOPE: 0}

_NAN = struct.pack("<Q", 0x7FF8000000000000)


# --- BSON ---------------------------------------------------------------------------------------------------------


def fields(raw: bytes) -> list[Field]:
    """The fields of a well formed document."""
    found: list[Field] = []
    at = 4
    while raw[at]:
        end = raw.index(b"\0", at + 1)
        size = _size(raw[at], raw, end + 1)
        found.append((raw[at + 1 : end], raw[at], raw[end + 1 : end + 1 + size]))
        at = end + 1 + size
    assert at == len(raw) - 1
    return found


def _size(kind: int, raw: bytes, at: int) -> int:
    if kind in _FIXED:
        return _FIXED[kind]
    if kind == REGEX:
        return raw.index(b"\0", raw.index(b"\0", at) + 1) + 1 - at
    return _int(raw[at : at + 4]) + _BESIDE_LENGTH[kind]


def _int(value: bytes) -> int:
    return int.from_bytes(value, "little", signed=True)


# --- columns ------------------------------------------------------------------------------------------------------


def expected(stream: Stream, raw: bytes) -> list[Any]:
    """What the typed columns, the rest column and the child tables hold of a document, without key and residue."""
    found = _first(fields(raw))
    row = [_at(column, found) for column in stream.columns]
    if stream.rest_column is not None:
        row.append(_rest(stream, found))
    return [*row, *(_children(child, found) for child in stream.children)]


def _first(of: Sequence[Field]) -> dict[bytes, tuple[int, bytes]]:
    """Of a name that stands twice, the first one counts."""
    found: dict[bytes, tuple[int, bytes]] = {}
    for name, kind, value in of:
        found.setdefault(name, (kind, value))
    return found


def _place(path: tuple[str, ...], found: dict[bytes, tuple[int, bytes]]) -> tuple[int, bytes] | None:
    for step in path[:-1]:
        kind, value = found.get(step.encode(), (NULL, b""))
        found = _first(fields(value)) if kind == DOCUMENT else {}
    return found.get(path[-1].encode())


def _at(column: Column, found: dict[bytes, tuple[int, bytes]]) -> Any:
    place = _place(column.path, found)
    return None if place is None else _value(column, *place)


def _value(column: Column, kind: int, value: bytes) -> Any:  # noqa: PLR0911 - one line for each type
    if kind == NULL:
        return ("null", "") if column.type is T.JSON and column.null == "missing" else None
    if column.type is T.ARRAY:
        return _array(column, value) if kind == ARRAY else None
    if column.type is T.JSON:
        return None if _holds_nul(kind, value) else _json(kind, value)
    number = _int(value) if kind in (INT32, INT64) else None
    if column.type in (T.INT32, T.INT64):
        bits = 31 if column.type is T.INT32 else 63
        return number if number is not None and -(2**bits) <= number < 2**bits else None
    if column.type is T.FLOAT64:
        return value if kind == DOUBLE else _as_double(number)
    if column.type is T.DECIMAL:
        return _scaled(column, kind, value, number)
    return _plain(column.type, kind, value)


def _plain(of: LogicalType, kind: int, value: bytes) -> Any:  # noqa: PLR0911
    if of is T.BOOL and kind == BOOL:
        return value == b"\1"
    if of is T.TEXT and kind in (STRING, SYMBOL):
        return None if b"\0" in value[4:-1] else value[4:-1].decode()
    if (of, kind) in ((T.BYTES, BINARY), (T.UUID, BINARY)):
        fits = value[4] == 0 if of is T.BYTES else value[4] == 4 and len(value) == 21
        return value[5:] if fits else None
    if of is T.OBJECTID and kind == OBJECT_ID:
        return value.hex()
    if of is T.TIMESTAMP and kind == DATE:
        return _int(value) * 1000 if -210_866_803_200_000 <= _int(value) < 9_223_372_036_854_775 else None
    if of is T.DATE and kind == DATE:
        days, rest = divmod(_int(value), 86_400_000)
        return days if not rest and -2_440_588 <= days < 2_145_042_906 else None
    return None


def _as_double(number: int | None) -> bytes | None:
    return None if number is None or int(float(number)) != number else struct.pack("<d", float(number))


def _scaled(column: Column, kind: int, value: bytes, number: int | None) -> int | None:
    assert column.precision is not None
    assert column.scale is not None
    if kind == DECIMAL:
        decimal = Decimal128.from_bid(value).to_decimal()
        exact = Fraction(decimal) if decimal.is_finite() else None
    else:
        exact = None if number is None else Fraction(number)
    scaled = None if exact is None else exact * 10**column.scale
    return (
        int(scaled) if scaled is not None and scaled.denominator == 1 and abs(scaled) < 10**column.precision else None
    )


def _array(column: Column, value: bytes) -> list[Any] | None:
    elements = [(kind, _value(column.element, kind, inner)) for _, kind, inner in fields(value)]
    return None if any(held is None and kind != NULL for kind, held in elements) else [held for _, held in elements]


def _children(child: Child, found: dict[bytes, tuple[int, bytes]]) -> list[list[Any]]:
    kind, value = _place(child.path, found) or (NULL, b"")
    elements = fields(value) if kind == ARRAY else []
    if [name for name, _, _ in elements] != [b"%d" % place for place in range(len(elements))]:
        return []
    return [_child_row(child, kind, inner) for _, kind, inner in elements]


def _child_row(child: Child, kind: int, value: bytes) -> list[Any]:
    if [column.path for column in child.columns] == [()]:
        return [None if kind == NULL else _value(child.columns[0], kind, value)]
    inner = _first(fields(value)) if kind == DOCUMENT else {}
    return [*(_at(column, inner) for column in child.columns), *(_children(below, inner) for below in child.children)]


def _rest(stream: Stream, found: dict[bytes, tuple[int, bytes]]) -> Any:
    named = {column.path[0].encode() for column in (*stream.key, *stream.columns)}
    named |= {child.path[0].encode() for child in stream.children}
    members = {
        _member(name): _json(kind, value)
        for name, (kind, value) in found.items()
        if name not in named and not _holds_nul(kind, value)
    }
    return members or None


# --- json ---------------------------------------------------------------------------------------------------------


def _member(name: bytes) -> str:
    return ("$" if name.startswith(b"$") else "") + name.decode()


def _holds_nul(kind: int, value: bytes) -> bool:
    """Whether a text in it holds U+0000, for which jsonb has no place."""
    if kind in (STRING, SYMBOL, CODE):
        return b"\0" in value[4:-1]
    if kind == DB_POINTER:
        return b"\0" in value[4:-13]
    if kind == CODE_WITH_SCOPE:
        end = 8 + _int(value[4:8])
        return b"\0" in value[8 : end - 1] or _holds_nul(DOCUMENT, value[end:])
    return kind in (DOCUMENT, ARRAY) and any(_holds_nul(inner, part) for _, inner, part in fields(value))


def _json(kind: int, value: bytes) -> Any:  # noqa: PLR0911 - one line for each type
    """The value as a tree: documents are dicts, arrays lists, all else tuples that begin with the type's name."""
    if kind == DOCUMENT:
        return {_member(name): _json(inner, part) for name, inner, part in fields(value)}
    if kind == ARRAY:
        return [_json(inner, part) for _, inner, part in fields(value)]
    if kind == DOUBLE:
        return "double", _NAN if struct.unpack("<d", value)[0] != struct.unpack("<d", value)[0] else value
    if kind in (INT32, INT64):
        return f"int{len(value) * 8}", _int(value)
    if kind == DECIMAL:
        return "decimal", _decimal_text(value)
    if kind in (STRING, SYMBOL, CODE):
        return {STRING: "string", SYMBOL: "symbol", CODE: "code"}[kind], value[4:-1].decode()
    if kind == BINARY:
        # Subtype 2 says its length twice; Extended JSON leaves the inner one out.
        twice = value[4] == 2 and value[5:9] == struct.pack("<i", len(value) - 9)
        return "binary", value[4], value[9 if twice else 5 :]
    if kind == REGEX:
        return "regex", *(part.decode() for part in value[:-1].split(b"\0"))
    if kind == DB_POINTER:
        return "dbpointer", value[4:-13].decode(), value[-12:].hex()
    if kind == CODE_WITH_SCOPE:
        end = 8 + _int(value[4:8])
        return "code with scope", value[8 : end - 1].decode(), _json(DOCUMENT, value[end:])
    if kind == TIMESTAMP:
        return "timestamp", *struct.unpack("<II", value)
    return _BARE[kind], value.hex()


def _decimal_text(value: bytes) -> str:
    decimal = Decimal128.from_bid(value).to_decimal()
    return "NaN" if decimal.is_nan() else str(decimal)


_BARE = {UNDEFINED: "undefined", OBJECT_ID: "objectid", BOOL: "bool", DATE: "date", NULL: "null", MIN_KEY: "minkey",
         MAX_KEY: "maxkey"}  # fmt: skip


def _tree(parsed: Any) -> Any:
    """Parsed JSON of a column in the same form."""
    if isinstance(parsed, dict):
        name = next(iter(parsed), "")
        if name.startswith("$") and not name.startswith("$$"):
            return _tagged(parsed)
        return {name: _tree(value) for name, value in parsed.items()}
    if isinstance(parsed, list):
        return [_tree(value) for value in parsed]
    if parsed is None:
        return ("null", "")
    if isinstance(parsed, bool):
        return "bool", "01" if parsed else "00"
    return parsed if isinstance(parsed, tuple) else ("string", parsed)


def _tagged(parsed: dict[str, Any]) -> Any:
    return {
        ("$numberDouble",): lambda text: ("double", struct.pack("<d", float(text)) if text != "NaN" else _NAN),
        ("$numberLong",): lambda text: ("int64", int(text)),
        ("$numberDecimal",): lambda text: ("decimal", text),
        ("$symbol",): lambda text: ("symbol", text),
        ("$code",): lambda text: ("code", text),
        ("$binary",): lambda parts: ("binary", int(parts["subType"], 16), base64.b64decode(parts["base64"])),
        ("$regularExpression",): lambda parts: ("regex", parts["pattern"], parts["options"]),
        ("$dbPointer",): lambda parts: ("dbpointer", parts["$ref"], parts["$id"]["$oid"]),
        ("$code", "$scope"): lambda code, scope: ("code with scope", code, _tree(scope)),
        ("$timestamp",): lambda parts: ("timestamp", parts["i"][1], parts["t"][1]),
        ("$undefined",): lambda _: ("undefined", ""),
        ("$oid",): lambda text: ("objectid", text),
        ("$date",): lambda parts: ("date", struct.pack("<q", int(parts["$numberLong"])).hex()),
        ("$minKey",): lambda _: ("minkey", ""),
        ("$maxKey",): lambda _: ("maxkey", ""),
    }[tuple(parsed)](*parsed.values())


def _integer(text: str) -> tuple[str, int]:
    return "int32" if -(2**31) <= int(text) < 2**31 else "int64", int(text)


def _double(text: str) -> tuple[str, bytes]:
    return "double", struct.pack("<d", float(text))


# --- rows of the mapper -------------------------------------------------------------------------------------------


def found(stream: Stream, row: Sequence[Any]) -> list[Any]:
    """A row of the mapper in the form of `expected`."""
    values = list(row[1 + len(stream.key) : -1])
    columns = [*stream.columns]
    if stream.rest_column is not None:
        columns.append(Column(stream.rest_column, (), T.JSON, "any"))
    return _held(columns, stream.children, values)


def _held(columns: Sequence[Column], children: Sequence[Child], values: Sequence[Any]) -> list[Any]:
    held = [_form(column, value) for column, value in zip(columns, values, strict=False)]
    for child, rows in zip(children, values[len(columns) :], strict=True):
        held.append([_held(child.columns, child.children, row[:-1]) for row in rows])
    return held


def _form(column: Column, value: Any) -> Any:
    if value is None:
        return None
    if column.type is T.ARRAY:
        return [_form(column.element, inner) for inner in value]
    if column.type is T.FLOAT64:
        return struct.pack("<d", value)
    if column.type is T.JSON:
        return _tree(json.loads(value, parse_int=_integer, parse_float=_double))
    return value
