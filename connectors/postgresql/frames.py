"""Batches and table rows: a batch is taken apart into one frame per table, and put together again.

Everything is done on whole columns. Positions in arrays become ordinals; on the way back rows find their parent by
integer codes, level by level. A gap in the ordinals of stored rows (somebody deleted or renumbered some) shows up as a
null element in the rebuilt array, so that such rows never look equal to the source's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tranship.connectors.arrowtypes import arrow_type
from tranship.connectors.errors import ConnectorError
from tranship.connectors.postgresql.keyspace import no_document
from tranship.connectors.postgresql.layout import Field, Layout
from tranship.plans.streams import LogicalType

_UUIDS = pa.list_(pa.binary(16))

Integers = npt.NDArray[np.int64]


# --- apart ------------------------------------------------------------------------------------------------------------


def frames(root: Layout, rows: pa.RecordBatch) -> Iterator[tuple[Layout, pa.RecordBatch]]:
    """The rows of every table of the stream, in the driver's types; parents before children, empty ones left out."""
    if rows.num_rows == 0:
        return
    columns = {name: rows.column(i) for i, name in enumerate(rows.schema.names)}
    key = [columns[field.name] for field in root.key]
    yield from _apart(root, columns, key, [])


def _apart(
    layout: Layout, columns: dict[str, pa.Array], key: list[pa.Array], ordinals: list[pa.Array]
) -> Iterator[tuple[Layout, pa.RecordBatch]]:
    arrays = [*key, *ordinals, *(columns[field.name] for field in layout.columns)]
    wire = [_to_driver(array, field) for array, field in zip(arrays, layout.fields, strict=True)]
    yield layout, pa.record_batch(wire, [field.name for field in layout.fields])
    for child in layout.children:
        lists = columns[child.table]
        lengths = _integers(pc.list_value_length(lists))
        elements = pc.list_flatten(lists)
        if len(elements) == 0:
            continue
        parents = np.repeat(np.arange(len(lists)), lengths)
        starts = np.cumsum(lengths) - lengths
        positions = (np.arange(len(elements)) - starts[parents]).astype(np.int32)
        below = {elements.type.field(i).name: array for i, array in enumerate(elements.flatten())}
        inherited = [array.take(pa.array(parents)) for array in (*key, *ordinals)]
        split = len(key)
        yield from _apart(child, below, inherited[:split], [*inherited[split:], pa.array(positions)])


def _to_driver(array: pa.Array, field: Field) -> pa.Array:
    if field.type is LogicalType.JSON:
        return pa.ExtensionArray.from_storage(pa.json_(pa.string()), array)
    if field.type is LogicalType.UUID:
        return pa.ExtensionArray.from_storage(pa.uuid(), array)
    if array.type == _UUIDS:
        return array.cast(pa.list_(pa.uuid()))
    return array


# --- together ---------------------------------------------------------------------------------------------------------


class Rows:
    """Rows of one table as read, in canonical types. `fields`: the columns that were read, by default all."""

    def __init__(self, layout: Layout, table: pa.Table, fields: Sequence[Field] = ()) -> None:
        self.layout = layout
        self.size: int = table.nbytes
        self.count: int = table.num_rows
        try:
            read = enumerate(fields or layout.fields)
            self._columns = {field.name: _from_driver(table.column(i), field) for i, field in read}
        except pa.ArrowInvalid:  # NaN in a key; those of other columns are not read (`selection`)
            raise no_document(layout.table, layout.key) from None

    def column(self, name: str) -> pa.Array:
        return self._columns[name]

    def key_columns(self) -> list[pa.Array]:
        return [self._columns[field.name] for field in self.layout.key]


def _from_driver(column: pa.ChunkedArray, field: Field) -> pa.Array:
    kind = arrow_type(field.column)
    if not column.num_chunks:  # combining nothing fails for arrays of UUIDs
        return pa.array([], kind)
    array = column.combine_chunks()
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    return array if array.type.equals(kind) else array.cast(kind)


