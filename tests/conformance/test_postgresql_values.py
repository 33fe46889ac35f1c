"""PostgreSQL: every logical type at its extremes, every key type in its order, and rows that somebody changed."""

from __future__ import annotations

import random
import re
import struct
import uuid
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from tests.conformance.postgresql_world import PostgresWorld
from tests.conformance.target_world import LANES, ORDERS, WHOLE, Migration, Row, bare_order, batch, key, order
from tranship.connectors import arrowtypes, keycodec
from tranship.connectors.batch import KEY, RESIDUE, Batch
from tranship.connectors.errors import ConnectorError, UniqueConflictError
from tranship.connectors.keys import KeyForm
from tranship.connectors.postgresql import keyterms
from tranship.connectors.postgresql.keyspace import KeySpace
from tranship.connectors.postgresql.layout import layout
from tranship.connectors.postgresql.selection import FOREIGN
from tranship.connectors.protocols import Changes, DirtyKey, Feed, Position, Scope, Span
from tranship.plans.streams import Child, Column, LogicalType, Stream

L = LogicalType

FIRST_MICROSECOND = -210_866_803_200_000_000  # 4714-11-24 BC
LAST_MICROSECOND = 2**63 - 1  # the year 294247
FIRST_DAY, LAST_DAY = -2_440_588, 2_145_042_905

EXTREMES: dict[LogicalType, list[Any]] = {
    L.BOOL: [True, False],
    L.INT32: [-(2**31), -1, 0, 2**31 - 1],
    L.INT64: [-(2**63), -1, 0, 2**63 - 1],
    L.FLOAT64: [float("-inf"), -1.7976931348623157e308, -5e-324, -0.0, 0.0, 0.1, 5e-324, float("inf"), float("nan")],
    L.DECIMAL: [Decimal("-9" + "9" * 27 + ".9999999999"), Decimal("0E-10"), Decimal("1.1"), Decimal("9" * 28)],
    L.TEXT: ["", " ", "a\tb\nc\\d'e\"f", "é注文\U0010ffff", "\x01", "x" * 100_000],
    L.BYTES: [b"", b"\0", bytes(range(256)), b"\xff" * 100_000],
    L.UUID: [bytes(16), b"\xff" * 16, uuid.UUID(int=1).bytes],
    L.OBJECTID: ["0" * 24, "f" * 24, "0123456789abcdef01234567"],
    L.TIMESTAMP: [FIRST_MICROSECOND, -1, 0, 1, 253_402_300_800_000_000, LAST_MICROSECOND],
    L.DATE: [FIRST_DAY, -1, 0, 2_932_897, LAST_DAY],
    L.JSON: ["null", "[]", "{}", '"a"', "1.10", '{"a": [1, {"b": null}], "cc": "\\"é\\\\"}'],
}


def _column(name: str, kind: LogicalType, **options: Any) -> Column:
    if kind is L.DECIMAL:
        options = {"precision": 38, "scale": 10} | options
    return Column(name, options.pop("path", (name,)), kind, options.pop("bson", kind.value), **options)


def _array(kind: pa.DataType, values: Sequence[Any]) -> pa.Array:
    """Times are given as integers: Python's own types end at the years 1 and 9999."""
    if pa.types.is_timestamp(kind):
        return pa.array(values, pa.int64()).cast(kind)
    if pa.types.is_date32(kind):
        return pa.array(values, pa.int32()).cast(kind)
    return pa.array(values, kind)


