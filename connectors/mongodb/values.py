"""Programs of values: what a column of one type takes from BSON values, and what it gives back.

`connectors.mongodb.columns` gives each column its program.

A value is *exact* in a column when `emit` makes the same BSON value of it again; then it needs no residue. It is *near*
when the column can hold an equal value of another form (an int32 in an int64 column, 1.1 at scale 2): the column holds
that, and the residue the original. Anything else is left to the residue, and the column is NULL. Nothing is cast.

In rows, values are plain: decimals are integers scaled by the column's scale, timestamps microseconds and dates days
since 1970, ObjectIds 24 hex digits.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from typing import Any, TypeAlias

from tranship.connectors.errors import UnmappableError
from tranship.connectors.keynumbers import decimal128_to_decimal
from tranship.connectors.mongodb import bsonwalk as b
from tranship.connectors.mongodb import jsontext

Value: TypeAlias = Any
"""A row's plain value, None for NULL."""

REPRESENTATION = "representation"
OUT_OF_RANGE = "out of range"
NOT_JSON = "not exact as jsonb"

_FIXED_BYTES = 40
"""More than any value of a type that is not text, bytes, json or an array."""

_JSON_GROWTH = 6
"""In jsonb a digit and a comma become a numeric and its entry, twelve bytes; all else grows less."""

_double, _int32, _int64 = struct.Struct("<d"), struct.Struct("<i"), struct.Struct("<q")
_read_double, _read_int32, _read_int64 = _double.unpack_from, _int32.unpack_from, _int64.unpack_from
_INTEGERS = {b.INT32: _read_int32, b.INT64: _read_int64}
_MINUS_ZERO = _double.pack(-0.0)


def off_type(kind: int) -> str:
    """The reason for a value of a type that the column cannot hold."""
    return f"type {b.TYPE_NAMES[kind]}"


class Program(ABC):
    """One column's program. `kind` is the BSON type that `read` is for; -1 if there is no fast way."""

    kind: int

    @abstractmethod
    def read(self, raw: bytes, start: int, end: int) -> Value:
        """The value of type `kind` if it is exact, else None."""

    @abstractmethod
    def judge(self, kind: int, raw: bytes, start: int, end: int) -> tuple[Value, str]:
        """The column's value for any BSON value, or None; and why the original has to be kept, "" if it need not be."""

    @abstractmethod
    def emit(self, value: Value) -> tuple[int, bytes]:
        """The BSON value (type byte, value bytes) that the column's value stands for."""

    def same(self, left: Value, right: Value) -> bool:
        """Whether two values of the column are the same, down to the bits."""
        return bool(left == right)

    def size(self, value: Value) -> int:  # noqa: ARG002
        """How many bytes PostgreSQL needs for a value, uncompressed, or more."""
        return _FIXED_BYTES

    def _kept(self, value: Value, kind: int, raw: bytes, start: int, end: int) -> tuple[Value, str]:
        """A near value: the original is kept unless `emit` gives it back."""
        if value is None:
            return None, OUT_OF_RANGE
        return value, "" if self.emit(value) == (kind, raw[start:end]) else REPRESENTATION


class BoolProgram(Program):
    kind = b.BOOL

    def read(self, raw: bytes, start: int, _end: int) -> Value:
        byte = raw[start]
        return byte == 1 if byte < 2 else None  # others are malformed, which the check of kept values reports

    def judge(self, kind: int, _raw: bytes, _start: int, _end: int) -> tuple[Value, str]:
        return None, off_type(kind)

    def emit(self, value: Value) -> tuple[int, bytes]:
        return b.BOOL, b"\1" if value else b"\0"


class IntegerProgram(Program):
    """int32 and int64 columns. A column that expects int32 gives larger numbers back as int64."""

    def __init__(self, bits: int, bson: str) -> None:
        self.kind = b.INT32 if bson == "int32" else b.INT64
        self._read = _INTEGERS[self.kind]
        self._highest = 2 ** (bits - 1) - 1

    def read(self, raw: bytes, start: int, _end: int) -> Value:
        return self._read(raw, start)[0]

    def judge(self, kind: int, raw: bytes, start: int, end: int) -> tuple[Value, str]:
        if kind not in _INTEGERS:
            return None, off_type(kind)
        value = _INTEGERS[kind](raw, start)[0]
        fits = -self._highest - 1 <= value <= self._highest
        return self._kept(value if fits else None, kind, raw, start, end)

    def emit(self, value: Value) -> tuple[int, bytes]:
        return emit_integer(value, self.kind)


