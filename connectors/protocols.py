"""What a connector can be asked to do. A capability that a system lacks is a protocol that its connector does not have.

The verbs are those of the design: a source tiles, reads and watches; a target loads and replaces; both sides read. All
rows travel as `connectors.batch.Batch`. Every call is blocking, may be made again after any error, and raises only
errors of `connectors.errors`. Objects are used by one thread at a time unless their docstring says otherwise.

**Marks.** A transaction that writes rows also swaps its mark (compare-and-swap; `MarkMovedError` when it has moved)
and, as its last statement, checks the epoch (`EpochMovedError`): neither a zombie nor a late duplicate of an earlier
attempt can commit (`docs/architecture.md`, "Marks and epochs").
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, runtime_checkable

from tranship.connectors.batch import Batch, Quarantined
from tranship.plans.streams import Stream

Key: TypeAlias = bytes
"""A canonical key (`connectors.keys`): its byte order is the source's key order, equal keys have equal bytes."""

NAMELESS = b"\xff"
"""What the key of a document starts with whose own key cannot be read, before the document's SHA-256: above all keys.

No query finds such a document, and no change of it can be followed: capture stops at the first one.
"""


def is_nameless(key: Key) -> bool:
    """Whether the key only stands for a document whose own cannot be read."""
    return key[:1] == NAMELESS


@dataclass(frozen=True, order=True)
class Span:
    """Keys from `lower` (included) to `upper` (excluded); None is open. The spans of a stream tile its key space."""

    lower: Key | None
    upper: Key | None


@dataclass(frozen=True)
class Position:
    """An opaque resume point of a change source; only the connector that made it can read it. Never compared."""

    token: bytes


READING = 0
"""The epoch of those who only read. Nobody writes under it: a run's first epoch is 1."""


@dataclass(frozen=True)
class Scope:
    """Whose progress is meant: one run in one round. `epoch` is the writer's; a statement under another one fails."""

    run: str
    round: int
    epoch: int

    @property
    def reading(self) -> Scope:
        """The same place for somebody who only reads, under no epoch: sessions of his are neither refused nor ended."""
        return Scope(self.run, self.round, READING)


@dataclass(frozen=True)
class ChunkMark:
    """Mark of the load of one chunk: `pending(attempt)` → `loaded(attempt)`."""

    scope: Scope
    stream: str
    chunk: int
    attempt: int


@dataclass(frozen=True)
class LaneMark:
    """Mark of one lane (a hash partition of the keys): `seq` → `seq + 1` with each applied batch."""

    scope: Scope
    lane: int
    seq: int


@dataclass(frozen=True)
class Chunk:
    """The work on one span. `state`: planned → pending (an attempt has begun) → loaded."""

    stream: str
    number: int
    span: Span
    state: Literal["planned", "pending", "loaded"]
    attempt: int
    rows: int = 0
    quarantined: int = 0


@dataclass(frozen=True)
class DirtyKey:
    """A key that changed since it was last made equal, and how often (`generation`) since the entry was made."""

    stream: str
    key: Key
    generation: int


@dataclass(frozen=True)
class TouchedKey:
    """A key that was applied. `touch` tells which batch did it last; no two batches have the same."""

    key: Key
    touch: int


@dataclass(frozen=True)
class Changes:
    """What a change source saw since the last position: changed keys, markers, the new position.

    `position` may be made durable once `keys` are; not before (`rules.md` I3). `behind_s` is how many seconds it is
    behind the source's present, by the source's clock; 0 when nothing more was there. An idle source still yields, so
    that its position advances.
    """

    keys: tuple[tuple[str, Key], ...]  # (stream, key), deduplicated
    position: Position
    markers: tuple[str, ...] = ()
    behind_s: float = 0.0


@dataclass(frozen=True)
class Finding:
    """One result of preflight or check: a stable code, what and where, and what to do. Errors stop the run."""

    code: str
    severity: Literal["error", "warning", "info"]
    message: str
    hint: str = ""


@dataclass(frozen=True, order=True)
class Aside:
    """What a quarantine entry says of its document, which has `size` bytes."""

    key: Key
    path: str
    reason: str
    size: int


@dataclass(frozen=True)
class Mismatch:
    """A key of which the two sides hold something else.

    Its row is only on the source (`missing`), only on the target (`extra`), or `different` in some columns. Or its
    document belongs into quarantine on one side only, or is kept aside there with other bytes, another path or another
    reason (`quarantine`, whatever the rows are).
    """

    stream: str
    key: Key
    kind: Literal["missing", "extra", "different", "quarantine"]
    columns: tuple[str, ...] = ()


