"""Canonical keys and typed key columns: how each becomes the other.

`connectors.keycodec` gives every source key ordered bytes. Targets keep keys in typed columns; a `KeyForm` is made once
from a stream's key columns and translates both ways without any driver:

- `encode(values)`: the canonical key of a row, from its key columns in their order; ValueError if no document has it;
- `decode(key)`: the column values, or None when the key does not fit the columns, so that no row can have it;
- `range(span)`: the part of a span that rows can lie in, as cuts over the key columns.

Plain values stand for a column's type: `text` str, `int32`/`int64` int, `decimal` Decimal, `uuid` and `bytes` bytes,
`objectid` 24 hex digits, `timestamp` int microseconds and `date` int days since 1970, `bool` bool. `bytes` with `bson`
"any" is the canonical key itself. `float64` cannot be a key: databases disagree about where NaN sorts.

The order of the values is the order of their keys, with one exception: `bytes` sort by length first, so a target has to
order and compare them as `(length, bytes)`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple, TypeAlias

from tranship.connectors import keycodec as codec
from tranship.connectors import keynumbers as numbers
from tranship.connectors.protocols import Key, Span, is_nameless
from tranship.plans.streams import Column, LogicalType

TypedValue: TypeAlias = str | int | bytes | Decimal


class Cut(NamedTuple):
    """A place between rows in key order: just below the rows whose leading key columns are `values`, or, with `after`,
    just above them. `Cut((), False)` is below all rows, `Cut((), True)` above all."""

    values: tuple[TypedValue, ...]
    after: bool


BOTTOM = Cut((), False)
TOP = Cut((), True)


@dataclass(frozen=True)
class KeyRange:
    """Rows from `lower` up to `upper`. In SQL, with n the number of values in the cut: above a lower cut means
    `(first n columns) >= values`, or `>` with `after`; below an upper cut `<`, or `<=` with `after`."""

    lower: Cut
    upper: Cut

    @property
    def empty(self) -> bool:
        """No row can lie in it."""
        return self.lower == TOP or self.upper == BOTTOM


class TypedRange(NamedTuple):
    """Values from `lower` (included) to `upper` (excluded) of one key column; None is open."""

    lower: TypedValue | None
    upper: TypedValue | None
    empty: bool


class KeyForm:
    """The key columns of one stream, compiled. See the module."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = tuple(columns)
        self._kinds = tuple(_kind(column) for column in columns)
        paths = [column.path[1:] for column in columns]
        self._literals = _literals(paths, self._kinds)

    def encode(self, values: Sequence[TypedValue]) -> Key:
        """The canonical key of a row. Raises ValueError for values that no document's `_id` becomes."""
        if len(self._kinds) == 1 and not self._literals[0]:
            return self._kinds[0].encode(values[0])
        parts = [self._literals[0]]
        for kind, value, literal in zip(self._kinds, values, self._literals[1:], strict=True):
            parts += (kind.encode(value), literal)
        return b"".join(parts)

    def decode(self, key: Key) -> tuple[TypedValue, ...] | None:
        """The row's key values, or None when no row can have this key."""
        if is_nameless(key):
            return None
        cut, exact = self._place(key)
        return cut.values if exact else None

    def cut(self, key: Key) -> Cut:
        """Where among the rows the key lies: rows below the cut have smaller keys, rows above it equal or greater."""
        return self._place(key)[0]

    def range(self, span: Span) -> KeyRange:
        """The rows whose keys lie in the span."""
        return KeyRange(
            BOTTOM if span.lower is None else self.cut(span.lower),
            TOP if span.upper is None else self.cut(span.upper),
        )

    def _place(self, key: Key) -> tuple[Cut, bool]:
        """The cut of a key, and whether it is exactly one row's key."""
        values: tuple[TypedValue, ...] = ()
        at = 0
        for literal, kind in zip(self._literals, (*self._kinds, None), strict=True):
            found = key[at : at + len(literal)]
            if found != literal:
                return Cut(values, found > literal), False
            at += len(literal)
            if kind is None:
                break
            end = len(key) if kind.whole else codec.decode_at(key, at)[2]
            place = kind.place(key[at:end])
            if isinstance(place, bool):
                return Cut(values, place), False
            values = (*values, place)
            if kind.encode(place) != key[at:end]:
                return Cut(values, False), False
            at = end
        return (Cut(values, True), False) if at < len(key) else (Cut(values, False), True)