class Table:
    """One stream of its own on a PostgreSQL target."""

    def __init__(self, postgres: PostgresWorld, stream: Stream) -> None:
        self.postgres = postgres
        self.stream = stream
        postgres.streams = [stream]
        self.scope = Scope("values-1", Feed.FORWARD, postgres.take_over("values-1"))
        self.schema = postgres.schema()
        self.schema.create_tables(self.scope, [stream])
        self.progress = postgres.progress()
        self.progress.start_capture(self.scope, Position(b""), LANES)
        self.target = postgres.target(self.scope)

    def load(self, rows: pa.RecordBatch) -> None:
        self.progress.plan_chunks(self.scope, self.stream, [WHOLE])
        (chunk,) = self.progress.chunks(self.scope, self.stream)
        mark = self.progress.begin_chunk(self.scope, chunk)
        assert mark is not None
        self.target.load(self.stream, [Batch(rows)], mark)

    def read(self, span: Span = WHOLE) -> pa.Table:
        found = [found.rows for found in self.target.read(self.stream, span)]
        return pa.Table.from_batches(found, arrowtypes.schema(self.stream)).combine_chunks()

    def keys(self, span: Span = WHOLE) -> list[bytes]:
        found: list[bytes] = self.read(span).column(KEY).to_pylist()
        return found


# --- values -----------------------------------------------------------------------------------------------------------


def test_every_type_keeps_its_extremes(postgres: PostgresWorld) -> None:
    columns = tuple(_column(f"a {kind.value}", kind) for kind in EXTREMES)
    child = Child("elements", ("elements",), columns)
    stream = Stream("all", "all", "all types", (_column("_id", L.INT32),), columns, (child,))
    count = max(map(len, EXTREMES.values())) + 1
    fields = {
        column.name: _array(arrowtypes.arrow_type(column), [*values, *[None] * (count - len(values))])
        for column, values in zip(columns, EXTREMES.values(), strict=True)
    }
    ids = list(range(count))
    residue = pa.array([b"", *[None] * (count - 1)], pa.binary())
    element = pa.StructArray.from_arrays([*fields.values(), residue], names=[*fields, RESIDUE])
    kind = arrowtypes.child_type(child)
    # The first row has all elements, the others none: each type's extremes once in a root and once in a child row.
    elements = pa.ListArray.from_arrays(pa.array([0, *[count] * count], pa.int32()), element.cast(kind.value_type))
    rows = pa.record_batch(
        [
            pa.array([KeyForm(stream.key).encode((n,)) for n in ids]),
            pa.array(ids, pa.int32()),
            *fields.values(),
            elements.cast(kind),
            residue,
        ],
        schema=arrowtypes.schema(stream),
    )
    table = Table(postgres, stream)
    table.load(rows)
    assert table.schema.table_differences([stream]) == []
    read = table.read()
    assert read.num_rows == count
    for name in rows.schema.names:
        _assert_same(read.column(name).combine_chunks(), rows.column(name), name)
    by_keys = table.target.read_keys(stream, rows.column(0).to_pylist()).rows
    for name in rows.schema.names:
        _assert_same(by_keys.column(name), rows.column(name), name)


def _assert_same(read: pa.Array, written: pa.Array, name: str) -> None:
    """Equal to the bit: a NaN is itself, and -0.0 is not 0.0."""
    assert read.type == written.type, name
    if pa.types.is_floating(read.type):
        read, written = (array.view(pa.int64()) for array in (read, written))
    if pa.types.is_list(read.type):
        assert read.offsets == written.offsets, name
        for n, field in enumerate(read.type.value_type):
            _assert_same(read.flatten().flatten()[n], written.flatten().flatten()[n], f"{name}.{field.name}")
        return
    assert read.equals(written), name


def test_nested_children_of_any_depth_come_back(postgres: PostgresWorld) -> None:
    below: tuple[Child, ...] = ()
    for depth in (4, 3, 2, 1):
        below = (Child(f"level_{depth}", (f"l{depth}",), (_column("value", L.INT32),), below),)
    stream = Stream("deep", "deep", "deep", (_column("_id", L.TEXT),), (), below)
    chance = random.Random(7)

    def nest(depth: int) -> list[Row]:
        rows = [{"value": chance.randrange(9), RESIDUE: None} for _ in range(chance.randrange(4))]
        return [row | {f"level_{depth + 1}": nest(depth + 1)} for row in rows] if depth < 4 else rows

    form = KeyForm(stream.key)
    ids = sorted(f"{n:x}" for n in range(300))
    rows = [{KEY: form.encode((i,)), "_id": i, "level_1": nest(1), RESIDUE: None} for i in ids]
    table = Table(postgres, stream)
    written = pa.RecordBatch.from_pylist(rows, schema=arrowtypes.schema(stream))
    table.load(written)
    assert table.read().equals(pa.Table.from_batches([written]))