@runtime_checkable
class BatchSource(Protocol):
    """Reads the current state of streams."""

    def identity(self) -> str:
        """Stable name of the server and database (not its address), for the plan's fingerprint."""

    def findings(self, streams: Sequence[Stream]) -> list[Finding]:
        """Reads only: reachability, topology, privileges, and whether each stream can be read and watched."""

    def estimate(self, stream: Stream) -> tuple[int, int]:
        """(documents, bytes) of the stream's collection, roughly; for ETA and chunking only."""

    def spans(self, stream: Stream, chunk_bytes: int) -> list[Span]:
        """Spans of about `chunk_bytes` each, in key order, that tile the whole key space: first and last are open."""

    def read(self, stream: Stream, span: Span, after: Position) -> Iterator[Batch]:
        """The current documents of a span in key order, as of `after` or later (majority, causally after).

        Before or with each row come all entries up to its key. Memory is bounded by a batch.
        """

    def read_keys(self, stream: Stream, keys: Sequence[Key], after: Position) -> Batch:
        """The current documents of the given keys, as of `after` or later; a key that is not there is deleted."""

    def readable(self, document: bytes) -> str:
        """A quarantined document for people: whole, or where it cannot be read and its bytes. Asks no server."""

    def close(self) -> None: ...


@runtime_checkable
class ChangeSource(Protocol):
    """Watches streams for changes."""

    def position(self) -> Position:
        """Now: every change that is made after this call returns comes after this position."""

    def changes(self, streams: Sequence[Stream], since: Position) -> Iterator[Changes]:
        """Changed keys since a position, without end; yields at least every second, also when nothing changed.

        Raises `PositionLostError` (never starts from now instead) and `SourceChangedError`.
        """

    def put_marker(self, name: str) -> None:
        """Write a marker that comes through `changes` after all earlier acknowledged writes (`rules.md` E3)."""

    def drop_markers(self) -> None:
        """Remove what `put_marker` left on the source. Idempotent."""


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
        """Fill an empty span with the batches: all of the chunk, its quarantine entries and its mark, or nothing."""

    def replace(self, stream: Stream, dirty: Sequence[DirtyKey], batch: Batch, marks: Sequence[LaneMark]) -> int:
        """Make the given keys equal to the batch: delete all of them with their children, insert what the batch has.

        In the same transaction: quarantine entries of the keys are replaced by the batch's; each dirty entry is
        removed if its generation is still the given one (else it stays) and its key remembered as touched; the marks
        are swapped; the epoch is checked. Returns how many dirty entries were removed. Raises `UniqueConflictError`.
        """

    def read(self, stream: Stream, span: Span) -> Iterator[Batch]:
        """What the target holds of a span: rows, rebuilt from root and child tables, and quarantine entries.

        Rows come in key order, and before or with each row all entries up to its key. Memory is bounded by a batch.
        """

    def read_keys(self, stream: Stream, keys: Sequence[Key]) -> Batch:
        """What the target holds of the given keys: rows and quarantine entries."""

    def close(self) -> None: ...


