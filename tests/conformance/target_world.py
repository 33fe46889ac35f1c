"""What the target suites work with: two streams, rows for them, and a migration in the state that a test needs."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Protocol, TypeAlias

import pyarrow as pa

from tranship.connectors.arrowtypes import schema
from tranship.connectors.batch import KEY, RESIDUE, Batch, Quarantined
from tranship.connectors.keys import KeyForm
from tranship.connectors.protocols import (
    NAMELESS,
    BatchTarget,
    Changes,
    ChunkMark,
    DirtyKey,
    Feed,
    Key,
    LaneMark,
    Loaded,
    Position,
    Progress,
    Scope,
    Span,
    TargetSchema,
)
from tranship.plans.streams import Child, Column, Condition, Index, LogicalType, Reference, Stream

Row: TypeAlias = dict[str, Any]
Hook: TypeAlias = Callable[[str], None]

WHOLE = Span(None, None)
LANES = 4


def column(name: str, kind: LogicalType, **options: Any) -> Column:
    return Column(name, (name,), kind, kind.value, **options)


CUSTOMERS = Stream(
    name="customers",
    collection="customers",
    table="customers",
    key=(Column("_id", ("_id",), LogicalType.OBJECTID, "objectid"),),
    columns=(column("email", LogicalType.TEXT, unique=True),),
)

ORDERS = Stream(
    name="orders",
    collection="orders",
    table="orders",
    key=(Column("_id", ("_id",), LogicalType.OBJECTID, "objectid"),),
    columns=(
        column("number", LogicalType.INT64, unique=True),
        column("customer", LogicalType.OBJECTID, references=Reference("customers")),
        column("paid", LogicalType.BOOL),
        column("priority", LogicalType.INT32),
        column("weight", LogicalType.FLOAT64),
        column("total", LogicalType.DECIMAL, precision=12, scale=2),
        column("status", LogicalType.TEXT),
        column("signature", LogicalType.BYTES),
        column("token", LogicalType.UUID),
        column("placed", LogicalType.TIMESTAMP),
        column("due", LogicalType.DATE),
        column("tags", LogicalType.JSON),
        column("labels", LogicalType.ARRAY, items=LogicalType.TEXT),
    ),
    children=(
        Child(
            "items",
            ("items",),
            (column("sku", LogicalType.TEXT), column("price", LogicalType.DECIMAL, precision=10, scale=2)),
            children=(Child("parts", ("parts",), (column("part", LogicalType.INT32),)),),
        ),
        Child("notes", ("notes",), (column("note", LogicalType.TEXT),)),
    ),
    indexes=(Index(("status", "placed")),),
    rest_column="rest",
)

STREAMS = (CUSTOMERS, ORDERS)

OPEN = Condition("cancelled", "absent")

BOOKINGS = Stream(
    name="bookings",
    collection="bookings",
    table="bookings",
    key=(Column("_id", ("_id",), LogicalType.OBJECTID, "objectid"),),
    columns=(
        column("hall", LogicalType.TEXT),
        column("seat", LogicalType.INT32),
        column("guest", LogicalType.TEXT, values=("a'b", "b%c", "é")),
        column("cancelled", LogicalType.TIMESTAMP),
        column("price", LogicalType.DECIMAL, precision=10, scale=2),
    ),
    indexes=(
        Index(("hall", "seat"), unique=True, where=(OPEN,)),
        Index(("hall", "guest"), unique=True),
        Index(("price",), ("price",), unique=True, where=(Condition("seat", "in", (7, 8)),)),
        Index(("hall", "seat"), ("seat",)),
        Index(("hall", "seat")),
        Index(("hall",), where=(OPEN, Condition("price", "gt", ("1.50",)), Condition("guest", "eq", ("a'b",)))),
        Index(("seat",), where=(Condition("cancelled", "gte", ("2024-01-31T12:00:00+02:00",)),)),
    ),
    comment='Who sits where; it\'s "theirs" — 100 %',
)
"""A stream with indexes of every kind, and values that its plan lists."""


class TargetWorld(Protocol):
    """An empty target. What it gives is closed by the world."""

    def take_over(self, run: str) -> int:
        """A new epoch of the run; its first one makes the run known."""

    def target(self, scope: Scope, hook: Hook | None = None) -> BatchTarget: ...

    def progress(self, hook: Hook | None = None) -> Progress: ...

    def schema(self) -> TargetSchema: ...


# --- rows -------------------------------------------------------------------------------------------------------------


def object_id(number: int) -> str:
    return f"{number:024x}"


def key(number: int, stream: Stream = ORDERS) -> Key:
    return KeyForm(stream.key).encode((object_id(number),))


def order(number: int, /, **changes: Any) -> Row:
    """An order with a value in every column and rows in every child table."""
    row: Row = {
        KEY: key(number),
        "_id": object_id(number),
        "number": number,
        "customer": object_id(number % 10),
        "paid": number % 2 == 0,
        "priority": -number,
        "weight": number / 3,
        "total": Decimal(number).scaleb(-2),
        "status": f"ordered — 注文 {number}",
        "signature": bytes([0, number % 256, 255]),
        "token": uuid.UUID(int=number).bytes,
        "placed": datetime(2024, 2, 29, 23, 59, 59, 999_000, UTC),
        "due": date(1969, 12, 31),
        "tags": '{"a": [1, "x", null]}',
        "labels": ["", None, f"label — {number}"][: number % 4],
        "rest": f'{{"extra": {number}}}',
        "items": [item(n) for n in range(number % 4)],
        "notes": [{"note": f"note {n}", RESIDUE: odd("note") if n else None} for n in range(number % 3)],
        RESIDUE: REORDERED if number % 7 == 0 else None,
    }
    return row | changes


def odd(*fields: str) -> bytes:
    """The residue of a document that has a value for each of these columns, and one more field."""
    return _template(*fields, more=b"\x10odd\0\1\0\0\0")


def _template(*fields: str, more: bytes = b"") -> bytes:
    """A residue by `docs/fidelity.md`: the order of a document's fields, each of which is in a column, and others."""
    body = b"".join(b"\x06" + name.encode() + b"\0" for name in fields) + more
    inner = (len(body) + 5).to_bytes(4, "little") + body + b"\0"
    return (len(inner) + 8).to_bytes(4, "little") + b"\x03v\0" + inner + b"\0"