def test_a_sliced_batch_is_taken_apart_rightly(postgres: PostgresWorld) -> None:
    migration = Migration(postgres)
    rows = [order(n) for n in range(10)]
    (mark,) = migration.begin()
    migration.target.load(ORDERS, [Batch(batch(rows).rows.slice(3, 4))], mark)
    assert migration.rows() == batch(rows[3:7]).rows.to_pylist()


# --- keys -------------------------------------------------------------------------------------------------------------


def _texts() -> list[Any]:
    return ["", "A", "B", "a", "a\x01", "a ", "ab", "é", "z", "\ue000", "\U0001f600", "\U0010ffff", "q'uote\\"]


def _long_texts() -> list[Any]:
    """Values that no index entry could hold, and such as differ only far behind what one holds of them."""
    noise = random.Random(3).randbytes(1500).hex()
    return [*_texts(), noise, noise + "a", noise + "b", "é" * 25_000, "é" * 25_001, "\\" * 3000, "é" * 300 + "x"]


KEY_VALUES: dict[str, tuple[Column, Callable[[], list[Any]]]] = {
    "int32": (_column("_id", L.INT32), lambda: EXTREMES[L.INT32]),
    "int64": (_column("_id", L.INT64), lambda: [*EXTREMES[L.INT64], 2**53 + 1, 5, -77]),
    "decimal": (
        _column("_id", L.DECIMAL, precision=20, scale=4),
        lambda: [Decimal("-1.5"), Decimal("0"), Decimal("1.0001"), Decimal("1.0002"), Decimal("9999999999999999.9999")],
    ),
    "text": (_column("_id", L.TEXT), _texts),
    "uuid": (_column("_id", L.UUID), lambda: EXTREMES[L.UUID]),
    "bytes": (_column("_id", L.BYTES), lambda: [b"", b"\0", b"\xff", b"ab", b"\0\0\0", b"zz", b"zzz"]),
    "objectid": (_column("_id", L.OBJECTID), lambda: EXTREMES[L.OBJECTID]),
    "timestamp": (
        _column("_id", L.TIMESTAMP),
        lambda: [FIRST_MICROSECOND, -62_167_219_200_000_000, -1000, 0, 1000, LAST_MICROSECOND // 1000 * 1000],
    ),
    "long text": (_column("_id", L.TEXT, long=True), _long_texts),
    "long bytes": (
        _column("_id", L.BYTES, long=True),
        lambda: list(dict.fromkeys(found for text in _long_texts() for found in (text.encode(), text.encode()[::-1]))),
    ),
    "date": (_column("_id", L.DATE), lambda: [FIRST_DAY, -1, 0, 1, 2_932_897]),
}

OUTSIDE = [b"\x0a", b"\x14", b"\xf0"]
"""Keys below and above every type: MinKey, null, MaxKey."""


def _keyed(stream: Stream, values: list[tuple[Any, ...]]) -> pa.RecordBatch:
    form = KeyForm(stream.key)
    ordered = sorted(values, key=form.encode)
    columns = [pa.array([form.encode(value) for value in ordered], pa.binary())]
    columns += [
        _array(arrowtypes.arrow_type(column), [value[n] for value in ordered]) for n, column in enumerate(stream.key)
    ]
    columns.append(pa.nulls(len(ordered), pa.binary()))
    return pa.record_batch(columns, schema=arrowtypes.schema(stream))


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        (L.FLOAT64, float("nan"), float("nan")),
        (L.FLOAT64, 0.0, -0.0),
        (L.JSON, "1", "1.0"),
        (L.DECIMAL, Decimal("1.0"), Decimal("1")),
        (L.TIMESTAMP, LAST_MICROSECOND, LAST_MICROSECOND),
    ],
)
def test_values_that_postgresql_takes_for_one_conflict_within_a_batch(
    postgres: PostgresWorld, kind: LogicalType, one: Any, other: Any
) -> None:
    stream = Stream("twice", "twice", "twice", (_column("_id", L.INT32),), (_column("value", kind, unique=True),))
    table = Table(postgres, stream)
    rows = arrowtypes.schema(stream)
    table.load(pa.RecordBatch.from_pylist([], schema=rows))
    table.schema.create_constraints(table.scope, [stream])
    keys = [KeyForm(stream.key).encode((number,)) for number in range(4)]
    table.progress.keep(table.scope, Changes(tuple((stream.name, each) for each in keys), Position(b"later")))
    (mark, dirty) = next(taken for lane in range(LANES) if (taken := table.progress.take(table.scope, lane, 9))[1])
    columns = [
        pa.array(keys),
        pa.array(range(4), pa.int32()),
        _array(rows.field("value").type, [None, one, other, None]),
        pa.nulls(4, pa.binary()),
    ]
    with pytest.raises(UniqueConflictError) as caught:
        table.target.replace(stream, dirty, Batch(pa.record_batch(columns, schema=rows)), [mark])
    assert (caught.value.claimants, caught.value.owners) == (tuple(keys[1:3]), ())