def from_typed(kind: LogicalType, value: TypedValue) -> Key:
    """The canonical key of a single typed key column."""
    return _KINDS[kind].encode(value)


def to_typed(kind: LogicalType, key: Key) -> TypedValue | None:
    """The value of a single typed key column, or None when the key does not fit the type."""
    found = _KINDS[kind]
    value = found.place(key)
    return None if isinstance(value, bool) or found.encode(value) != key else value


def typed_range(span: Span, kind: LogicalType) -> TypedRange:
    """The part of a span that values of one type can lie in: `column >= lower AND column < upper`."""
    place = _KINDS[kind].place
    lower = False if span.lower is None else place(span.lower)
    upper = True if span.upper is None else place(span.upper)
    return TypedRange(
        None if isinstance(lower, bool) else lower,
        None if isinstance(upper, bool) else upper,
        empty=lower is True or upper is False,
    )


@dataclass(frozen=True)
class _Kind:
    """One type of key column.

    `place` gives the smallest value whose key is at or above the given one; False means that all values are, True
    that none is. `generic` is the canonical type's byte, for fields of a subdocument. `whole`: the column holds keys.
    """

    generic: int
    encode: Callable[..., Key]
    place: Callable[[Key], TypedValue | bool]
    whole: bool = False


def _bracketed(generic: int, place: Callable[[Key], TypedValue | bool]) -> Callable[[Key], TypedValue | bool]:
    """`place` for keys of the bracket; keys of other types are below or above all values."""

    def clamp(key: Key) -> TypedValue | bool:
        found = codec.generic_type(key)
        return place(key) if found == generic else found > generic

    return clamp


def _number(key: Key) -> Decimal | bool:
    value, _ = numbers.read_number(key, 0)
    if value.is_finite():
        return value
    return value.is_infinite() and value > 0


def _integers(bits: int) -> _Kind:
    highest = 2 ** (bits - 1) - 1

    def place(key: Key) -> int | bool:
        value = _number(key)
        if isinstance(value, bool):
            return value
        if value.adjusted() > 20:  # far outside; no need for hundreds of digits
            return value > 0
        whole = int(value)  # towards zero
        whole += whole < value
        return highest < whole if not -highest - 1 <= whole <= highest else whole

    return _Kind(codec.NUMBER, numbers.encode_int, _bracketed(codec.NUMBER, place))


def _text_place(key: Key) -> str | bool:
    length, raw = _content(key)
    text = raw[:length].decode("utf-8", "surrogateescape")
    # No column can hold U+0000 or what is not UTF-8; the next text above the part before it stands for such a key.
    for at, character in enumerate(text):
        if character == "\0":
            return text[:at] + "\x01"
        if "\udc80" <= character <= "\udcff":
            return _next_text(text[:at], raw[len(text[:at].encode()) :])
    return text


def _next_text(head: str, tail: bytes) -> str | bool:
    """The smallest text that starts with `head` and sorts above the bytes `head + tail`, which are not UTF-8."""
    low, high = 0, 0x110000
    while low < high:  # UTF-8 sorts like code points
        middle = (low + high) // 2
        code = middle if not 0xD800 <= middle < 0xE000 else 0xE000
        if chr(code).encode() > tail:
            high = middle
        else:
            low = middle + 1
    if low < 0x110000:
        return head + chr(low if not 0xD800 <= low < 0xE000 else 0xE000)
    return _after_text(head)


def _after_text(head: str) -> str | bool:
    """The smallest text above every text that starts with `head`; True when there is none."""
    head = head.rstrip("\U0010ffff")
    if not head:
        return True
    following = ord(head[-1]) + 1
    return head[:-1] + chr(0xE000 if following == 0xD800 else following)


def _content(key: Key) -> tuple[int, bytes]:
    """(length, bytes) of a string's or binary's value."""
    _, value = codec.decode(key)
    length = int.from_bytes(value[:4], "little")
    return length - 1, value[4:]


def _text_key(value: str) -> Key:
    return codec.encode(0x02, b"\0\0\0\0" + value.encode() + b"\0")


def _binary_key(subtype: int) -> Callable[[bytes], Key]:
    return lambda value: codec.encode(0x05, b"\0\0\0\0" + bytes((subtype,)) + value)


def _binary_parts(key: Key) -> tuple[int, int, bytes]:
    """(length, subtype, bytes): the order of binary values."""
    _, value = codec.decode(key)
    return len(value) - 5, value[4], value[5:]


