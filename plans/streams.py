"""The resolved form of a plan's streams: what the connectors and the orchestrator work with.

A plan file is written by people (short forms, defaults left out) and read by `plans.models`; `plans.resolution` turns
it into these frozen, picklable values, in which nothing is left to guess. They name no database: a connector reads
them and does what its system needs.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from tranship.plans.addresses import Address
from tranship.plans.targetprofile import POSTGRESQL, TargetProfile

DIGEST_SUFFIX = "_sha256"
"""What a table calls the digest of a long key column: the column's name and this."""


class LogicalType(StrEnum):
    """The types a column can have; each has one Arrow type (`connectors.batch`) and a native type per target."""

    BOOL = "bool"
    INT32 = "int32"
    INT64 = "int64"
    FLOAT64 = "float64"
    DECIMAL = "decimal"
    TEXT = "text"
    BYTES = "bytes"
    UUID = "uuid"
    OBJECTID = "objectid"
    TIMESTAMP = "timestamp"
    DATE = "date"
    JSON = "json"
    ARRAY = "array"


class Rest(StrEnum):
    """What becomes of fields that no column names, and of values that a column cannot hold."""

    RESIDUE = "residue"
    QUARANTINE = "quarantine"
    FAIL = "fail"


@dataclass(frozen=True)
class Reference:
    """A column that holds keys of another stream's rows. Dangling references are legal data: counted, not refused."""

    stream: str
    enforce: Literal["report"] = "report"


@dataclass(frozen=True)
class Column:
    """One typed column.

    `path` is the field's place in the source document, from the document (or the array's element) down.
    `bson` is the source type whose values need no residue (`rules.md` A10): the column's own by default.
    `null` says what NULL stands for when nothing else is known; the other of the two is residue.
    `long`: a key column for values of any length, which its SHA-256 stands for in the target's indexes.
    `items` is the type of an array's elements, which `bson`, `precision` and `scale` are then about; among them NULL
    always stands for null. `filled`: whether some document is expected to fill it. `values`: the only ones it may hold;
    none given: any. `comment`: for the target's catalog.
    """

    name: str
    path: tuple[str, ...]
    type: LogicalType
    bson: str
    null: Literal["missing", "null"] = "missing"
    precision: int | None = None
    scale: int | None = None
    unique: bool = False
    references: Reference | None = None
    long: bool = False
    items: LogicalType | None = None
    filled: Literal["expected", "optional"] = "expected"
    values: tuple[str | int, ...] = ()
    comment: str = ""

    @property
    def element(self) -> Column:
        """What an array's elements would be as a column of their own."""
        assert self.items is not None
        return Column(self.name, (), self.items, self.bson, "null", self.precision, self.scale)

    @property
    def is_canonical(self) -> bool:
        """Whether a key column holds canonical keys (`connectors.keys`), for `_id`s of any type."""
        return self.type is LogicalType.BYTES and self.bson == "any"

    @property
    def bounded(self) -> bool:
        """Whether a key column's values must not be longer than `TargetProfile.long_key_bytes`."""
        return self.type in (LogicalType.TEXT, LogicalType.BYTES) and not self.long


def key_entries(key: Sequence[Column], target: TargetProfile) -> list[tuple[list[Column], int]]:
    """Which bounded values of a key an index holds together, and how many bytes they may have in all (`rules.md` A8).

    One index is the primary key's; where a column is long, another serves reading in key order, and ends with the
    beginning of the first long value.
    """
    room = target.entry_bytes - target.part_bytes * len(key)
    bounded = [column for column in key if column.bounded]
    before = [column for column in itertools.takewhile(lambda column: not column.long, key) if column.bounded]
    entries = [(bounded, room)]
    if len(before) < len(key):
        entries.append((before, room - target.long_key_bytes))
    return [(columns, most) for columns, most in entries if columns]


@dataclass(frozen=True)
class Child:
    """A child table: one row per element of the array at `path`, ordered by ordinal.

    `empty` says what zero rows stand for: an empty array, a missing field or null; the others are residue. `filled`:
    whether some document is expected to have elements. `order` is the expected order of the elements' top fields;
    empty: that of declaration.
    """

    table: str
    path: tuple[str, ...]
    columns: tuple[Column, ...]
    children: tuple[Child, ...] = ()
    empty: Literal["empty", "missing", "null"] = "empty"
    filled: Literal["expected", "optional"] = "expected"
    order: tuple[str, ...] = ()
    comment: str = ""