@pytest.mark.parametrize("kind", KEY_VALUES)
def test_keys_are_ordered_ranged_and_deleted_as_the_source_does(postgres: PostgresWorld, kind: str) -> None:
    column, values = KEY_VALUES[kind]
    stream = Stream("keyed", "keyed", "keyed", (column,), ())
    _check_keys(Table(postgres, stream), _keyed(stream, [(value,) for value in values()]))


@pytest.mark.parametrize("kind", ["timestamp", "long text", "bytes"])
def test_the_style_of_the_role_changes_no_key(postgres: PostgresWorld, kind: str) -> None:
    postgres.configure(intervalstyle="sql_standard", datestyle="SQL", timezone="Europe/Lisbon", bytea_output="escape")
    column, values = KEY_VALUES[kind]
    stream = Stream("keyed", "keyed", "keyed", (column,), ())
    _check_keys(Table(postgres, stream), _keyed(stream, [(value,) for value in values()]))


def test_composite_keys_are_ordered_ranged_and_deleted(postgres: PostgresWorld) -> None:
    key_columns = (
        _column("tenant", L.TEXT, path=("_id", "tenant")),
        _column("day", L.DATE, path=("_id", "day")),
        _column("blob", L.BYTES, path=("_id", "blob")),
    )
    stream = Stream("keyed", "keyed", "keyed", key_columns, ())
    values = [(t, d, b) for t in ("", "a", "b'") for d in (FIRST_DAY, 0, 9) for b in (b"zz", b"z", b"")]
    _check_keys(Table(postgres, stream), _keyed(stream, values))


@pytest.mark.parametrize("long", [False, True])
def test_children_of_composite_keys_come_back(postgres: PostgresWorld, long: bool) -> None:
    tenant = _column("tenant", L.TEXT, path=("_id", "tenant"), long=long)
    key_columns = (tenant, _column("no", L.INT64, path=("_id", "no")))
    child = Child("lines", ("lines",), (_column("value", L.INT32),))
    stream = Stream("keyed", "keyed", "keyed", key_columns, (), (child,))
    rows: list[Row] = [
        {"tenant": tenant, "no": no, "lines": [{"value": line, RESIDUE: None} for line in range(no % 3)], RESIDUE: None}
        for tenant in ("a", "b", "c" * (30_000 if long else 1))
        for no in (-5, 1, 2, 2**40)
    ]
    form = KeyForm(stream.key)
    keyed = [{KEY: form.encode((row["tenant"], row["no"])), **row} for row in rows]
    written = pa.RecordBatch.from_pylist(sorted(keyed, key=lambda row: row[KEY]), schema=arrowtypes.schema(stream))
    table = Table(postgres, stream)
    table.load(written)
    assert table.read().equals(pa.Table.from_batches([written]))
    some = table.target.read_keys(stream, written.column(KEY).to_pylist()[2:5]).rows
    assert some.equals(written.slice(2, 3))
    assert table.schema.table_differences([stream]) == []
    gone = [DirtyKey("keyed", found, 1) for found in written.column(KEY).to_pylist()]
    table.target.replace(stream, gone, Batch(written.slice(0, 0)), table.progress.lane_marks(table.scope)[:1])
    assert postgres.sql("SELECT count(*) FROM {shop}.lines") == [(0,)]