class DoubleProgram(Program):
    """float64 columns. A column that expects int32 gives whole numbers back as int32."""

    def __init__(self, bson: str) -> None:
        self.kind = b.INT32 if bson == "int32" else b.DOUBLE

    def read(self, raw: bytes, start: int, _end: int) -> Value:
        return float(_read_int32(raw, start)[0]) if self.kind == b.INT32 else _read_double(raw, start)[0]

    def judge(self, kind: int, raw: bytes, start: int, end: int) -> tuple[Value, str]:
        if kind == b.DOUBLE:
            return self._kept(_read_double(raw, start)[0], kind, raw, start, end)
        if kind not in _INTEGERS:
            return None, off_type(kind)
        whole = _INTEGERS[kind](raw, start)[0]
        value = float(whole)
        return self._kept(value if int(value) == whole else None, kind, raw, start, end)

    def emit(self, value: Value) -> tuple[int, bytes]:
        packed = _double.pack(value)
        if self.kind == b.INT32 and packed != _MINUS_ZERO and value.is_integer() and -(2**31) <= value < 2**31:
            return b.INT32, _int32.pack(int(value))
        return b.DOUBLE, packed

    def same(self, left: Value, right: Value) -> bool:
        if left is None or right is None:
            return left is right
        return _double.pack(left) == _double.pack(right)  # NaN is NaN, -0.0 is not 0.0


