"""The Arrow types of a stream's batches (`connectors.batch`). Apart from them: looking at a run needs no pyarrow."""

from __future__ import annotations

import pyarrow as pa

from tranship.connectors.batch import KEY, RESIDUE
from tranship.connectors.keys import TypedValue
from tranship.plans.streams import Child, Column, LogicalType, Stream

_PLAIN: dict[LogicalType, pa.DataType] = {
    LogicalType.BOOL: pa.bool_(),
    LogicalType.INT32: pa.int32(),
    LogicalType.INT64: pa.int64(),
    LogicalType.FLOAT64: pa.float64(),
    LogicalType.TEXT: pa.string(),
    LogicalType.BYTES: pa.binary(),
    LogicalType.UUID: pa.binary(16),
    LogicalType.OBJECTID: pa.string(),  # 24 lower-case hex digits
    LogicalType.TIMESTAMP: pa.timestamp("us", tz="UTC"),
    LogicalType.DATE: pa.date32(),
    LogicalType.JSON: pa.string(),  # canonical text: exactly what PostgreSQL prints for the jsonb value
}


def arrow_type(column: Column) -> pa.DataType:
    """The one Arrow type of a column's logical type."""
    if column.type is LogicalType.ARRAY:
        return pa.list_(arrow_type(column.element))
    if column.type is LogicalType.DECIMAL:
        assert column.precision is not None  # plans.models fills both
        assert column.scale is not None
        return pa.decimal128(column.precision, column.scale)
    return _PLAIN[column.type]


def child_type(child: Child) -> pa.ListType:
    """`list<struct<columns…, children…, _residue>>` of a child table."""
    fields = [pa.field(c.name, arrow_type(c)) for c in child.columns]
    fields += [pa.field(c.table, child_type(c), nullable=False) for c in child.children]
    fields.append(pa.field(RESIDUE, pa.binary()))
    return pa.list_(pa.struct(fields))


def schema(stream: Stream) -> pa.Schema:
    """The canonical schema of a stream's batches."""
    fields = [pa.field(KEY, pa.binary(), nullable=False)]
    fields += [pa.field(c.name, arrow_type(c), nullable=False) for c in stream.key]
    fields += [pa.field(c.name, arrow_type(c)) for c in stream.columns]
    if stream.rest_column is not None:
        fields.append(pa.field(stream.rest_column, pa.string()))
    fields += [pa.field(c.table, child_type(c), nullable=False) for c in stream.children]
    fields.append(pa.field(RESIDUE, pa.binary()))
    return pa.schema(fields)


def plain_values(column: pa.Array) -> list[TypedValue]:
    """Python values of a key column, as `connectors.keys` takes them. Times as integers: Python's end at the years 1
    and 9999."""
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    elif pa.types.is_date32(column.type):
        column = column.cast(pa.int32())
    values: list[TypedValue] = column.to_pylist()
    return values
