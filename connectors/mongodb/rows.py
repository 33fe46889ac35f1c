"""Rows as lists of plain values, and the same rows as Arrow columns.

Columns are built from flat lists and offsets, not from dictionaries: that is where the speed is. A row's places are the
fields of the canonical schema; the place of a child table holds the list of its rows, that of an array column the list
of its elements' values.
"""

from __future__ import annotations

from itertools import accumulate, chain, pairwise
from typing import Any

import pyarrow as pa

from tranship.connectors.mongodb.fields import Row


def to_batch(rows: list[Row], schema: pa.Schema) -> pa.RecordBatch:
    """The rows as a batch of this schema."""
    return pa.RecordBatch.from_arrays(_arrays(rows, list(schema)), schema=schema)


def _arrays(rows: list[Row], fields: list[pa.Field]) -> list[pa.Array]:
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(fields)
    return [_array(values, field.type) for values, field in zip(columns, fields, strict=True)]


def _array(values: tuple[Any, ...], kind: pa.DataType) -> pa.Array:
    if pa.types.is_list(kind):
        return _child_lists(values, kind) if pa.types.is_struct(kind.value_type) else _value_lists(values, kind)
    if pa.types.is_decimal(kind):
        return _decimals(values, kind)
    return pa.array(values, type=kind)


def _child_lists(values: tuple[list[Row], ...], kind: pa.ListType) -> pa.Array:
    offsets = pa.array([0, *accumulate(map(len, values))], type=pa.int32())
    struct = kind.value_type
    fields = [struct.field(place) for place in range(struct.num_fields)]
    inner = pa.StructArray.from_arrays(_arrays(list(chain.from_iterable(values)), fields), fields=fields)
    return pa.ListArray.from_arrays(offsets, inner, type=kind)


def _value_lists(values: tuple[list[Any] | None, ...], kind: pa.ListType) -> pa.Array:
    offsets = pa.array([0, *accumulate(len(value or ()) for value in values)], type=pa.int32())
    inner = _array(tuple(chain.from_iterable(value for value in values if value is not None)), kind.value_type)
    missing = pa.array([value is None for value in values], type=pa.bool_())
    return pa.ListArray.from_arrays(offsets, inner, type=kind, mask=missing)


def _decimals(values: tuple[int | None, ...], kind: pa.Decimal128Type) -> pa.Array:
    data = b"".join([(value or 0).to_bytes(16, "little", signed=True) for value in values])
    valid = pa.array([value is not None for value in values], type=pa.bool_())
    return pa.Array.from_buffers(kind, len(values), [valid.buffers()[1], pa.py_buffer(data)])


def from_batch(batch: pa.RecordBatch) -> list[Row]:
    """The rows of a batch."""
    return _rows(batch.columns, batch.num_rows)


def _rows(arrays: list[pa.Array], count: int) -> list[Row]:
    columns = [_values(array) for array in arrays]
    return [list(values) for values in zip(*columns, strict=True)] if columns else [[] for _ in range(count)]


def _values(array: pa.Array) -> list[Any]:
    kind = array.type
    if pa.types.is_list(kind):
        return _child_rows(array) if pa.types.is_struct(kind.value_type) else _value_rows(array)
    if pa.types.is_decimal(kind):
        return _scaled(array)
    if pa.types.is_timestamp(kind):
        array = array.cast(pa.int64())
    elif pa.types.is_date(kind):
        array = array.cast(pa.int32())
    values: list[Any] = array.to_pylist()
    return values


def _child_rows(array: pa.ListArray) -> list[list[Row]]:
    inner = array.flatten()
    rows = _rows(inner.flatten(), len(inner))
    bounds = accumulate(array.value_lengths().to_pylist(), initial=0)
    return [rows[start:end] for start, end in pairwise(bounds)]


def _value_rows(array: pa.ListArray) -> list[list[Any] | None]:
    inner = _values(array.flatten())
    lengths: list[int | None] = array.value_lengths().to_pylist()
    ends = accumulate(length or 0 for length in lengths)
    return [None if size is None else inner[end - size : end] for size, end in zip(lengths, ends, strict=True)]


def _scaled(array: pa.Array) -> list[int | None]:
    data = memoryview(array.buffers()[1])[array.offset * 16 :]
    valid = array.is_valid().to_pylist()
    return [
        int.from_bytes(data[16 * place : 16 * place + 16], "little", signed=True) if valid[place] else None
        for place in range(len(array))
    ]
