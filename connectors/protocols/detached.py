"""Targets that keep their own marks, and the ledger elsewhere that keeps everything else.

Where rows and what is kept about them cannot change in one transaction, because they are in different servers, the rows
go first, with the mark that guards them; then the ledger settles the keys, guarded by its own copy of the mark. Between
the two nothing is lost: what is not settled stays dirty or pending, and is applied again (`connectors.detached`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from tranship.connectors.counting import Counted
from tranship.connectors.fit import Notes
from tranship.connectors.protocols.forms import ChunkMark, DirtyKey, Key, LaneMark, Scope, Span
from tranship.connectors.protocols.progress import Progress
from tranship.connectors.protocols.routing import RecordStore
from tranship.connectors.protocols.target import Loaded
from tranship.plans.streams import Stream

if TYPE_CHECKING:
    import pyarrow as pa

    from tranship.connectors.batch import Batch, Quarantined


class MarkedTarget(Protocol):
    """Rows and their marks, which change together. It keeps no quarantine: what it reads are rows alone.

    Every writing call is one transaction that is refused under another epoch than the one of the newest `claim`
    (`EpochMovedError`). What reads and writes rows belongs to one process and thread; the calls about marks alone
    (`claim`, `begin`, `empty`, `seal`, `unseal`, `forget`) are safe from several threads, as those of `Progress` are.
    """

    def claim(self, scope: Scope, known: Sequence[LaneMark]) -> list[LaneMark]:
        """Take the marks over: nothing of an earlier epoch can commit from here on. Returns the lanes' marks, none of
        which is behind those that are known; lanes that are not there yet are made. Idempotent; writes only if needed.
        Raises `EpochMovedError` when a later epoch has claimed them."""

    def begin(self, mark: ChunkMark) -> None:
        """Let this attempt at a chunk be the one that may load it, and none before it. Raises `MarkMovedError` when it
        is not the newest one."""

    def load(self, stream: Stream, span: Span, batches: Iterable[Batch], mark: ChunkMark) -> Loaded:
        """Make the batches all that the span holds: rows of an attempt that was never settled are there maybe. Raises
        `MarkMovedError` when another attempt has begun, or this one was loaded already."""

    def replace(
        self, stream: Stream, keys: Sequence[Key], rows: pa.RecordBatch, marks: Sequence[LaneMark]
    ) -> Mapping[Key, str]:
        """Make the given keys equal to the rows, as `BatchTarget.replace` does, and swap the marks. Returns the keys
        whose rows somebody else's rows hold, with the name of their table: those stay as they are."""

    def empty(self, scope: Scope, streams: Sequence[Stream]) -> None:
        """Delete the rows of the streams. No load that has begun and no batch that was taken before can commit from
        here on. Idempotent."""

    @property
    def records(self) -> RecordStore:
        """The routing records of this side."""

    def seal(self, scope: Scope) -> None:
        """From here on no batch can commit, also none that was sent before. Idempotent."""

    def unseal(self, scope: Scope) -> None:
        """Let batches be applied again, with other marks. Idempotent."""

    def forget(self, scope: Scope) -> None:
        """Delete the marks of the feed: nothing of it can commit any more. Idempotent."""

    def refused(self, stream: Stream, batch: Batch) -> dict[Key, str]:
        """As `BatchTarget.refused`."""

    def read(self, stream: Stream, span: Span) -> Iterator[Batch]:
        """The rows of a span in key order."""

    def read_keys(self, stream: Stream, keys: Sequence[Key]) -> Batch:
        """The rows of the given keys."""

    def with_residue(self, stream: Stream, keys: Sequence[Key]) -> pa.RecordBatch:
        """As `BatchTarget.with_residue`."""

    def some_with_residue(self, stream: Stream, limit: int) -> pa.RecordBatch:
        """As `BatchTarget.some_with_residue`."""

    def close(self) -> None: ...


class Ledger(Progress, Protocol):
    """`Progress` that stands alone: what `BatchTarget.load` and `replace` keep about rows, in transactions of its own.

    Its lanes and attempts are copies of the target's marks. Each call is refused by the epoch.
    """

    def adopt(self, scope: Scope, marks: Sequence[LaneMark]) -> None:
        """Let the copies of the marks catch up with the target's: nothing that is to be settled under an earlier one
        can be from here on. A copy never goes back. Idempotent."""

    def settle_chunk(self, stream: Stream, mark: ChunkMark, loaded: Loaded, counted: Counted) -> None:
        """The chunk is loaded. Raises `MarkMovedError` when another attempt has begun."""

    def settle(
        self,
        stream: Stream,
        dirty: Sequence[DirtyKey],
        batch: Batch,
        marks: Sequence[LaneMark],
        *,
        before: Notes,
        held: Mapping[Key, str],
    ) -> int:
        """After a batch was replaced: what `BatchTarget.replace` says of dirty entries, touched keys, quarantine and
        notes, and the copies of the marks swapped. Returns how many dirty entries were removed. Raises
        `MarkMovedError`."""

    def entries(self, scope: Scope, stream: Stream, span: Span) -> Iterator[Quarantined]:
        """The quarantine entries of a span with their documents, in key order; memory is bounded by a page."""

    def entries_of(self, scope: Scope, stream: Stream, keys: Sequence[Key]) -> list[Quarantined]:
        """Those of the given keys, in key order."""
