"""Messages of PostgreSQL's output plugin `pgoutput`, protocol 1: bytes become values. Pure.

Format: PostgreSQL's documentation, "Logical Replication Message Formats". A message of a kind that is not known raises
`SourceChangedError`: going on would be guessing (`rules.md` B7).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal, TypeAlias

from tranship.connectors.errors import SourceChangedError


class Unsent(Enum):
    """A large value that an update left alone: the server does not read it again."""

    VALUE = "unchanged"


UNSENT: Final = Unsent.VALUE

Value: TypeAlias = bytes | Literal[Unsent.VALUE] | None
"""A column's value as text in UTF-8; None is NULL, and what is not part of the replica identity in an old row."""

Row: TypeAlias = tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Begin:
    """A transaction that has committed. `lsn`: where its commit record starts; by this transactions are ordered.
    `committed_us`: when, in microseconds since 1970 by the server's clock."""

    lsn: int
    committed_us: int
    xid: int


@dataclass(frozen=True, slots=True)
class Commit:
    """Its end. `end`: where its commit record ends."""

    end: int


@dataclass(frozen=True, slots=True)
class Attribute:
    """A column of a relation, with the OID of its type and that type's modifier."""

    name: str
    type: int
    modifier: int


@dataclass(frozen=True, slots=True)
class Relation:
    """How a table looks from here on. `identity`: d (primary key), f (full), i (an index), n (nothing)."""

    oid: int
    schema: str
    table: str
    identity: str
    columns: tuple[Attribute, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """A row inserted, updated or deleted: what was before, as far as it is sent, and what is now."""

    relation: int
    old: Row | None
    new: Row | None


@dataclass(frozen=True, slots=True)
class Truncate:
    """Tables that were emptied."""

    relations: tuple[int, ...]


Message: TypeAlias = Begin | Commit | Relation | Change | Truncate

_BEGIN = struct.Struct(">QqI")
_COMMIT = struct.Struct(">BQQq")
_ATTRIBUTE = struct.Struct(">Ii")
_UINT32 = struct.Struct(">I")
_UINT16 = struct.Struct(">H")

_EPOCH_US = 946_684_800_000_000
"""2000-01-01, where PostgreSQL's clock begins."""

_OF_NO_CONCERN = b"OYM"
"""Where a transaction came from first, data types, messages of applications: none of them changes a row."""


def parse(data: bytes) -> Message | None:
    """The message, or None for one that changes no row."""
    kind = data[:1]
    if kind in (b"I", b"U", b"D"):
        return _change(data)
    if kind == b"B":
        lsn, time_, xid = _BEGIN.unpack_from(data, 1)
        return Begin(lsn, time_ + _EPOCH_US, xid)
    if kind == b"C":
        return Commit(_COMMIT.unpack_from(data, 1)[2])
    if kind == b"R":
        return _relation(data)
    if kind == b"T":
        (count,) = _UINT32.unpack_from(data, 1)
        return Truncate(struct.unpack_from(f">{count}I", data, 6))
    if kind and kind in _OF_NO_CONCERN:
        return None
    raise SourceChangedError(
        f"PostgreSQL sent a change of a kind that is not known here ({kind.decode('latin-1') or 'empty'}): what it "
        "means for the rows cannot be told, so their changes cannot be followed"
    )


def _relation(data: bytes) -> Relation:
    (oid,) = _UINT32.unpack_from(data, 1)
    schema, at = _text(data, 5)
    table, at = _text(data, at)
    identity = chr(data[at])
    (count,) = _UINT16.unpack_from(data, at + 1)
    at += 3
    columns = []
    for _ in range(count):
        name, at = _text(data, at + 1)  # a byte of flags stands before it
        columns.append(Attribute(name, *_ATTRIBUTE.unpack_from(data, at)))
        at += _ATTRIBUTE.size
    # The server's own schema is sent as an empty name.
    return Relation(oid, schema or "pg_catalog", table, identity, tuple(columns))


def _text(data: bytes, at: int) -> tuple[str, int]:
    end = data.index(b"\0", at)
    return data[at:end].decode(), end + 1


def _change(data: bytes) -> Change:
    (relation,) = _UINT32.unpack_from(data, 1)
    old = new = None
    at = 5
    while at < len(data):
        part = data[at : at + 1]
        row, at = _row(data, at + 1)
        if part == b"N":
            new = row
        else:
            old = row
    return Change(relation, old, new)


def _row(data: bytes, at: int) -> tuple[Row, int]:
    (count,) = _UINT16.unpack_from(data, at)
    at += 2
    values: list[Value] = []
    for _ in range(count):
        kind = data[at]
        at += 1
        if kind == 0x74:  # t: text
            (length,) = _UINT32.unpack_from(data, at)
            at += 4
            values.append(data[at : at + length])
            at += length
        else:
            values.append(None if kind == 0x6E else UNSENT)  # n: NULL, u: unchanged
    return tuple(values), at