def _uuid_place(key: Key) -> bytes | bool:
    length, subtype, content = _binary_parts(key)
    if (length, subtype) == (16, 4):
        return content
    return (length, subtype) > (16, 4)


def _bytes_place(key: Key) -> bytes:
    length, subtype, content = _binary_parts(key)
    return content if subtype == 0 else bytes(length + 1)


def _objectid_key(value: str) -> Key:
    raw = bytes.fromhex(value)
    if raw.hex() != value:  # upper case or blanks: two rows would have one key
        raise codec.MalformedKeyError("not 24 lower-case hex digits")
    return b"d" + raw


def _milliseconds(key: Key) -> int:
    _, value = codec.decode(key)
    return int.from_bytes(value, "little", signed=True)


def _date_key(unit: int) -> Callable[[int], Key]:
    """Key of a date column that counts `unit` microseconds."""

    def encode(value: int) -> Key:
        milliseconds, rest = divmod(value * unit, 1000)
        if rest:
            raise codec.MalformedKeyError("not a whole number of milliseconds")
        if not -_LAST_MILLISECOND - 1 <= milliseconds <= _LAST_MILLISECOND:
            raise codec.MalformedKeyError("beyond what a date of BSON can be")
        return codec.encode(0x09, struct.pack("<q", milliseconds))

    return encode


def _day_place(key: Key) -> int | bool:
    day = -(-_milliseconds(key) // _MILLISECONDS_PER_DAY)
    # The day that BSON's last milliseconds lie in has begun; the next one begins behind them.
    return True if day > _LAST_MILLISECOND // _MILLISECONDS_PER_DAY else day


def _same(key: Key) -> Key:
    return key


_MILLISECONDS_PER_DAY = 86_400_000
_LAST_MILLISECOND = 2**63 - 1

_CANONICAL = _Kind(0, _same, _same, whole=True)

_KINDS: dict[LogicalType, _Kind] = {
    LogicalType.INT32: _integers(32),
    LogicalType.INT64: _integers(64),
    LogicalType.DECIMAL: _Kind(codec.NUMBER, numbers.encode_decimal, _bracketed(codec.NUMBER, _number)),
    LogicalType.TEXT: _Kind(codec.STRING, _text_key, _bracketed(codec.STRING, _text_place)),
    LogicalType.UUID: _Kind(codec.BINARY, _binary_key(4), _bracketed(codec.BINARY, _uuid_place)),
    LogicalType.BYTES: _Kind(codec.BINARY, _binary_key(0), _bracketed(codec.BINARY, _bytes_place)),
    LogicalType.OBJECTID: _Kind(codec.OBJECT_ID, _objectid_key, _bracketed(codec.OBJECT_ID, lambda key: key[1:].hex())),
    LogicalType.TIMESTAMP: _Kind(
        codec.DATE, _date_key(1), _bracketed(codec.DATE, lambda key: _milliseconds(key) * 1000)
    ),
    LogicalType.DATE: _Kind(
        codec.DATE,
        _date_key(_MILLISECONDS_PER_DAY * 1000),
        _bracketed(codec.DATE, _day_place),
    ),
}

KEY_TYPES = frozenset(_KINDS)


def _kind(column: Column) -> _Kind:
    return _CANONICAL if column.is_canonical else _KINDS[column.type]


def _literals(paths: list[tuple[str, ...]], kinds: tuple[_Kind, ...]) -> list[bytes]:
    """The bytes before, between and after the values of the key columns in every row's canonical key."""
    if paths == [()]:
        return [b"", b""]
    literals = [bytearray((codec.OBJECT,))]
    open_path: tuple[str, ...] = ()
    for path, kind in zip(paths, kinds, strict=True):
        shared = _shared(open_path, path[:-1])
        literals[-1] += b"\0" * (len(open_path) - shared)
        for name in path[shared:-1]:
            literals[-1] += bytes((codec.OBJECT,)) + name.encode() + b"\0" + bytes((codec.OBJECT,))
        literals[-1] += bytes((kind.generic,)) + path[-1].encode() + b"\0"
        literals.append(bytearray())
        open_path = path[:-1]
    literals[-1] += b"\0" * (len(open_path) + 1)
    return [bytes(literal) for literal in literals]


def _shared(left: tuple[str, ...], right: tuple[str, ...]) -> int:
    """How many leading names two paths share."""
    count = 0
    while count < min(len(left), len(right)) and left[count] == right[count]:
        count += 1
    return count
