"""Equality of rows: one comparison, used by reconcile, recheck, repair, reseed and the cutover's final pass.

Rows are compared in the canonical batch form, bit by bit: two NaNs are equal when their payloads are, and -0.0 is not
0.0.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from tranship.connectors.batch import KEY, Batch, schema
from tranship.connectors.protocols import Mismatch
from tranship.plans.streams import Stream


@dataclass(frozen=True)
class Comparison:
    """Result for a set of keys. `rows` counts rows on the source side, `quarantined` documents that are kept aside."""

    rows: int
    quarantined: int
    mismatches: tuple[Mismatch, ...]


def gather(stream: Stream, batches: Iterable[Batch]) -> tuple[pa.Table, int]:
    """All rows of some batches as one table, and how many documents were quarantined."""
    tables, quarantined = [], 0
    for batch in batches:
        tables.append(batch.rows)
        quarantined += len(batch.quarantined)
    return pa.Table.from_batches(tables, schema=schema(stream)), quarantined


def compare(stream: Stream, source: Iterable[Batch], target: Iterable[Batch]) -> Comparison:
    """Compare what both sides hold for one span or one set of keys."""
    expected, quarantined = gather(stream, source)
    actual, _ = gather(stream, target)
    mismatches: list[Mismatch] = []
    if not expected.column(KEY).equals(actual.column(KEY)):
        expected_at = _positions(expected)
        actual_at = _positions(actual)
        mismatches += [Mismatch(stream.name, k, "missing") for k in expected_at if k not in actual_at]
        mismatches += [Mismatch(stream.name, k, "extra") for k in actual_at if k not in expected_at]
        common = [k for k in expected_at if k in actual_at]
        rows = expected.num_rows
        # With the type said: without any key in common the list is empty and would have none.
        expected = expected.take(pa.array([expected_at[k] for k in common], pa.int64()))
        actual = actual.take(pa.array([actual_at[k] for k in common], pa.int64()))
    else:
        rows = expected.num_rows
    mismatches += _different(stream, expected, actual)
    return Comparison(rows, quarantined, tuple(mismatches))


def _positions(table: pa.Table) -> dict[bytes, int]:
    return {key: row for row, key in enumerate(table.column(KEY).to_pylist())}


def _different(stream: Stream, expected: pa.Table, actual: pa.Table) -> list[Mismatch]:
    """Rows of two tables with equal keys in equal order that differ in some column."""
    found: dict[int, list[str]] = {}
    for name in expected.column_names:
        for row in _unequal_rows(_bits(expected.column(name)), _bits(actual.column(name))):
            found.setdefault(row, []).append(name)
    keys = expected.column(KEY)
    return [Mismatch(stream.name, keys[row].as_py(), "different", tuple(names)) for row, names in sorted(found.items())]


def _unequal_rows(left: pa.Array, right: pa.Array, start: int = 0) -> list[int]:
    """Positions at which two arrays of one length differ, by halving: cheap when few or none do."""
    if left.equals(right):
        return []
    if len(left) == 1:
        return [start]
    half = len(left) // 2
    first = _unequal_rows(left.slice(0, half), right.slice(0, half), start)
    return first + _unequal_rows(left.slice(half), right.slice(half), start + half)


def _bits(values: pa.ChunkedArray) -> pa.Array:
    """The column as one array whose `equals` compares bits."""
    return _bitwise(values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values)


def _bitwise(array: pa.Array) -> pa.Array:
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    if pa.types.is_float64(array.type):
        return array.view(pa.int64())
    if pa.types.is_list(array.type):
        counts = pc.fill_null(pc.list_value_length(array), 0)
        offsets = pa.array([0, *_running(counts.to_pylist())], pa.int32())
        return pa.ListArray.from_arrays(offsets, _bitwise(pc.list_flatten(array)), mask=array.is_null())
    if pa.types.is_struct(array.type):
        fields = [_bitwise(part) for part in array.flatten()]
        names = [array.type.field(i).name for i in range(array.type.num_fields)]
        return pa.StructArray.from_arrays(fields, names=names, mask=array.is_null())
    return array


def _running(counts: Iterable[int]) -> list[int]:
    total, sums = 0, []
    for count in counts:
        total += count
        sums.append(total)
    return sums


def row_digests(stream: Stream, batch: Batch) -> dict[bytes, bytes]:
    """A digest of each row by key, to see whether a row is still the same some time later."""
    rows = pa.Table.from_batches([batch.rows], schema=schema(stream))
    return {key: _row_digest(rows, row) for row, key in enumerate(rows.column(KEY).to_pylist())}


def _row_digest(rows: pa.Table, row: int) -> bytes:
    # take() copies the one row into fresh buffers, so that equal rows serialise to equal bytes.
    single = rows.take([row]).combine_chunks().to_batches()[0]
    return hashlib.sha256(single.serialize()).digest()
