"""PostgreSQL: arrays of every type at its extremes, and arrays that only PostgreSQL has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest

from tests.conformance.postgresql_world import PostgresWorld
from tests.conformance.test_postgresql_values import EXTREMES, Table
from tranship.connectors import arrowtypes
from tranship.connectors.batch import KEY, RESIDUE
from tranship.connectors.keys import KeyForm
from tranship.connectors.postgresql.selection import FOREIGN
from tranship.plans.pairs import PAIRS
from tranship.plans.streams import Child, Column, LogicalType, Stream

L = LogicalType

ITEMS = [kind for kind in EXTREMES if kind is not L.JSON]
ID = Column("_id", ("_id",), L.INT32, "int32")


def array_column(items: LogicalType) -> Column:
    size = {"precision": 38, "scale": 10} if items is L.DECIMAL else {}
    return Column(f"a {items.value}", (items.value,), L.ARRAY, PAIRS[items][0], items=items, **size)


def arrays(column: Column, lists: Sequence[list[Any] | None]) -> pa.ListArray:
    """Times are given as integers: Python's own types end at the years 1 and 9999."""
    kind = arrowtypes.arrow_type(column)
    plain = {L.TIMESTAMP: pa.int64(), L.DATE: pa.int32()}.get(column.element.type)
    return pa.array(lists, kind) if plain is None else pa.array(lists, pa.list_(plain)).cast(kind)


def lists_of(values: list[Any]) -> list[list[Any] | None]:
    """All that may go wrong with a column of arrays."""
    return [values, [], None, [None], [*values, None, values[0]], [[None] * 3, values][len(values) % 2], values[:1]]


def rows_of(stream: Stream, columns: Sequence[pa.Array]) -> pa.RecordBatch:
    count = len(columns[0])
    keys = [KeyForm(stream.key).encode((n,)) for n in range(count)]
    arrays = [pa.array(keys, pa.binary()), pa.array(range(count), pa.int32()), *columns, pa.nulls(count, pa.binary())]
    return pa.record_batch(arrays, schema=arrowtypes.schema(stream))


def bits(column: pa.Array) -> list[Any]:
    """The lists of a column as Python values that show every bit."""
    inner = column.flatten()
    plain = {pa.float64(): pa.int64(), pa.date32(): pa.int32(), pa.timestamp("us", tz="UTC"): pa.int64()}
    values = iter((inner.view(plain[inner.type]) if inner.type in plain else inner).to_pylist())
    sizes = column.value_lengths().to_pylist()
    return [None if size is None else [next(values) for _ in range(size)] for size in sizes]


def test_arrays_of_every_type_keep_their_extremes(postgres: PostgresWorld) -> None:
    columns = tuple(array_column(items) for items in ITEMS)
    child = Child("elements", ("elements",), columns)
    stream = Stream("all", "all", "all types", (ID,), columns, (child,))
    fields = {column.name: arrays(column, lists_of(EXTREMES[column.element.type])) for column in columns}
    count = len(fields[columns[0].name])
    element = pa.StructArray.from_arrays([*fields.values(), pa.nulls(count, pa.binary())], names=[*fields, RESIDUE])
    kind = arrowtypes.child_type(child)
    # The second row has all elements, the others none: each list once in a root and once in a child row.
    offsets = pa.array([0, 0, *[count] * (count - 1)], pa.int32())
    elements = pa.ListArray.from_arrays(offsets, element.cast(kind.value_type)).cast(kind)
    rows = rows_of(stream, [*fields.values(), elements])
    table = Table(postgres, stream)
    table.load(rows)
    assert table.schema.table_differences([stream]) == []
    by_keys = table.target.read_keys(stream, rows.column(0).to_pylist()).rows
    for read in (table.read().to_batches()[0], by_keys):
        assert read.column(KEY).equals(rows.column(KEY))
        for name, written in fields.items():
            assert bits(read.column(name)) == bits(written), name
            (place,) = (n for n, field in enumerate(kind.value_type) if field.name == name)
            below = read.column("elements").flatten().flatten()[place]
            assert bits(below) == bits(written), name


