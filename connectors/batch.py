"""The one in-memory form of data: a `pyarrow.RecordBatch` in a stream's canonical schema.

Columns, in this order: `_key` (canonical key bytes, never null), the typed key columns, the typed columns (arrays as
`list<…>` of their elements' type), each child table as `list<struct<…>>` (never null: zero rows is an empty list), and
`_residue` (binary, nullable; opaque outside the source connector). A child's struct holds its columns, its own
children, and its `_residue`; ordinals are the positions in the list. Rows are unique by `_key`. Two batches of one
stream are comparable column by column.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from tranship.connectors.fit import Notes
from tranship.plans.streams import Child, Column, LogicalType, Stream

KEY = "_key"
RESIDUE = "_residue"

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


@dataclass(frozen=True)
class Quarantined:
    """A document kept aside: its canonical key, the path and reason, and its raw bytes in the source's own form."""

    key: bytes
    path: str
    reason: str
    document: bytes


@dataclass(frozen=True)
class Batch:
    """Rows in memory, with what could not become a row.

    `size` is the number of source bytes read for it; `notes` say why rows have residue, when a source made them.
    """

    rows: pa.RecordBatch
    quarantined: tuple[Quarantined, ...] = ()
    size: int = 0
    notes: Notes = field(default_factory=dict)

    @property
    def keys(self) -> list[bytes]:
        """Canonical keys of the rows, in batch order."""
        keys: list[bytes] = self.rows.column(KEY).to_pylist()
        return keys


def combined(batches: Sequence[Batch]) -> Batch:
    """One batch of several of the same stream, with the rows in their order; of at least one."""
    return Batch(
        pa.concat_batches([batch.rows for batch in batches]),
        tuple(entry for batch in batches for entry in batch.quarantined),
        sum(batch.size for batch in batches),
        {key: notes for batch in batches for key, notes in batch.notes.items()},
    )