@dataclass(frozen=True)
class Condition:
    """What a column of a row has to be, for the row to be in an index: NULL (`absent`) or not, or as compared with the
    values, of which all tests but `in` have one. Never met by NULL, but `absent`."""

    column: str
    test: Literal["absent", "present", "eq", "gt", "gte", "lt", "lte", "in"]
    values: tuple[bool | int | float | str, ...] = ()


@dataclass(frozen=True)
class Index:
    """An index of the root table. `descending`: those of its columns that are. `unique`: no two rows that are in it
    hold the same values; a row with a NULL among them never does. `where`: only rows that meet all of it are in it."""

    columns: tuple[str, ...]
    descending: tuple[str, ...] = ()
    unique: bool = False
    where: tuple[Condition, ...] = ()

    @property
    def is_constraint(self) -> bool:
        """Whether it says something of the whole table that a constraint can say."""
        return self.unique and not (self.descending or self.where)

    @property
    def read(self) -> tuple[str, ...]:
        """The columns that tell whether a row is in it, and where."""
        return tuple(dict.fromkeys((*self.columns, *(condition.column for condition in self.where))))


@dataclass(frozen=True)
class Stream:
    """What becomes one root table and its child tables, and where it comes from.

    `key` holds one column whose path is `("_id",)`, or several below `_id` for a composite key. With the type `bytes`
    and `bson` "any" it is the canonical key itself (`connectors.keys`), for collections with mixed `_id` types.
    `where` is a source filter as JSON text, or None for the whole collection. `rest_column` names a json column that
    takes the unnamed fields. `order` is the expected order of the document's top fields, by path. `target`: what the
    target can hold of them.
    """

    name: str
    collection: str
    table: str
    key: tuple[Column, ...]
    columns: tuple[Column, ...]
    children: tuple[Child, ...] = ()
    indexes: tuple[Index, ...] = ()
    where: str | None = None
    rest: Rest = Rest.RESIDUE
    rest_column: str | None = None
    order: tuple[str, ...] = field(default=())
    comment: str = ""
    target: TargetProfile = POSTGRESQL

    @property
    def unique(self) -> tuple[Index, ...]:
        """What its rows have to keep among themselves: unique columns, each as an index, then unique indexes."""
        single = tuple(Index((column.name,), unique=True) for column in self.columns if column.unique)
        return tuple(dict.fromkeys((*single, *(index for index in self.indexes if index.unique))))

    @property
    def plain_indexes(self) -> tuple[Index, ...]:
        """Its indexes that only serve reading."""
        return tuple(index for index in self.indexes if not index.unique)


_OF_ANY_LENGTH = (LogicalType.TEXT, LogicalType.BYTES, LogicalType.JSON, LogicalType.ARRAY)


def index_rooms(stream: Stream) -> dict[str, int]:
    """How many bytes a value of an indexed or unique column of the root table may have, by the column's name.

    What an index holds of a row ends soon (`rules.md` A8). Its columns share the room alike, so that it does not depend
    on the other values of a document whether one fits; key columns have theirs already. Types of a fixed size are left
    out.
    """
    columns = {column.name: column for column in (*stream.key, *stream.columns)}
    rooms: dict[str, int] = {}
    for entry in [index.columns for index in (*stream.plain_indexes, *stream.unique)]:
        held = [columns[name] for name in entry if name in columns]
        room = stream.target.entry_bytes - stream.target.part_bytes * len(entry)
        room -= stream.target.long_key_bytes * sum(column in stream.key and column.bounded for column in held)
        of_any_length = [column for column in held if column not in stream.key and column.type in _OF_ANY_LENGTH]
        for column in of_any_length:
            rooms[column.name] = min(rooms.get(column.name, room), room // len(of_any_length))
    return rooms


@dataclass(frozen=True)
class Endpoint:
    """A configured server. `uri` is an `Address` where a plan gave it: its secrets are read for each connection, and
    `repr` never shows it. `accept`: tables of others that may refer to the run's tables. `sessions`: how many a run,
    with the commands beside it, opens at once. `shadow_of`: the plan whose dry run has its state here."""

    kind: Literal["mongodb", "postgresql", "memory"]
    uri: str | Address = field(repr=False)
    database: str = ""
    schema: str = ""
    state_schema: str = ""
    accept: tuple[str, ...] = ()
    sessions: int = 0
    shadow_of: str = ""

    @property
    def address(self) -> str:
        """The URI as of now, with secrets put in. Raises `AddressError` when one cannot be read."""
        return self.uri.uri if isinstance(self.uri, Address) else self.uri
