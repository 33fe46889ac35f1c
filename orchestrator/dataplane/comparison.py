"""Equality of both sides: one comparison, used by reconcile, recheck, repair, reseed and the cutover's final pass.

The law that it checks is *source = target + quarantined*: each document of the source is a row of the target or one of
its quarantine entries, and the target holds nothing else. Rows are compared in the canonical batch form, bit by bit:
two NaNs are equal when their payloads are, and -0.0 is not 0.0.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tranship.connectors.batch import KEY, Batch
from tranship.connectors.fit import Cell, filled
from tranship.connectors.protocols import Key, Mismatch, Tally
from tranship.orchestrator.dataplane.fitting import Documents, with_refused
from tranship.orchestrator.dataplane.merge import Part, Side, entry_digest, parts
from tranship.plans.streams import Stream

NOTHING = Tally()


@dataclass(frozen=True)
class Nameless:
    """Keys that stand for documents whose own cannot be read (`connectors.protocols.NAMELESS`), on each side.

    A source may give such a document with any span; on the target it lies behind all others. So these keys are compared
    once the whole stream has been read.
    """

    source: frozenset[Key] = frozenset()
    target: frozenset[Key] = frozenset()

    def __or__(self, other: Nameless) -> Nameless:
        return Nameless(self.source | other.source, self.target | other.target)


@dataclass(frozen=True)
class Comparison:
    """Result for a set of keys: a tally of those that agree, and each mismatch with the tally of its key. `filled`: the
    values that the target's columns have."""

    agreed: Tally = NOTHING
    apart: Mapping[Mismatch, Tally] = field(default_factory=dict)
    nameless: Nameless = Nameless()
    filled: Mapping[Cell, int] = field(default_factory=dict)

    @property
    def mismatches(self) -> tuple[Mismatch, ...]:
        """What differs, one mismatch per key."""
        return tuple(self.apart)

    @property
    def documents(self) -> int:
        """Documents of the source that were compared."""
        return sum(self.apart.values(), self.agreed).documents


def compare(
    stream: Stream, source: Iterable[Batch], target: Iterable[Batch], documents: Documents | None = None
) -> Comparison:
    """Compare what both sides hold for one span or one set of keys, each in key order: rows, and what is kept aside.

    `documents` gives the documents of the source's rows; without it no row counts as refused by the target.
    """
    expected, actual = Side(stream, source), Side(stream, target)
    agreed, apart = NOTHING, dict[Mismatch, Tally]()
    values = Counter[Cell]()
    for read, theirs in parts(expected, actual):
        ours = with_refused(read, theirs, documents) if documents else read
        differing = _apart(stream, ours, theirs)
        total = Tally(ours.rows.num_rows + len(ours.aside), theirs.rows.num_rows, len(theirs.aside))
        agreed += total - sum(differing.values(), NOTHING)
        apart |= differing
        values.update(filled(stream, theirs.rows))
    return Comparison(agreed, apart, Nameless(frozenset(expected.nameless), frozenset(actual.nameless)), values)


def compare_nameless(stream: Stream, nameless: Nameless) -> Comparison:
    """Compare the nameless documents of a whole stream."""
    both = len(nameless.source & nameless.target)
    apart = {
        Mismatch(stream.name, key, "quarantine"): Tally(key in nameless.source, 0, key in nameless.target)
        for key in sorted(nameless.source ^ nameless.target)
    }
    return Comparison(Tally(both, 0, both), apart)


def _apart(stream: Stream, expected: Part, actual: Part) -> dict[Mismatch, Tally]:
    apart = _rows_apart(stream, expected.rows, actual.rows)
    kept_apart = {key for key, _ in expected.aside.items() ^ actual.aside.items()}
    return _with_quarantine(stream, apart, kept_apart, expected, actual) if kept_apart else apart


def _rows_apart(stream: Stream, expected: pa.RecordBatch, actual: pa.RecordBatch) -> dict[Mismatch, Tally]:
    """Compare rows alone."""
    apart: dict[Mismatch, Tally] = {}
    if not expected.column(KEY).equals(actual.column(KEY)):
        expected_at = _positions(expected)
        actual_at = _positions(actual)
        apart |= {Mismatch(stream.name, k, "missing"): Tally(1, 0, 0) for k in expected_at if k not in actual_at}
        apart |= {Mismatch(stream.name, k, "extra"): Tally(0, 1, 0) for k in actual_at if k not in expected_at}
        common = [k for k in expected_at if k in actual_at]
        # With the type said: without any key in common the list is empty and would have none.
        expected = expected.take(pa.array([expected_at[k] for k in common], pa.int64()))
        actual = actual.take(pa.array([actual_at[k] for k in common], pa.int64()))
    return apart | dict.fromkeys(_different(stream, expected, actual), Tally(1, 1, 0))


def _with_quarantine(
    stream: Stream, apart: Mapping[Mismatch, Tally], keys: Set[Key], expected: Part, actual: Part
) -> dict[Mismatch, Tally]:
    """Mismatches of rows, with those of quarantine for the given keys in the place of any that these have."""
    expected_rows, actual_rows = _positions(expected.rows), _positions(actual.rows)
    rest = {mismatch: tally for mismatch, tally in apart.items() if mismatch.key not in keys}
    return rest | {
        Mismatch(stream.name, key, "quarantine"): Tally(
            (key in expected_rows) + (key in expected.aside), key in actual_rows, key in actual.aside
        )
        for key in sorted(keys)
    }


def _positions(rows: pa.RecordBatch) -> dict[bytes, int]:
    return {key: row for row, key in enumerate(rows.column(KEY).to_pylist())}


def _different(stream: Stream, expected: pa.RecordBatch, actual: pa.RecordBatch) -> list[Mismatch]:
    """Rows of two batches with equal keys in equal order that differ in some column."""
    found: dict[int, list[str]] = {}
    for name in expected.schema.names:
        for row in _unequal_rows(_bitwise(expected.column(name)), _bitwise(actual.column(name))):
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


def _bitwise(array: pa.Array) -> pa.Array:
    """The values in a form whose `equals` compares bits."""
    if pa.types.is_float64(array.type):
        return array.view(pa.int64())
    if pa.types.is_list(array.type):
        lengths = pc.fill_null(pc.list_value_length(array), 0)
        offsets = pa.array(np.concatenate(([0], np.cumsum(lengths))), pa.int32())
        return pa.ListArray.from_arrays(offsets, _bitwise(pc.list_flatten(array)), mask=array.is_null())
    if pa.types.is_struct(array.type):
        fields = [_bitwise(part) for part in array.flatten()]
        names = [array.type.field(i).name for i in range(array.type.num_fields)]
        return pa.StructArray.from_arrays(fields, names=names, mask=array.is_null())
    return array


def row_digests(batch: Batch) -> dict[bytes, bytes]:
    """A digest of what is held of each key, row or quarantine entry, to see whether it is the same some time later."""
    digests = {key: _row_digest(batch.rows, row) for row, key in enumerate(batch.keys)}
    for entry in batch.quarantined:
        # A key with both is as wrong as can be, and stands as still as any.
        digests[entry.key] = digests.get(entry.key, b"") + entry_digest(entry)
    return digests


def _row_digest(rows: pa.RecordBatch, row: int) -> bytes:
    # take() copies the one row into fresh buffers, so that equal rows serialise to equal bytes.
    return hashlib.sha256(rows.take(pa.array([row])).serialize()).digest()
