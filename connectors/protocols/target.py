"""Targets of batches: rows and their mark in one transaction, and the same rows read back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from tranship.connectors.fit import NOTHING_NOTED, Notes
from tranship.connectors.protocols.forms import ChunkMark, DirtyKey, Key, LaneMark, Span
from tranship.plans.streams import Stream

if TYPE_CHECKING:
    import pyarrow as pa

    from tranship.connectors.batch import Batch


@dataclass(frozen=True)
class Loaded:
    """Result of `load`: rows of the root table and of all child tables, documents put into quarantine."""

    rows: int
    child_rows: int
    quarantined: int


@runtime_checkable
class BatchTarget(Protocol):
    """Writes batches; data and mark commit in one transaction. One object belongs to one process and thread."""

    def load(self, stream: Stream, batches: Iterable[Batch], mark: ChunkMark) -> Loaded:
        """Fill an empty span with the batches: all of the chunk, its quarantine entries, its counts of notes and filled
        columns, and its mark, or nothing."""

    def replace(
        self,
        stream: Stream,
        dirty: Sequence[DirtyKey],
        batch: Batch,
        marks: Sequence[LaneMark],
        before: Notes = NOTHING_NOTED,
    ) -> int:
        """Make the given keys equal to the batch, in place: rows and child rows that stay are updated, absent ones
        deleted, new ones inserted. What differs in a byte is written, also where the database calls it equal, and
        unique values may pass between the rows in any way.

        In the same transaction: quarantine entries of the keys are replaced by the batch's; each dirty entry is
        removed if its generation is still the given one (else it stays) and its key remembered as touched; the marks
        are swapped; the batch's notes are counted and those `before`, of the rows that were there, are taken off; the
        epoch is checked. A key whose rows somebody else's rows hold by a foreign key stays as it is,
        its entry parked (`Progress.parked`). Returns how many dirty entries were removed. Raises `UniqueConflictError`.
        """

    def refused(self, stream: Stream, batch: Batch) -> dict[Key, str]:
        """Which rows of a batch the target cannot hold, and why, without values: each tried by itself in the end.

        For a batch that was refused (`RowRefusedError`). Nothing is kept of the trials.
        """

    def read(self, stream: Stream, span: Span) -> Iterator[Batch]:
        """What the target holds of a span: rows, rebuilt from root and child tables, and quarantine entries.

        Rows come in key order, and before or with each row all entries up to its key. Memory is bounded by a batch.
        """

    def read_keys(self, stream: Stream, keys: Sequence[Key]) -> Batch:
        """What the target holds of the given keys: rows and quarantine entries."""

    def with_residue(self, stream: Stream, keys: Sequence[Key]) -> pa.RecordBatch:
        """The rows of the given keys that have residue, in themselves or in a child row: those that have notes."""

    def some_with_residue(self, stream: Stream, limit: int) -> pa.RecordBatch:
        """Up to so many of all the stream's rows that have residue, the first ones that are found."""

    def close(self) -> None: ...