class DecimalProgram(Program):
    """Decimal columns: integers scaled by the scale. NaN and infinities have no place in them."""

    def __init__(self, precision: int, scale: int, bson: str) -> None:
        self.kind = {"int32": b.INT32, "int64": b.INT64}.get(bson, b.DECIMAL128)
        self._scale = scale
        self._unit = 10**scale
        self._limit = 10**precision
        # An exact decimal128 has just the exponent -scale; then its head is one of these two.
        self._head = 6176 - scale
        self._exact = min(self._limit, 10**34)

    def read(self, raw: bytes, start: int, end: int) -> Value:
        if self.kind != b.DECIMAL128:
            value = _INTEGERS[self.kind](raw, start)[0] * self._unit
            return value if -self._limit < value < self._limit else None
        bits = int.from_bytes(raw[start:end], "little")
        head, coefficient = bits >> 113, bits & _COEFFICIENT
        if coefficient >= self._exact:
            return None
        if head == self._head:
            return coefficient
        return -coefficient if head == self._head | 0x4000 and coefficient else None

    def judge(self, kind: int, raw: bytes, start: int, end: int) -> tuple[Value, str]:
        if kind in _INTEGERS:
            value = _INTEGERS[kind](raw, start)[0] * self._unit
        elif kind == b.DECIMAL128:
            value = self._scaled(raw[start:end])
        else:
            return None, off_type(kind)
        fits = value is not None and -self._limit < value < self._limit
        return self._kept(value if fits else None, kind, raw, start, end)

    def _scaled(self, value: bytes) -> int | None:
        number = decimal128_to_decimal(value)
        if not number.is_finite():
            return None
        sign, digits, exponent = number.as_tuple()
        assert isinstance(exponent, int)  # finite
        coefficient = int("".join(map(str, digits)))
        power = exponent + self._scale
        if coefficient == 0:
            return 0
        if power < 0:
            coefficient, rest = divmod(coefficient, 10**-power) if power > -40 else (0, 1)
            if rest:
                return None
        elif power > 40:  # beyond any precision
            return None
        else:
            coefficient *= 10**power
        return -coefficient if sign else coefficient

    def emit(self, value: Value) -> tuple[int, bytes]:
        if self.kind != b.DECIMAL128 and value % self._unit == 0 and -(2**63) <= value // self._unit < 2**63:
            return emit_integer(value // self._unit, self.kind)
        coefficient, head = abs(value), self._head
        while coefficient >= 10**34:
            coefficient, rest = divmod(coefficient, 10)
            head += 1
            if rest:
                raise UnmappableError("a decimal of more than 34 digits has no BSON value")
        bits = ((head | (0x4000 if value < 0 else 0)) << 113) | coefficient
        return b.DECIMAL128, bits.to_bytes(16, "little")


_COEFFICIENT = (1 << 113) - 1


class TextProgram(Program):
    """text columns. `nul`: whether the target holds U+0000."""

    kind = b.STRING

    def __init__(self, nul: bool = False) -> None:
        self._refused = b"" if nul else b"\0"

    def read(self, raw: bytes, start: int, end: int) -> Value:
        content = raw[start + 4 : end - 1]
        refused = self._refused and self._refused in content
        return None if refused or raw[end - 1] else content.decode()

    def judge(self, kind: int, raw: bytes, start: int, end: int) -> tuple[Value, str]:
        if kind not in (b.STRING, b.SYMBOL):
            return None, off_type(kind)
        value = self.read(raw, start, end)
        if value is None:
            return None, "U+0000 in text"
        return self._kept(value, kind, raw, start, end)  # a symbol is equal to the string

    def emit(self, value: Value) -> tuple[int, bytes]:
        return b.STRING, jsontext.string(value)

    def size(self, value: Value) -> int:
        return len(value.encode())


class BinaryProgram(Program):
    """bytes (subtype 0) and uuid (subtype 4, 16 bytes) columns."""

    kind = b.BINARY

    def __init__(self, subtype: int, size: int | None = None) -> None:
        self._subtype = subtype
        self._size = size

    def read(self, raw: bytes, start: int, end: int) -> Value:
        if raw[start + 4] != self._subtype or self._size not in (None, end - start - 5):
            return None
        return raw[start + 5 : end]

    def judge(self, kind: int, raw: bytes, start: int, _end: int) -> tuple[Value, str]:
        if kind != b.BINARY:
            return None, off_type(kind)
        return None, f"binary subtype {raw[start + 4]}" if raw[start + 4] != self._subtype else "length"

    def emit(self, value: Value) -> tuple[int, bytes]:
        return b.BINARY, _int32.pack(len(value)) + bytes((self._subtype,)) + value

    def size(self, value: Value) -> int:
        return len(value)


class ObjectIdProgram(Program):
    kind = b.OBJECT_ID

    def read(self, raw: bytes, start: int, end: int) -> Value:
        return raw[start:end].hex()

    def judge(self, kind: int, _raw: bytes, _start: int, _end: int) -> tuple[Value, str]:
        return None, off_type(kind)

    def emit(self, value: Value) -> tuple[int, bytes]:
        return b.OBJECT_ID, bytes.fromhex(value)


class DateProgram(Program):
    """timestamp and date columns: BSON dates of whole `unit` milliseconds from `first` up to `end` units since 1970."""

    kind = b.DATE

    def __init__(self, unit: int, scale: int, first: int, end: int) -> None:
        self._unit = unit
        self._scale = scale
        self._first = first
        self._end = end

    def read(self, raw: bytes, start: int, _end: int) -> Value:
        units, rest = divmod(_read_int64(raw, start)[0], self._unit)
        return units * self._scale if self._first <= units < self._end and not rest else None

    def judge(self, kind: int, raw: bytes, start: int, _end: int) -> tuple[Value, str]:
        if kind != b.DATE:
            return None, off_type(kind)
        return None, "time of day" if _read_int64(raw, start)[0] % self._unit else OUT_OF_RANGE

    def emit(self, value: Value) -> tuple[int, bytes]:
        whole, rest = divmod(value * self._unit, self._scale)
        if rest:
            raise UnmappableError("a time finer than milliseconds has no BSON value")
        return b.DATE, _int64.pack(whole)


class JsonProgram(Program):
    """json columns: any value, as the text of `jsontext`."""

    kind = -1

    def __init__(self, depth: int) -> None:
        self._depth = depth

    def read(self, _raw: bytes, _start: int, _end: int) -> Value:
        return None

    def judge(self, kind: int, raw: bytes, start: int, end: int) -> tuple[Value, str]:
        text, exact = jsontext.write(kind, raw, start, end, self._depth)
        return text, "" if exact else NOT_JSON

    def emit(self, value: Value) -> tuple[int, bytes]:
        return jsontext.read(value)

    def size(self, value: Value) -> int:
        return len(value.encode()) * _JSON_GROWTH


def emit_integer(value: int, kind: int) -> tuple[int, bytes]:
    """An integer as the given BSON type; as int64 when it is too large for an int32."""
    if kind == b.INT32 and -(2**31) <= value < 2**31:
        return b.INT32, _int32.pack(value)
    return b.INT64, _int64.pack(value)
