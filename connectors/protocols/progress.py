"""Progress: what is kept durably about a run beside its data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from tranship.connectors.fit import Cell, Fit
from tranship.connectors.protocols.forms import (
    Aside,
    Changes,
    Chunk,
    ChunkMark,
    DirtyKey,
    Key,
    LaneMark,
    Mismatch,
    Position,
    Scope,
    Span,
    Tally,
    TouchedKey,
    Unapplied,
)
from tranship.connectors.protocols.routing import Opening, RecordStore
from tranship.plans.streams import Stream

if TYPE_CHECKING:
    from tranship.connectors.batch import Quarantined


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
        """Reseed: replace a lost position by a new one, and forget the markers that came before it.

        The caller then compares everything (`tranship reseed`).
        """

    def marker_seen(self, scope: Scope, name: str) -> bool:
        """Whether this marker has come through capture and been kept."""

    def newest_marker(self, scope: Scope, owner: str) -> str | None:
        """The name of the marker of an owner that was kept last."""

    def stop_capture(self, scope: Scope) -> None:
        """Delete position, lanes, markers, dirty and touched keys of the feed. Idempotent."""

    def plan_chunks(self, scope: Scope, stream: Stream, spans: Sequence[Span]) -> None:
        """Record the chunks of a stream, all or none; does nothing when they are recorded already."""

    def totals(self, scope: Scope) -> dict[str, Totals]:
        """By stream that has chunks: how far its backfill is. Cheap, for whoever asks often."""

    def chunks(self, scope: Scope, stream: Stream) -> list[Chunk]:
        """The stream's chunks in key order; empty before `plan_chunks`."""

    def begin_chunk(self, scope: Scope, chunk: Chunk) -> ChunkMark | None:
        """Start a new attempt of a chunk that is not loaded: `attempt + 1`, pending. None when it is loaded."""

    def forget_chunks(self, scope: Scope, streams: Sequence[Stream]) -> None:
        """Undo of backfill, one transaction: the streams' tables emptied, chunks and quarantine forgotten.

        Attempt numbers are never used again by the same feed (`rules.md` I1).
        """

    def take(self, scope: Scope, lane: int, limit: int) -> tuple[LaneMark, list[DirtyKey]]:
        """The lane's mark, then up to `limit` dirty keys of ONE stream in it whose chunk is loaded, oldest first.

        Of a sealed lane no keys.
        """

    def lane_marks(self, scope: Scope) -> list[LaneMark]:
        """All lanes' marks; the exclusive lane swaps every one of them."""

    @property
    def records(self) -> RecordStore:
        """The routing records of this side."""

    def seal(self, scope: Scope, most_divergences: int, opening: Opening | None = None) -> None:
        """Seal the lanes: from here on no batch can commit, also none that was sent before (`rules.md` I5).

        In the same transaction it is seen that no dirty entry is left, parked ones included, that no touched key is but
        those on record as different, and that those on record are no more than stated. Raises `UnsettledError`
        otherwise, and then nothing is sealed. With an `opening` this side's record becomes ready in it (`rules.md` J7);
        `MarkMovedError` when it is not closed for this attempt. Idempotent.
        """

    def unseal(self, scope: Scope) -> None:
        """Let the lanes go on, with other marks. Idempotent."""

    def backlog(self, scope: Scope) -> Backlog:
        """How far the target is behind, by the database's clock."""

    def unapplied(self, scope: Scope, most: int) -> list[Unapplied]:
        """The dirty keys that wait longest, oldest first: behind a switch, what was written to the source since."""

    def mark_dirty(self, scope: Scope, keys: Sequence[tuple[str, Key]]) -> None:
        """Repair and reseed: enqueue keys as if they had changed. Nothing else writes rows (`rules.md` I2)."""

    def parked(self, scope: Scope) -> dict[str, int]:
        """How many dirty keys wait because somebody else's rows hold theirs, by table. They are not in the backlog, but
        are taken again at their next change and now and then."""

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

    def note_divergences(self, scope: Scope, found: Sequence[Mismatch], equal: Sequence[Mismatch]) -> None:
        """Put what a comparison found different on record, and take off it what it found equal.

        `equal` are of those that `divergences` gave before both sides were read; one that was noted again since stays.
        Nothing else leaves the record (`rules.md` K2). It is kept here, because keys are people's data. Safe to repeat,
        and to land late.
        """

    def divergences(self, scope: Scope) -> list[Mismatch]:
        """All divergences on record, in the order of stream and key."""

    def note_comparison(
        self,
        scope: Scope,
        streams: Mapping[str, Tally],
        moving: int,
        filled: Mapping[str, Mapping[Cell, int]],
    ) -> None:
        """Put on record what a comparison of all keys counted, with the target's time; it replaces the one before.

        `filled`: per stream, the values that its columns had.
        """

    def comparison(self, scope: Scope) -> Compared | None:
        """The newest comparison of all keys, whoever made it; None before the first."""

    def fit(self, scope: Scope) -> dict[str, Fit]:
        """By stream that has anything loaded: the notes of the rows that the target holds, and how its columns were
        filled, by the newest comparison of all keys, before the first one as they were loaded."""

    def quarantine(self, scope: Scope, stream: Stream, after: Key | None, limit: int) -> list[Aside]:
        """What is kept aside of a stream, in key order, page by page (after the last key), without the documents."""

    def quarantined(self, scope: Scope, stream: Stream, key: Key) -> Quarantined | None:
        """One entry with its document, or None when there is none of this key."""

    def quarantine_count(self, scope: Scope) -> dict[str, int]:
        """Entries per stream; streams without any are left out."""

    def building(self, streams: Sequence[Stream]) -> list[Build]:
        """Indexes of the streams' tables that are built just now, whoever builds them, as the server tells."""

    def close(self) -> None: ...


@dataclass(frozen=True)
class Build:
    """An index build under way: what the server does just now, and how much of that is done (blocks or rows of the
    table, transactions that are waited for), 0 of 0 where it does not say."""

    table: str
    step: str
    done: int
    total: int


MOST_COUNTED = 10_000


@dataclass(frozen=True)
class Compared:
    """A comparison of all keys: what it counted per stream, and how many keys never stood still.

    `at`: when it ended, in seconds since 1970 by the target's clock; `age_s`: seconds since then by the same clock.
    """

    at: float
    age_s: float
    streams: Mapping[str, Tally]
    moving: int


@dataclass(frozen=True)
class Totals:
    """Of one stream: chunks, those that are loaded, and the rows in them."""

    chunks: int
    loaded: int
    rows: int


@dataclass(frozen=True)
class Backlog:
    """Dirty keys not yet applied, counted up to `MOST_COUNTED`: who asks often needs no more; age in seconds of the
    oldest; seconds since the source was as capture has kept it.

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
