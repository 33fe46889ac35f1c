"""Sources: read in batches, and watched for changed keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from tranship.connectors.fit import Notes
from tranship.connectors.protocols.fencing import Fences
from tranship.connectors.protocols.forms import Changes, Finding, Key, Position, Span
from tranship.connectors.protocols.routing import RecordStore
from tranship.plans.streams import Stream

if TYPE_CHECKING:
    import pyarrow as pa

    from tranship.connectors.batch import Batch


@runtime_checkable
class BatchSource(Protocol):
    """Reads the current state of streams."""

    @property
    def projection(self) -> str:
        """Name of the version of what this connector makes of documents, keys and filters.

        It changes with every change of that: what was compared under another one is compared again.
        """

    def identity(self) -> str:
        """Stable name of the server and database (not its address), for the plan's fingerprint."""

    def collections(self, streams: Sequence[Stream]) -> dict[str, str]:
        """By stream, the id of what it is read from: another one under the same name has another id.

        A stream is left out when its collection is not there, and when the server tells no id.
        """

    def findings(self, streams: Sequence[Stream]) -> list[Finding]:
        """Reads only: reachability, topology, privileges, and whether each stream can be read and watched."""

    def estimate(self, stream: Stream) -> tuple[int, int]:
        """(documents, bytes) of the stream's collection, roughly; for ETA and chunking only."""

    def spans(self, stream: Stream, chunk_bytes: int) -> list[Span]:
        """Spans of about `chunk_bytes` each, in key order, that tile the whole key space: first and last are open."""

    def some(self, stream: Stream, documents: int, seed: int) -> Iterator[Batch]:
        """About so many documents from all over the key space, a batch for each place; the same ones for one seed as
        long as nothing is written. Cheap: for a look before there is a run, so as of no position."""

    def read(self, stream: Stream, span: Span, after: Position) -> Iterator[Batch]:
        """The current documents of a span in key order, as of `after` or later (majority, causally after).

        Before or with each row come all entries up to its key. Memory is bounded by a batch.
        """

    def read_keys(self, stream: Stream, keys: Sequence[Key], after: Position) -> Batch:
        """The current documents of the given keys, as of `after` or later; a key that is not there is deleted."""

    def documents(self, stream: Stream, rows: pa.RecordBatch) -> list[bytes]:
        """The documents of rows that this source has read, byte for byte, in their order. Asks no server."""

    def notes(self, stream: Stream, rows: pa.RecordBatch) -> Notes:
        """The notes of rows that this source has read, as it made them then. Asks no server."""

    def usual_order(self, stream: Stream, rows: pa.RecordBatch) -> list[str]:
        """The plan's top fields in the order in which most of the rows' documents have them. Asks no server."""

    def readable(self, document: bytes) -> str:
        """A quarantined document for people: whole, or where it cannot be read and its bytes. Asks no server."""

    def close(self) -> None: ...


@runtime_checkable
class Watch(Protocol):
    """An open look at changes, as an iterator. One thread iterates; `close` may come from any other."""

    def __iter__(self) -> Iterator[Changes]: ...

    def __next__(self) -> Changes: ...

    def confirm(self, position: Position) -> None:
        """Everything up to a position that this watch gave is kept durably, so that the source may forget it.

        Idempotent, and safe to land late. Called behind each transaction that kept one, before the next is asked for.
        """

    def close(self) -> None:
        """End soon: what waits for changes comes back without waiting on, and then there are no more. Idempotent."""


@runtime_checkable
class ChangeSource(Protocol):
    """Watches streams for changes."""

    def position(self) -> Position:
        """Now: every change that is made after this call returns comes after this position."""

    def changes(self, streams: Sequence[Stream], since: Position) -> Watch:
        """Changed keys since a position, without end; yields at least every second, also when nothing changed.

        Raises `PositionLostError` (never starts from now instead) and `SourceChangedError`.
        """

    def history_s(self, since: Position) -> float | None:
        """How much older than a position the source's history is, in seconds: by so much capture may fall back before
        the position is lost. None where that is not known."""

    def keeps_s(self, since: Position) -> float | None:
        """For how many seconds the source keeps changes, if as much is written as so far; None where nobody knows."""

    def put_marker(self, name: str) -> None:
        """Write a marker that comes through `changes` after all earlier acknowledged writes (`rules.md` E3).

        It stays until it is dropped. The name begins with its owner's id and a dot.
        """

    def has_marker(self, name: str) -> bool:
        """Whether a marker is still there: on another server, or one that was restored, it is not."""

    def drop_markers(self, owner: str) -> None:
        """Remove the markers of one owner, and what held them once it is empty. Idempotent."""

    def try_traces(self) -> list[Finding]:
        """Whether markers and routing records may be written and removed, by trying: what is there stays as it is.

        For a run that begins; who only looks goes by `BatchSource.findings`, which may not know.
        """

    @property
    def records(self) -> RecordStore:
        """The routing records on this source. They outlive a target that loses its journal."""

    @property
    def fences(self) -> Fences | None:
        """The fences that this source's server can keep; None where it has none."""