@runtime_checkable
class Progress(Protocol):
    """Durable progress beside the data: chunks, lanes, dirty keys, the capture position, quarantine.

    Writing calls take a `Scope` and check its epoch as the last statement of their transaction. Safe to use from
    several threads.
    """

    def start_capture(self, scope: Scope, position: Position, lanes: int) -> Position:
        """Keep the first position and make the lanes, if absent; returns the durable position (`rules.md` I3)."""

    def keep(self, scope: Scope, changes: Changes) -> None:
        """One transaction: dirty keys inserted or their generation bumped, markers noted, then the new position."""

    def position(self, scope: Scope) -> Position | None:
        """The durable capture position, or None before capture started."""

    def restart_capture(self, scope: Scope, position: Position) -> None:
        """Reseed: replace a lost position by a new one. The caller then compares everything (`tranship reseed`)."""

    def marker_seen(self, scope: Scope, name: str) -> bool:
        """Whether this marker has come through capture and been kept."""

    def stop_capture(self, scope: Scope) -> None:
        """Delete position, lanes, markers, dirty and touched keys of the round. Idempotent."""

    def plan_chunks(self, scope: Scope, stream: Stream, spans: Sequence[Span]) -> None:
        """Record the chunks of a stream, all or none; does nothing when they are recorded already."""

    def chunks(self, scope: Scope, stream: Stream) -> list[Chunk]:
        """The stream's chunks in key order; empty before `plan_chunks`."""

    def begin_chunk(self, scope: Scope, chunk: Chunk) -> ChunkMark | None:
        """Start a new attempt of a chunk that is not loaded: `attempt + 1`, pending. None when it is loaded."""

    def forget_chunks(self, scope: Scope, streams: Sequence[Stream]) -> None:
        """Undo of backfill, one transaction: the streams' tables emptied, chunks and quarantine forgotten.

        Attempt numbers are never used again in the same round (`rules.md` I1).
        """

    def take(self, scope: Scope, lane: int, limit: int) -> tuple[LaneMark, list[DirtyKey]]:
        """The lane's mark, then up to `limit` dirty keys of ONE stream in it whose chunk is loaded, oldest first."""

    def lane_marks(self, scope: Scope) -> list[LaneMark]:
        """All lanes' marks; the exclusive lane swaps every one of them."""

    def backlog(self, scope: Scope) -> Backlog:
        """How far the target is behind, by the database's clock."""

    def mark_dirty(self, scope: Scope, keys: Sequence[tuple[str, Key]]) -> None:
        """Repair and reseed: enqueue keys as if they had changed. Nothing else writes rows (`rules.md` I2)."""

    def still_dirty(self, scope: Scope, stream: Stream, keys: Sequence[Key]) -> set[Key]:
        """Which of the keys have a dirty entry now."""

    def forget_touched(self, scope: Scope) -> None:
        """Start of a full reconcile: forget which keys were applied so far."""

    def touched(self, scope: Scope, stream: Stream, after: Key | None, limit: int) -> list[TouchedKey]:
        """Keys applied since `forget_touched`, ordered by an internal order, page by page (after the last one)."""

    def forget_equal(self, scope: Scope, stream: Stream, keys: Sequence[TouchedKey]) -> int:
        """Forget touched keys that were found equal after `touched` gave them, but for those applied again since.

        Returns how many were forgotten. Safe to repeat, and to land late.
        """

    def keep_divergences(self, scope: Scope, divergences: Sequence[Mismatch]) -> None:
        """Replace what the last reconcile found by what this one did: kept here, because keys are people's data."""

    def divergences(self, scope: Scope) -> list[Mismatch]:
        """What the last reconcile found."""

    def quarantine(self, scope: Scope, stream: Stream, after: Key | None, limit: int) -> list[Aside]:
        """What is kept aside of a stream, in key order, page by page (after the last key), without the documents."""

    def quarantined(self, scope: Scope, stream: Stream, key: Key) -> Quarantined | None:
        """One entry with its document, or None when there is none of this key."""

    def quarantine_count(self, scope: Scope) -> dict[str, int]:
        """Entries per stream; streams without any are left out."""

    def close(self) -> None: ...


@dataclass(frozen=True)
class Backlog:
    """Dirty keys not yet applied; age in seconds of the oldest; seconds since the source was as capture has kept it.

    `quiet_s` is seconds since capture last kept a changed key, or since it started when there was none.
    """

    dirty: int
    oldest_s: float
    capture_age_s: float
    quiet_s: float

    @property
    def lag_s(self) -> float:
        """Seconds that the target is behind at most: by what is kept but not applied, or by what may be unseen."""
        return max(self.oldest_s, self.capture_age_s)


@runtime_checkable
class TargetSchema(Protocol):
    """What the phases need of the target's catalog. Calls are idempotent; only what this run made is ever dropped."""

    def identity(self) -> str:
        """Stable name of the server and database (not its address)."""

    def findings(self, streams: Sequence[Stream], run: str) -> list[Finding]:
        """Reads only: reachability, version, privileges, names that are taken by something that is not the run's."""

    def create_tables(self, scope: Scope, streams: Sequence[Stream]) -> list[str]:
        """Create schema and tables with primary keys and note in the same transaction that this run owns them."""

    def table_differences(self, streams: Sequence[Stream]) -> list[str]:
        """What in the catalog differs from the plan; empty when equal."""

    def drop_tables(self, scope: Scope, streams: Sequence[Stream]) -> list[str]:
        """Drop what `create_tables` of this run made, the schema too if it made it and nothing else is in it."""

    def create_indexes(self, scope: Scope, streams: Sequence[Stream]) -> None:
        """Non-unique indexes, then ANALYZE."""

    def drop_indexes(self, scope: Scope, streams: Sequence[Stream]) -> None: ...

    def index_differences(self, streams: Sequence[Stream]) -> list[str]: ...

    def create_constraints(self, scope: Scope, streams: Sequence[Stream]) -> None:
        """Unique indexes, concurrently, dropped and built again while correct data breaks them for a moment."""

    def drop_constraints(self, scope: Scope, streams: Sequence[Stream]) -> None: ...

    def constraint_differences(self, streams: Sequence[Stream]) -> list[str]: ...

    def dangling(self, stream: Stream) -> dict[str, int]:
        """Per referencing column, how many rows point at no row of the referenced stream."""

    def count(self, stream: Stream) -> int:
        """Rows of the root table."""

    def close(self) -> None: ...
