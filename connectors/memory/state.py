"""The target's tables as one value: rows, catalog, and each feed's progress.

`MemoryStore` runs every transaction on a fork and keeps the fork if it succeeds. Whatever hangs in a state by the
name of a dataclass is frozen; the dicts and sets are copied by `fork`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import TypeAlias
from zlib import crc32

from tranship.connectors.batch import KEY, Quarantined
from tranship.connectors.errors import (
    ConnectorError,
    EpochMovedError,
    MarkMovedError,
    RefusedError,
    UniqueConflictError,
)
from tranship.connectors.fit import Cell, Kind
from tranship.connectors.memory.indexes import Held, constraint_name, held_values
from tranship.connectors.memory.rows import Row, holds
from tranship.connectors.protocols import (
    Chunk,
    ChunkMark,
    Compared,
    DirtyKey,
    Feed,
    Key,
    LaneMark,
    Mismatch,
    Position,
    Scope,
)
from tranship.plans.streams import Index, Stream

StreamKey: TypeAlias = tuple[str, Key]


@dataclass(frozen=True)
class Dirty:
    """One dirty entry: how often its key changed since it was made, and since when it waits."""

    generation: int
    since: float


@dataclass(frozen=True)
class Table:
    """One root table with its children: who made it, from which stream."""

    run: str
    stream: Stream


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
    notes_held: Counter[tuple[str, Kind]] = field(default_factory=Counter)
    filled: Counter[tuple[str, Cell]] = field(default_factory=Counter)
    recounted: Mapping[str, Mapping[Cell, int]] = field(default_factory=dict)
    chunks: dict[str, list[Chunk]] = field(default_factory=dict)
    attempts: dict[tuple[str, int], int] = field(default_factory=dict)  # outlives the chunks (`rules.md` I1)

    def fork(self) -> FeedProgress:
        return replace(
            self,
            lanes=list(self.lanes),
            markers=dict(self.markers),
            dirty=dict(self.dirty),
            touched=dict(self.touched),
            quarantine=dict(self.quarantine),
            divergences=dict(self.divergences),
            notes_held=Counter(self.notes_held),
            filled=Counter(self.filled),
            chunks={stream: list(chunks) for stream, chunks in self.chunks.items()},
            attempts=dict(self.attempts),
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

    def hold_notes(self, stream: str, came: Counter[Kind], went: Counter[Kind]) -> None:
        """Count the notes of rows that came, and take off those of rows that they replace."""
        self.notes_held.update({(stream, kind): count for kind, count in came.items()})
        self.notes_held.subtract({(stream, kind): count for kind, count in went.items()})

    def forget_fit(self, streams: Set[str]) -> None:
        """Forget the counts of streams whose rows are gone."""
        self.notes_held = Counter({key: count for key, count in self.notes_held.items() if key[0] not in streams})
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


@dataclass
class TargetState:
    """All of the target. `unique` maps values to the key of the row that holds them, per unique index of a table.

    `referred`: rows, by table and key, that a row of another application refers to, with `ON DELETE CASCADE`.
    """

    epochs: dict[str, int] = field(default_factory=dict)
    catalog: dict[str, Table] = field(default_factory=dict)
    rows: dict[str, dict[Key, Row]] = field(default_factory=dict)
    indexes: set[tuple[str, Index]] = field(default_factory=set)
    unique: dict[tuple[str, Index], dict[Held, Key]] = field(default_factory=dict)
    referred: set[tuple[str, Key]] = field(default_factory=set)
    feeds: defaultdict[tuple[str, Feed], FeedProgress] = field(default_factory=lambda: defaultdict(FeedProgress))

    def fork(self) -> TargetState:
        return replace(
            self,
            epochs=dict(self.epochs),
            catalog=dict(self.catalog),
            rows={table: dict(rows) for table, rows in self.rows.items()},
            indexes=set(self.indexes),
            unique={constraint: dict(values) for constraint, values in self.unique.items()},
            referred=set(self.referred),
            feeds=defaultdict(FeedProgress, {name: known.fork() for name, known in self.feeds.items()}),
        )

    def check_epoch(self, scope: Scope) -> None:
        """The last statement of every transaction; raises `EpochMovedError`."""
        if self.epochs.get(scope.run) != scope.epoch:
            raise EpochMovedError(f"run {scope.run}: epoch {scope.epoch} is over, another orchestrator took over")

    def feed(self, scope: Scope) -> FeedProgress:
        """Progress of a feed, empty at first."""
        return self.feeds[scope.run, scope.feed]

    def table(self, stream: Stream) -> dict[Key, Row]:
        """The rows of a stream by key; raises `RefusedError` when its table does not exist."""
        if stream.table not in self.catalog:
            raise RefusedError(f"table {stream.table} does not exist; run expand first")
        return self.rows[stream.table]

    def delete(self, stream: Stream, keys: Iterable[Key]) -> None:
        """Delete rows, each with its children, and what refers to it."""
        rows = self.table(stream)
        for key in keys:
            self._free(stream, rows.pop(key, None))
            self.referred.discard((stream.table, key))

    def put(self, stream: Stream, rows: Sequence[Row]) -> None:
        """Insert rows that are not there, and set the others in place; raises `UniqueConflictError`.

        All their unique values are freed before one is set, so that rows may swap them.
        """
        table = self.table(stream)
        for row in rows:
            self._free(stream, table.get(row[KEY]))
        table |= {row[KEY]: row for row in rows}
        for index, values in self._constraints(stream):
            self._claim(stream, index, values, rows)

    def _free(self, stream: Stream, row: Row | None) -> None:
        for index, values in self._constraints(stream):
            held = held_values(stream, index, row) if row is not None else None
            if row is not None and held is not None and values.get(held) == row[KEY]:
                del values[held]

    def empty(self, scope: Scope, stream: Stream) -> None:
        """Delete all rows of a table, if it is there and the run's own."""
        table = self.catalog.get(stream.table)
        if table is not None and table.run == scope.run:
            self.delete(stream, list(self.rows[stream.table]))

    def insert(self, stream: Stream, rows: Sequence[Row]) -> None:
        """Insert rows; raises `UniqueConflictError`, and `ConnectorError` for a key that is there already."""
        table = self.table(stream)
        for row in rows:
            if table.setdefault(row[KEY], row) is not row:
                raise ConnectorError(f"stream {stream.name}: the table holds a row with this key already")
        for index, values in self._constraints(stream):
            self._claim(stream, index, values, rows)

    def build_unique(self, stream: Stream, index: Index) -> None:
        """Build a unique index over the rows that are there; raises `UniqueConflictError`."""
        self.unique[stream.table, index] = {}
        self._claim(stream, index, self.unique[stream.table, index], list(self.table(stream).values()))

    def _constraints(self, stream: Stream) -> list[tuple[Index, dict[Held, Key]]]:
        return [(index, values) for (table, index), values in self.unique.items() if table == stream.table]

    def _claim(self, stream: Stream, index: Index, values: dict[Held, Key], rows: Sequence[Row]) -> None:
        inside = {row[KEY] for row in rows}
        held = [(row[KEY], held_values(stream, index, row)) for row in rows]
        holders = [(key, values.setdefault(value, key)) for key, value in held if value is not None]
        conflicts = [(key, holder) for key, holder in holders if holder != key]
        if conflicts:
            outside = dict.fromkeys(holder for _, holder in conflicts if holder not in inside)
            claimants = dict.fromkeys(one for pair in conflicts for one in pair if one in inside)
            constraint = constraint_name(stream, index)
            raise UniqueConflictError(
                f"stream {stream.name}: constraint {constraint} holds one of the values already",
                stream=stream.name,
                constraint=constraint,
                columns=index.columns,
                claimants=tuple(claimants),
                owners=tuple(outside),
            )
