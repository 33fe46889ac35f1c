"""Rows of the canonical schema as plain dicts, and batches made of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

import pyarrow as pa

from tranship.connectors import arrowtypes
from tranship.connectors.batch import RESIDUE, Batch, Quarantined
from tranship.connectors.protocols import Key, Span
from tranship.plans.streams import Child, Stream

Row: TypeAlias = dict[str, Any]
"""One row by column name, `_key`, child lists and `_residue` among them. Never changed once it is kept."""


def make_batch(stream: Stream, rows: list[Row], quarantined: Iterable[Quarantined] = ()) -> Batch:
    """A batch of rows in key order."""
    record_batch = pa.RecordBatch.from_pylist(rows, schema=arrowtypes.schema(stream))
    return Batch(record_batch, tuple(quarantined), size=record_batch.nbytes)


def holds(span: Span, key: Key) -> bool:
    """Whether the key lies in the span."""
    return (span.lower is None or span.lower <= key) and (span.upper is None or key < span.upper)


def child_rows(children: Iterable[Child], parent: Row) -> int:
    """Rows of all child tables that belong to one row."""
    return sum(
        1 + child_rows(child.children, element) for child in children for element in parent.get(child.table) or ()
    )


def residues(row: Row) -> int:
    """How many residues a row and its child rows have."""
    below = [element for value in row.values() if isinstance(value, list | tuple) for element in value]
    inner = sum(residues(element) for element in below if isinstance(element, dict))
    return (row.get(RESIDUE) is not None) + inner


def has_residue(row: Row) -> bool:
    """Whether a row or a child row of it has residue."""
    return residues(row) > 0


def tables(stream: Stream) -> list[str]:
    """The root table and all child tables."""

    def below(children: Iterable[Child]) -> list[str]:
        return [name for child in children for name in (child.table, *below(child.children))]

    return [stream.table, *below(stream.children)]
