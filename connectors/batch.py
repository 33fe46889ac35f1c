"""The one in-memory form of data: a `pyarrow.RecordBatch` in a stream's canonical schema.

Columns, in this order: `_key` (canonical key bytes, never null), the typed key columns, the typed columns (arrays as
`list<…>` of their elements' type), each child table as `list<struct<…>>` (never null: zero rows is an empty list), and
`_residue` (binary, nullable; opaque outside the source connector). A child's struct holds its columns, its own
children, and its `_residue`; ordinals are the positions in the list. Rows are unique by `_key`. Two batches of one
stream are comparable column by column.

The schema itself is in `connectors.arrowtypes`: whoever handles no rows needs no pyarrow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tranship.connectors.fit import Notes

if TYPE_CHECKING:
    import pyarrow as pa

KEY = "_key"
RESIDUE = "_residue"


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
    import pyarrow as pa  # loaded: there are batches

    return Batch(
        pa.concat_batches([batch.rows for batch in batches]),
        tuple(entry for batch in batches for entry in batch.quarantined),
        sum(batch.size for batch in batches),
        {key: notes for batch in batches for key, notes in batch.notes.items()},
    )