def together(root: Rows, below: dict[str, Rows], canonical: Sequence[bytes], schema: pa.Schema) -> pa.RecordBatch:
    """The canonical batch of root rows and the rows of all tables below them (by table name)."""
    columns = [pa.array(canonical, pa.binary())]
    columns += [root.column(field.name) for field in (*root.layout.key, *root.layout.columns[:-1])]
    for child in root.layout.children:
        rows = below[child.table]
        origin = _matches(root.key_columns(), rows.key_columns(), child)
        columns.append(_lists(rows, below, origin, root.count, schema.field(child.table).type))
    columns.append(root.column(root.layout.columns[-1].name))
    return pa.record_batch(columns, schema=schema)


def _lists(rows: Rows, below: dict[str, Rows], parents: Integers, count: int, kind: pa.ListType) -> pa.ListArray:
    """The rows as one list per parent; `parents` has the number of each row's parent, `count` is how many there are."""
    layout = rows.layout
    codes = _codes(parents, rows.column(layout.ordinals[-1].name))
    order = np.argsort(codes, kind="stable")
    arrays = [rows.column(field.name) for field in layout.columns[:-1]]
    for child in layout.children:
        nested = below[child.table]
        origin = _nested_origin(rows, nested, child)
        arrays.append(_lists(nested, below, origin, rows.count, kind.value_type.field(child.table).type))
    arrays.append(rows.column(layout.columns[-1].name))
    elements = pa.StructArray.from_arrays(arrays, fields=list(kind.value_type))
    places, lengths = _places(parents[order], _integers(rows.column(layout.ordinals[-1].name))[order], order, count)
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), elements.take(places), type=kind)


def _nested_origin(rows: Rows, nested: Rows, child: Layout) -> Integers:
    """For each nested row, the number of its parent row among `rows`."""
    root_columns = [*rows.key_columns(), *(rows.column(field.name) for field in rows.layout.ordinals)]
    nested_columns = [*nested.key_columns(), *(nested.column(field.name) for field in rows.layout.ordinals)]
    return _matches(root_columns, nested_columns, child)


def _places(parents: Integers, ordinals: Integers, order: Integers, count: int) -> tuple[pa.Array, Integers]:
    """Which row goes where in the flattened lists (null for a gap in the ordinals), and the length of each list."""
    lengths = np.bincount(parents, minlength=count).astype(np.int64)
    expected = np.zeros(len(parents), np.int64)
    same = parents[1:] == parents[:-1]
    expected[1:][same] = ordinals[:-1][same] + 1
    gaps = ordinals != expected
    if not gaps.any():
        return pa.array(order), lengths
    lengths += np.bincount(parents[gaps], minlength=count).astype(np.int64)
    at = np.arange(len(order)) + np.cumsum(gaps)
    places = np.full(len(order) + int(gaps.sum()), -1, np.int64)
    places[at] = order
    return pa.array(places, mask=places < 0), lengths


def _codes(parents: Integers, ordinals: pa.Array) -> Integers:
    """Sorts by parent, then by ordinal (which may be negative when somebody changed it)."""
    return (parents << 32) + (_integers(ordinals) + 2**31)


def _matches(whole: list[pa.Array], part: list[pa.Array], child: Layout) -> Integers:
    """For each row of `part`, the number of the row of `whole` with the same values."""
    whole_codes, part_codes = _numbered(whole[0], part[0])
    for left, right in zip(whole[1:], part[1:], strict=True):
        left_codes, right_codes = _numbered(left, right)
        scale = np.int64(len(left) + 1)
        # Numbered anew after each column, so that the codes stay small however many columns the key has.
        whole_codes, part_codes = _numbered(
            pa.array(whole_codes * scale + left_codes), pa.array(part_codes * scale + right_codes)
        )
    found = pc.index_in(pa.array(part_codes), value_set=pa.array(whole_codes))
    if found.null_count:
        raise ConnectorError(f"table {child.table}: rows without a parent row; its foreign key was removed")
    return _integers(found)


def _numbered(whole: pa.Array, part: pa.Array) -> tuple[Integers, Integers]:
    """Both columns with the values of `whole` numbered; what `whole` does not have gets the number after the last."""
    values = pc.unique(whole)
    missing = len(values)
    numbers = [pc.fill_null(pc.index_in(column, value_set=values), missing) for column in (whole, part)]
    return _integers(numbers[0]), _integers(numbers[1])


def _integers(array: Any) -> Integers:
    numbers: Integers = array.cast(pa.int64()).to_numpy(zero_copy_only=False)
    return numbers