def test_a_slice_of_a_batch_is_loaded_rightly(postgres: PostgresWorld) -> None:
    columns = tuple(array_column(items) for items in ITEMS)
    stream = Stream("all", "all", "all", (ID,), columns)
    rows = rows_of(stream, [arrays(column, lists_of(EXTREMES[column.element.type])) for column in columns]).slice(1, 4)
    table = Table(postgres, stream)
    table.load(rows)
    for column in columns:
        assert bits(table.read().column(column.name).combine_chunks()) == bits(rows.column(column.name)), column.name


@pytest.fixture
def numbers(postgres: PostgresWorld) -> Table:
    """Two rows with plain arrays, in the root and in a child table."""
    column = Column("c", ("c",), L.ARRAY, "int32", items=L.INT32)
    stream = Stream("numbers", "numbers", "numbers", (ID,), (column,), (Child("lines", ("lines",), (column,)),))
    lines = pa.array([[{"c": [1, 2], RESIDUE: None}], []], arrowtypes.child_type(stream.children[0]))
    table = Table(postgres, stream)
    table.load(rows_of(stream, [pa.array([[1, 2], None], pa.list_(pa.int32())), lines]))
    return table


@pytest.mark.parametrize("table", ["numbers", "lines"])
@pytest.mark.parametrize("value", ["{{1,2}}", "{{1},{2}}", "[0:1]={1,2}", "[2:3]={1,2}", "[-1:-1][1:2]={{1,2}}"])
def test_an_array_that_only_postgresql_has_is_foreign(numbers: Table, table: str, value: str) -> None:
    numbers.postgres.sql(f"UPDATE {{shop}}.{table} SET c = '{value}' WHERE c = '{{1,2}}'")
    by_key = numbers.target.read_keys(numbers.stream, [KeyForm((ID,)).encode((0,))]).rows
    for read in (numbers.read().to_batches()[0], by_key):
        row = read.slice(0, 1).to_pylist()[0]
        odd = row if table == "numbers" else row["lines"][0]
        assert (odd["c"], odd[RESIDUE]) == (None, FOREIGN)
    assert numbers.read().column(RESIDUE).to_pylist()[1] is None


@pytest.mark.parametrize("value", ["'{1,NULL}'", "'{1}'", "'{}'", "NULL", "'{2,1}'"])
def test_a_changed_array_reads_as_changed(numbers: Table, value: str) -> None:
    before = numbers.read()
    numbers.postgres.sql(f"UPDATE {{shop}}.numbers SET c = {value} WHERE c = '{{1,2}}'")
    after = numbers.read()
    assert [name for name in before.column_names if not after.column(name).equals(before.column(name))] == ["c"]


@pytest.mark.parametrize(
    ("items", "value"), [(L.DECIMAL, "{1,NaN}"), (L.TIMESTAMP, "{NULL,infinity}"), (L.DATE, "{-infinity,2020-01-01}")]
)
def test_an_array_with_a_foreign_element_is_foreign(postgres: PostgresWorld, items: LogicalType, value: str) -> None:
    column = array_column(items)
    stream = Stream("odd", "odd", "odd", (ID,), (column,))
    table = Table(postgres, stream)
    table.load(rows_of(stream, [arrays(column, [[None]])]))
    postgres.sql(f"UPDATE {{shop}}.odd SET \"{column.name}\" = '{value}'")
    (row,) = table.read().to_pylist()
    assert (row[column.name], row[RESIDUE]) == (None, FOREIGN)


def test_a_column_of_another_element_type_differs_from_the_plan(numbers: Table) -> None:
    numbers.postgres.sql("ALTER TABLE {shop}.numbers ALTER COLUMN c TYPE bigint[]")
    (problem,) = numbers.schema.table_differences([numbers.stream])
    assert problem.endswith("column c is bigint[], the plan wants integer[]")