@pytest.mark.parametrize("long", [False, True])
def test_canonical_keys_are_ordered_ranged_and_deleted(postgres: PostgresWorld, long: bool) -> None:
    stream = Stream("mixed", "mixed", "mixed", (_column("_id", L.BYTES, bson="any", long=long),), ())
    keys = [KeyForm((column,)).encode((value,)) for column, values in _key_values(long) for value in values()]
    _check_keys(Table(postgres, stream), _keyed(stream, [(found,) for found in dict.fromkeys(keys)]))


def _key_values(long: bool) -> list[tuple[Column, Callable[[], list[Any]]]]:
    return [(column, values) for column, values in KEY_VALUES.values() if long or not column.long]


def test_a_binary_key_is_read_by_an_index(postgres: PostgresWorld) -> None:
    """Binaries sort by their length first, which the primary key's index does not."""
    stream = Stream("keyed", "keyed", "keyed", (_column("_id", L.BYTES),), ())
    table = Table(postgres, stream)
    table.load(_keyed(stream, [(b"%05d" % n,) for n in range(5000)]))
    postgres.sql("ANALYZE {shop}.keyed")
    space = KeySpace(stream, layout(stream, postgres.endpoint.schema))
    bounds = [KeyForm(stream.key).encode((b"%05d" % n,)) for n in (100, 200)]
    statement = f"SELECT * FROM {space.root.name} WHERE {space.within(space.root, Span(*bounds))}"
    plan = postgres.sql(f"EXPLAIN {statement} ORDER BY {space.order(space.root)} LIMIT 50")
    assert any("Index Scan using keyed__order" in line for (line,) in plan), plan


def test_a_long_key_is_read_by_an_index_and_its_digest_is_the_primary_key(postgres: PostgresWorld) -> None:
    stream = Stream("keyed", "keyed", "keyed", (_column("_id", L.TEXT, long=True),), ())
    table = Table(postgres, stream)
    table.load(_keyed(stream, [(f"{n:05}" + "x" * 300,) for n in range(5000)]))
    postgres.sql("ANALYZE {shop}.keyed")
    space = KeySpace(stream, layout(stream, postgres.endpoint.schema))
    bounds = [KeyForm(stream.key).encode((f"{n:05}",)) for n in (100, 200)]
    statement = f"SELECT * FROM {space.root.name} WHERE {space.within(space.root, Span(*bounds))}"
    plan = postgres.sql(f"EXPLAIN {statement} ORDER BY {space.order(space.root)} LIMIT 50")
    assert any("Index Scan using keyed__order" in line for (line,) in plan), plan
    assert postgres.sql(
        "SELECT sha256(convert_to(_id, 'UTF8')) = _id_sha256, count(*) FROM {shop}.keyed GROUP BY 1"
    ) == [(True, 5000)]
    postgres.sql("DROP INDEX {shop}.keyed__order")
    (problem,) = table.schema.table_differences([stream])
    assert "keyed__order" in problem


