"""The progress of one feed as one value: chunks, lanes and their marks, dirty keys, position, quarantine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import TypeAlias
from zlib import crc32

from tranship.connectors.batch import Batch, Quarantined
from tranship.connectors.counting import Counted
from tranship.connectors.errors import MarkMovedError
from tranship.connectors.fit import Cell, Note
from tranship.connectors.memory.rows import holds
from tranship.connectors.protocols import (
    Chunk,
    ChunkMark,
    Compared,
    DirtyKey,
    Key,
    LaneMark,
    Mismatch,
    Position,
    Scope,
)
from tranship.plans.streams import Stream

StreamKey: TypeAlias = tuple[str, Key]


@dataclass(frozen=True)
class Dirty:
    """One dirty entry: how often its key changed since it was made, and since when it waits."""

    generation: int
    since: float


@dataclass
class FeedProgress:
    """The progress of one feed. `position` is None before capture and after it was stopped."""

    position: Position | None = None
    kept_at: float = 0.0
    changed_at: float = 0.0
    lanes: list[int] = field(default_factory=list)
    sealed: bool = False
    markers: dict[str, None] = field(default_factory=dict)  # oldest first
    dirty: dict[StreamKey, Dirty] = field(default_factory=dict)  # oldest first
    touched: dict[StreamKey, int] = field(default_factory=dict)
    touches: int = 0
    quarantine: dict[StreamKey, Quarantined] = field(default_factory=dict)
    divergences: dict[StreamKey, Mismatch] = field(default_factory=dict)
    notes: int = 0
    compared: Compared | None = None
    held_notes: dict[StreamKey, tuple[Note, ...]] = field(default_factory=dict)
    filled: Counter[tuple[str, Cell]] = field(default_factory=Counter)
    recounted: Mapping[str, Mapping[Cell, int]] = field(default_factory=dict)
    chunks: dict[str, list[Chunk]] = field(default_factory=dict)
    attempts: dict[tuple[str, int], int] = field(default_factory=dict)  # outlives the chunks (`rules.md` I1)
    begun: set[tuple[str, int]] = field(default_factory=set)  # of a target that keeps marks alone

    def fork(self) -> FeedProgress:
        return replace(
            self,
            lanes=list(self.lanes),
            markers=dict(self.markers),
            dirty=dict(self.dirty),
            touched=dict(self.touched),
            quarantine=dict(self.quarantine),
            divergences=dict(self.divergences),
            held_notes=dict(self.held_notes),
            filled=Counter(self.filled),
            chunks={stream: list(chunks) for stream, chunks in self.chunks.items()},
            attempts=dict(self.attempts),
            begun=set(self.begun),
        )

    def lane_of(self, key: StreamKey) -> int:
        """The one lane in which a key is applied."""
        return crc32(key[0].encode() + b"\0" + key[1]) % len(self.lanes)

    def aside(self, stream: str) -> list[Quarantined]:
        """What is kept aside of a stream, in key order."""
        return [entry for (name, _), entry in sorted(self.quarantine.items()) if name == stream]

    def is_loaded(self, key: StreamKey) -> bool:
        """Whether the chunk that the key belongs to is loaded."""
        stream, value = key
        return any(c.state == "loaded" for c in self.chunks.get(stream, ()) if holds(c.span, value))

    def make_dirty(self, key: StreamKey, now: float) -> None:
        """Insert an entry or bump its generation."""
        known = self.dirty.get(key, Dirty(0, now))
        self.dirty[key] = replace(known, generation=known.generation + 1)

    def settle(self, dirty: DirtyKey, now: float) -> bool:
        """After a key was made equal: remove its entry, or let it wait anew if a further change came."""
        key = (dirty.stream, dirty.key)
        self.touches += 1
        self.touched[key] = self.touches
        known = self.dirty.pop(key, None)
        if known is not None and known.generation != dirty.generation:
            self.dirty[key] = replace(known, since=now)
        return known is not None and key not in self.dirty

    def settle_batch(self, stream: Stream, dirty: Sequence[DirtyKey], batch: Batch, now: float) -> int:
        """After a batch was applied: all that is kept about its keys. Returns how many are clean."""
        self._keep_aside(stream, [entry.key for entry in dirty], batch.quarantined)
        for key in (entry.key for entry in dirty):
            self.held_notes.pop((stream.name, key), None)
        self._hold(stream, {key: tuple(batch.notes[key]) for key in batch.keys if key in batch.notes})
        return sum([self.settle(entry, now) for entry in dirty])

    def hold_loaded(self, counted: Counted) -> None:
        """After a chunk was loaded: all that is kept about its keys."""
        self._keep_aside(counted.stream, [], counted.quarantined)
        self._hold(counted.stream, counted.notes)
        self.filled.update({(counted.stream.name, cell): count for cell, count in counted.values.items()})

    def _keep_aside(self, stream: Stream, keys: Iterable[Key], entries: Iterable[Quarantined]) -> None:
        for key in keys:
            self.quarantine.pop((stream.name, key), None)
        self.quarantine |= {(stream.name, entry.key): entry for entry in entries}

    def _hold(self, stream: Stream, notes: Mapping[Key, tuple[Note, ...]]) -> None:
        self.held_notes |= {(stream.name, key): found for key, found in notes.items()}

    def forget_fit(self, streams: Set[str]) -> None:
        """Forget the counts of streams whose rows are gone."""
        self.held_notes = {key: notes for key, notes in self.held_notes.items() if key[0] not in streams}
        self.filled = Counter({key: count for key, count in self.filled.items() if key[0] not in streams})

    def next_attempt(self, chunk: Chunk) -> int:
        """A number that no attempt of this chunk had before."""
        place = (chunk.stream, chunk.number)
        self.attempts[place] = self.attempts.get(place, 0) + 1
        return self.attempts[place]

    def swap_chunk(self, mark: ChunkMark, rows: int, quarantined: int) -> None:
        """`pending(attempt)` → `loaded(attempt)`; raises `MarkMovedError`."""
        chunks = self.chunks.get(mark.stream, [])
        known = chunks[mark.chunk] if mark.chunk < len(chunks) else None
        if known is None or (known.state, known.attempt) != ("pending", mark.attempt):
            raise MarkMovedError(f"chunk {mark.chunk} of {mark.stream}: attempt {mark.attempt} is not the pending one")
        chunks[mark.chunk] = replace(known, state="loaded", rows=rows, quarantined=quarantined)

    def swap_lanes(self, marks: Sequence[LaneMark]) -> None:
        """`seq` → `seq + 1` of each lane; raises `MarkMovedError`."""
        for mark in marks:
            if self.sealed or mark.lane >= len(self.lanes) or self.lanes[mark.lane] != mark.seq:
                raise MarkMovedError(f"lane {mark.lane}: batch {mark.seq} was applied already, or the lane is sealed")
            self.lanes[mark.lane] += 1

    def lane_marks(self, scope: Scope) -> list[LaneMark]:
        """The marks of all lanes."""
        return [LaneMark(scope, lane, seq) for lane, seq in enumerate(self.lanes)]

    def move_lanes(self) -> None:
        """No batch that was taken before can be applied any more."""
        self.lanes = [seq + 1 for seq in self.lanes]

    def catch_up(self, marks: Sequence[LaneMark]) -> None:
        """Let no lane be behind these marks; lanes that are not there are made."""
        self.lanes += [0] * (max((mark.lane + 1 for mark in marks), default=0) - len(self.lanes))
        for mark in marks:
            self.lanes[mark.lane] = max(self.lanes[mark.lane], mark.seq)

    def seal(self) -> None:
        """No batch can be applied, also none that was sent before."""
        if not self.sealed:
            self.move_lanes()
            self.sealed = True

    def unseal(self) -> None:
        """Batches can be applied again, with other marks."""
        if self.sealed:
            self.move_lanes()
            self.sealed = False

    def begin_attempt(self, mark: ChunkMark) -> None:
        """Let it be the one that may load its chunk; raises `MarkMovedError` when it is not the newest."""
        place = (mark.stream, mark.chunk)
        if self.attempts.get(place, 0) >= mark.attempt:
            raise MarkMovedError(f"chunk {mark.chunk} of {mark.stream}: attempt {mark.attempt} is over")
        self.attempts[place] = mark.attempt
        self.begun.add(place)

    def end_attempt(self, mark: ChunkMark) -> None:
        """It has loaded its chunk; raises `MarkMovedError` when it may not, or did already."""
        place = (mark.stream, mark.chunk)
        if place not in self.begun or self.attempts[place] != mark.attempt:
            raise MarkMovedError(f"chunk {mark.chunk} of {mark.stream}: attempt {mark.attempt} is over")
        self.begun.remove(place)

    def forget_attempts(self, streams: Set[str]) -> None:
        """Nothing of these streams that has begun can be loaded or applied any more."""
        self.begun = {place for place in self.begun if place[0] not in streams}
        self.move_lanes()