REORDERED = _template(
    "_id", "extra", *(name for name in reversed(schema(ORDERS).names) if name[0] != "_" and name != "rest")
)
"""The residue of an order that has all fields, in another order than the plan's."""


def item(number: int) -> Row:
    return {
        "sku": f"sku-{number}",
        "price": Decimal("9.90"),
        "parts": [{"part": part, RESIDUE: None} for part in range(number)],
        RESIDUE: None,
    }


def bare_order(number: int) -> Row:
    """An order with nothing but its key."""
    empty: Row = dict.fromkeys(schema(ORDERS).names)
    return empty | {KEY: key(number), "_id": object_id(number), "items": [], "notes": []}


def customer(number: int, email: str | None) -> Row:
    return {KEY: key(number, CUSTOMERS), "_id": object_id(number), "email": email, RESIDUE: None}


def booking(number: int, hall: str, seat: int | None, /, **changes: Any) -> Row:
    """A booking that is not cancelled."""
    empty: Row = dict.fromkeys(schema(BOOKINGS).names)
    return empty | {KEY: key(number, BOOKINGS), "_id": object_id(number), "hall": hall, "seat": seat} | changes


def batch(rows: Sequence[Row], stream: Stream = ORDERS, quarantined: Iterable[Quarantined] = ()) -> Batch:
    return Batch(pa.RecordBatch.from_pylist(list(rows), schema=schema(stream)), tuple(quarantined))


def aside(number: int, reason: str = "too odd") -> Quarantined:
    return Quarantined(key(number), "total", reason, b"\x05\0\0\0\0")


def nameless(document: bytes) -> Quarantined:
    """An entry for a document whose key cannot be read."""
    return Quarantined(NAMELESS + hashlib.sha256(document).digest(), "", "malformed: length", document)


# --- a migration ------------------------------------------------------------------------------------------------------


class Migration:
    """One run on the target under test: tables are made, capture has started."""

    def __init__(self, world: TargetWorld, run: str = "shop-1") -> None:
        self.world = world
        self.scope = Scope(run, Feed.FORWARD, world.take_over(run))
        self.schema = world.schema()
        self.schema.create_tables(self.scope, STREAMS)
        self.progress = world.progress()
        self.progress.start_capture(self.scope, Position(b"first"), LANES)
        self.target = world.target(self.scope)

    def begin(self, spans: Sequence[Span] = (WHOLE,), stream: Stream = ORDERS) -> list[ChunkMark]:
        """Plan chunks and begin an attempt of each."""
        self.progress.plan_chunks(self.scope, stream, spans)
        marks = [self.progress.begin_chunk(self.scope, chunk) for chunk in self.progress.chunks(self.scope, stream)]
        return [mark for mark in marks if mark is not None]

    def load(self, rows: Sequence[Row], stream: Stream = ORDERS, quarantined: Iterable[Quarantined] = ()) -> Loaded:
        """Load the rows and entries as the stream's only chunk."""
        (mark,) = self.begin(stream=stream)
        return self.target.load(stream, [batch(rows, stream, quarantined)], mark)

    def change(self, *numbers: int, stream: Stream = ORDERS) -> None:
        """Let capture keep these keys."""
        keys = tuple((stream.name, key(number, stream)) for number in numbers)
        self.progress.keep(self.scope, Changes(keys, Position(b"later")))

    def take(self) -> list[tuple[LaneMark, list[DirtyKey]]]:
        """What each lane has to apply, lanes with nothing left out."""
        taken = [self.progress.take(self.scope, lane, 1000) for lane in range(LANES)]
        return [(mark, dirty) for mark, dirty in taken if dirty]

    def take_one(self) -> tuple[LaneMark, list[DirtyKey]]:
        """What the only lane with work has to apply."""
        (taken,) = self.take()
        return taken

    def rows(self, stream: Stream = ORDERS, span: Span = WHOLE) -> list[Row]:
        return [row for found in self.target.read(stream, span) for row in found.rows.to_pylist()]

    def aside(self, stream: Stream = ORDERS, span: Span = WHOLE) -> list[Quarantined]:
        """The quarantine entries of a span."""
        return [entry for found in self.target.read(stream, span) for entry in found.quarantined]

    def numbers(self) -> list[int]:
        """The numbers of the orders that are there."""
        return [int(row["_id"], 16) for row in self.rows()]


def plain(rows: Iterable[Row]) -> Iterator[Row]:
    """Rows as a batch gives them back."""
    yield from batch(list(rows)).rows.to_pylist()