@pytest.mark.parametrize("kind", [L.TIMESTAMP, L.DATE])
def test_keys_that_no_row_can_have_are_nobodys(postgres: PostgresWorld, kind: LogicalType) -> None:
    stream = Stream("dates", "dates", "dates", (_column("_id", kind, path=("_id",)),), ())
    table = Table(postgres, stream)
    table.load(_keyed(stream, [(0,)]))
    beyond = [keycodec.encode(0x09, struct.pack("<q", days * 86_400_000)) for days in (-(10**11), 10**11)]
    assert table.target.read_keys(stream, [*beyond, *table.keys()]).keys == table.keys()
    gone = [DirtyKey(stream.name, found, 1) for found in beyond]
    nothing = Batch(_keyed(stream, []))
    table.target.replace(stream, gone, nothing, table.progress.lane_marks(table.scope)[:1])
    assert len(table.keys()) == 1


def _check_keys(table: Table, rows: pa.RecordBatch) -> None:
    table.load(rows)
    keys: list[bytes] = rows.column(KEY).to_pylist()
    assert keys == sorted(set(keys))
    assert table.keys() == keys
    assert table.read().equals(pa.Table.from_batches([rows]))
    # Every bound that rows, their neighbours or other types give: the spans between them tile.
    bounds = sorted({*keys, *(found + b"\0" for found in keys if len(found) > 3), *OUTSIDE})
    bounds = [bound for bound in bounds if _is_bound(table.stream, bound)]
    spans = [Span(lower, upper) for lower, upper in zip([None, *bounds], [*bounds, None], strict=True)]
    for span in spans:
        expected = [
            found
            for found in keys
            if (span.lower is None or span.lower <= found) and (span.upper is None or found < span.upper)
        ]
        assert table.keys(span) == expected, span
    assert table.target.read_keys(table.stream, [*keys, *OUTSIDE]).keys == keys
    some = keys[::2]
    mark = table.progress.lane_marks(table.scope)[0]
    table.target.replace(table.stream, [DirtyKey("keyed", found, 1) for found in some], Batch(rows.slice(0, 0)), [mark])
    assert table.keys() == keys[1::2]


def _is_bound(stream: Stream, bound: bytes) -> bool:
    """Whether the key codec reads it: not every string of bytes is a canonical key."""
    try:
        KeyForm(stream.key).range(Span(bound, None))
    except (ValueError, IndexError, KeyError):
        return False
    return True


# --- rows that somebody changed ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE {shop}.items SET _ordinal = 7 WHERE _ordinal = 0",
        "UPDATE {shop}.items SET _ordinal = -1 WHERE _ordinal = 0",
        "DELETE FROM {shop}.items WHERE _ordinal = 1",
        "DELETE FROM {shop}.parts WHERE _ordinal = 2 AND _ordinal_2 = 0",
        "INSERT INTO {shop}.items SELECT _root_id, 3 FROM {shop}.items WHERE _ordinal = 0",
        "UPDATE {shop}.orders SET weight = '-0' WHERE weight = 0",
        "UPDATE {shop}.orders SET status = NULL",
        "UPDATE {shop}.orders SET placed = 'infinity' WHERE number = 3",
    ],
)
def test_no_change_behind_tranships_back_reads_as_equal(postgres: PostgresWorld, change: str) -> None:
    migration = Migration(postgres)
    rows = batch([bare_order(1), order(3, weight=0.0)])
    (mark,) = migration.begin()
    migration.target.load(ORDERS, [rows], mark)
    (before,) = migration.target.read(ORDERS, WHOLE)
    assert before.rows.equals(rows.rows)
    migration.schema.create_constraints(migration.scope, [ORDERS])
    postgres.sql(change)
    (after,) = migration.target.read(ORDERS, WHOLE)
    changed = [name for name in rows.rows.schema.names if not _same_bits(after.rows, rows.rows, name)]
    assert len(set(changed) - {RESIDUE}) == 1


def _same_bits(left: pa.RecordBatch, right: pa.RecordBatch, name: str) -> bool:
    one, other = left.column(name), right.column(name)
    if pa.types.is_floating(one.type):
        one, other = one.view(pa.int64()), other.view(pa.int64())
    equal: bool = one.equals(other)
    return equal


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("total", "NaN"),
        ("placed", "infinity"),
        ("placed", "-infinity"),
        ("placed", "294247-01-10 04:00:54.775808+00"),
        ("placed", "294276-12-31 23:59:59.999999+00"),
    ],
)
def test_a_value_that_the_plans_type_lacks_is_foreign(postgres: PostgresWorld, column: str, value: str) -> None:
    migration = Migration(postgres)
    migration.load([order(1), order(2, **{column: None})])
    untouched, before = migration.rows()
    postgres.sql(f"UPDATE {{shop}}.orders SET {column} = '{value}' WHERE number = 2")
    assert migration.rows() == [untouched, {**before, RESIDUE: FOREIGN}]
    (by_key,) = migration.target.read_keys(ORDERS, [key(2)]).rows.to_pylist()
    assert by_key[RESIDUE] == FOREIGN


@pytest.mark.parametrize("value", ["infinity", "-infinity", "5874897-12-31"])
def test_a_date_that_no_document_has_is_foreign(postgres: PostgresWorld, value: str) -> None:
    stream = Stream("dates", "dates", "dates", (_column("_id", L.INT32),), (_column("day", L.DATE),))
    table = Table(postgres, stream)
    row = {KEY: KeyForm(stream.key).encode((1,)), "_id": 1, "day": None, RESIDUE: None}
    table.load(pa.RecordBatch.from_pylist([row], schema=arrowtypes.schema(stream)))
    postgres.sql(f"UPDATE {{shop}}.dates SET day = '{value}'")
    (residue,) = table.read().column(RESIDUE).to_pylist()
    assert (residue == FOREIGN) is ("infinity" in value)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (L.OBJECTID, "test"),
        (L.OBJECTID, "0123456789ABCDEF01234567"),
        (L.TIMESTAMP, "1970-01-01 00:00:00.000001+00"),
        (L.TIMESTAMP, "infinity"),
        (L.TIMESTAMP, "-infinity"),
        (L.DATE, "infinity"),
        (L.DATE, "-infinity"),
        (L.DECIMAL, "NaN"),
    ],
)
def test_a_key_that_no_document_has_is_an_error(postgres: PostgresWorld, kind: LogicalType, value: str) -> None:
    stream = Stream("keyed", "keyed", "keyed", (_column("_id", kind),), ())
    table = Table(postgres, stream)
    postgres.sql(f"INSERT INTO {{shop}}.keyed (_id) VALUES ('{value}')")
    with pytest.raises(ConnectorError, match=r"table keyed, key _id .*another program has written it"):
        table.read()


def test_a_key_that_is_not_canonical_is_an_error(postgres: PostgresWorld) -> None:
    stream = Stream("mixed", "mixed", "mixed", (_column("_id", L.BYTES, bson="any"),), ())
    table = Table(postgres, stream)
    postgres.sql("INSERT INTO {shop}.mixed (_id) VALUES ('\\x00ff')")
    with pytest.raises(ConnectorError, match=r"table mixed, key _id .bytea.*another program has written it"):
        table.read()


def test_ordinals_count_from_zero(postgres: PostgresWorld) -> None:
    Migration(postgres).load([order(3)])
    assert postgres.sql("SELECT _ordinal, _ordinal_2, part FROM {shop}.parts ORDER BY 1, 2") == [
        (1, 0, 0),
        (2, 0, 0),
        (2, 1, 1),
    ]


@pytest.mark.parametrize("microseconds", [0, -1, -1_000, 86_399_999_999, -(2**62), 2**63 - 1])
def test_a_timestamp_key_has_no_field_beyond_32_bits(microseconds: int) -> None:
    """PostgreSQL 14 reads the fields of an interval as such."""
    fields = [int(field) for field in re.findall(r"[+-]\d+", keyterms._interval_text(microseconds))]
    assert [abs(field) < 2**31 for field in fields] == [True, True, True]
    assert fields[0] * 86_400_000_000 + fields[1] * 1_000_000 + fields[2] == microseconds
