"""Broken protocols, each in one place: what the interleaving test has to find.

A mutant replaces one method of the real code by a version that leaves one rule out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from tests.interleaving.machine import (
    CaptureMachine,
    DetachedMachine,
    DetachedZombiesMachine,
    FirstCopiesMachine,
    KillsMachine,
    LateMachine,
    Laws,
    Machine,
    RecordMachine,
    StartsMachine,
    StrangersMachine,
    ValuesMachine,
)
from tests.interleaving.orchestrators import LANES, STREAM, Orchestrator
from tests.interleaving.world import World
from tranship.connectors.batch import KEY, Batch
from tranship.connectors.detached import DetachedTarget, _DetachedProgress
from tranship.connectors.errors import UniqueConflictError
from tranship.connectors.fit import NOTHING_NOTED, Notes
from tranship.connectors.memory import Fate, MemoryLedger, MemoryMarkedTarget, MemoryProgress, TargetState
from tranship.connectors.memory.feed import FeedProgress
from tranship.connectors.memory.rows import Row
from tranship.connectors.protocols import (
    Changes,
    Chunk,
    ChunkMark,
    DirtyKey,
    Key,
    LaneMark,
    Loaded,
    Mismatch,
    Position,
    Scope,
    Span,
    TouchedKey,
)
from tranship.orchestrator.dataplane import exclusive
from tranship.orchestrator.dataplane.applier import Applier, Taken
from tranship.orchestrator.dataplane.touched import Sides
from tranship.orchestrator.services.capture import Follower
from tranship.plans.streams import Stream


@dataclass(frozen=True)
class Mutant:
    """`owner.name` replaced; several places only where one rule lives in several."""

    name: str
    places: tuple[tuple[Any, str, Callable[..., Any]], ...]
    machine: type[Laws] = Machine
    steps: int = 50
    """Rules in a row: few where the fault is one of the beginning."""


def remove_whatever_the_generation(self: FeedProgress, dirty: DirtyKey, _now: float) -> bool:
    return self.dirty.pop((dirty.stream, dirty.key), None) is not None


def loaded_or_not(_self: FeedProgress, _key: tuple[str, bytes]) -> bool:
    return True


def swap_any_attempt(self: FeedProgress, mark: ChunkMark, rows: int, quarantined: int) -> None:
    chunks = self.chunks[mark.stream]
    chunks[mark.chunk] = replace(chunks[mark.chunk], state="loaded", rows=rows, quarantined=quarantined)


def swap_no_lane(_self: FeedProgress, _marks: Sequence[LaneMark]) -> None: ...


def any_epoch(_self: TargetState, _scope: Scope) -> None: ...


def attempts_from_one(self: FeedProgress, chunk: Chunk) -> int:
    return self.chunks[chunk.stream][chunk.number].attempt + 1


_keep = MemoryProgress.keep


def position_then_keys(self: MemoryProgress, scope: Scope, changes: Changes) -> None:
    _keep(self, scope, replace(changes, keys=()))
    _keep(self, scope, changes)


def latest_start_wins(self: MemoryProgress, scope: Scope, position: Position, lanes: int) -> Position:
    def work(state: TargetState) -> Position:
        kept = state.feed(scope)
        kept.lanes = kept.lanes or [0] * lanes
        kept.position = position
        return position

    return self._store.transact("start_capture", scope, work)


def read_then_position(self: Orchestrator, number: int) -> None:
    chunk = self.progress.chunks(self.scope, STREAM)[number]
    mark = self.progress.begin_chunk(self.scope, chunk)
    if mark is not None:
        batches = list(self.source.read(STREAM, chunk.span, Position(b"")))
        self.progress.start_capture(self.scope, self.source.position(), LANES)
        self.target.load(STREAM, batches, mark)


def no_start(_self: World, _fate: Fate) -> None: ...


_replace = Applier.replace


def generations_after_the_read(self: Applier, taken: Taken, batch: Batch) -> int:
    _, now = self.progress.take(self.scope, taken.marks[0].lane, 100)
    newest = {d.key: d for d in now}
    return _replace(self, replace(taken, dirty=tuple(newest.get(d.key, d) for d in taken.dirty)), batch)


def marks_after_the_read(self: Applier, taken: Taken, batch: Batch) -> int:
    marks = tuple(self.progress.take(self.scope, mark.lane, 1)[0] for mark in taken.marks)
    return _replace(self, replace(taken, marks=marks), batch)


def same_stream_after_an_error(self: Follower) -> Changes | None:
    if self._stream is None:
        position = self._progress.position(self._scope)
        assert position is not None
        self._stream = self._source.changes(self._streams, position)
    changes = next(self._stream, None)
    if changes is not None:
        self._progress.keep(self._scope, changes)
    return changes


def touched_whenever_applied(self: MemoryProgress, scope: Scope, stream: Stream, keys: Sequence[TouchedKey]) -> int:
    def work(state: TargetState) -> int:
        touched = state.feed(scope).touched
        return sum(touched.pop((stream.name, one.key), None) is not None for one in keys)

    return self._store.transact("forget_equal", scope, work)


def found_alone_is_on_record(
    self: MemoryProgress, scope: Scope, found: Sequence[Mismatch], _equal: Sequence[Mismatch]
) -> None:
    def work(state: TargetState) -> None:
        kept = state.feed(scope)
        kept.notes += 1
        kept.divergences = {(one.stream, one.key): replace(one, noted=kept.notes) for one in found}

    self._store.transact("note_divergences", scope, work)


def settled_when_looked_at(self: Sides, stream: Stream) -> Iterator[int]:
    noted = list(self._progress.divergences(self._scope))
    self._progress.note_divergences(self._scope, [], noted)
    yield len([one for one in noted if one.stream == stream.name])


def claimants_alone(conflict: UniqueConflictError) -> set[Key]:
    return set(conflict.claimants)


def moving_keys_are_left(self: MemoryProgress, scope: Scope, keys: Sequence[tuple[str, Key]]) -> None: ...


def deleted_and_inserted(self: TargetState, stream: Stream, rows: Sequence[Row]) -> None:
    self.delete(stream, [row[KEY] for row in rows])
    self.insert(stream, rows)


def marks_without_a_seal(self: MemoryProgress, scope: Scope, most_divergences: int) -> None:  # noqa: ARG001
    def work(state: TargetState) -> None:
        kept = state.feed(scope)
        kept.lanes = [seq + 1 for seq in kept.lanes]

    self._store.transact("seal", scope, work)


def settled_under_any_mark(
    self: MemoryLedger,
    stream: Stream,
    dirty: Sequence[DirtyKey],
    batch: Batch,
    marks: Sequence[LaneMark],
    **_other: object,
) -> int:
    def work(state: TargetState) -> int:
        return state.feed(marks[0].scope).settle_batch(stream, dirty, batch, self._store.clock())

    return self._store.transact("settle", marks[0].scope, work)


def never_adopted(self: _DetachedProgress, scope: Scope, _lanes: object = None) -> None:
    self._target.claim(scope, self._ledger.lane_marks(scope))


def put_under_any_mark(
    self: MemoryMarkedTarget, stream: Stream, keys: Sequence[Key], rows: pa.RecordBatch, marks: Sequence[LaneMark]
) -> dict[Key, str]:
    def work(state: TargetState) -> None:
        kept = state.feed(marks[0].scope)
        kept.catch_up([replace(mark, seq=mark.seq + 1) for mark in marks])
        state.delete(stream, keys)
        state.put(stream, rows.to_pylist())

    self._reach("replace", "before_commit")
    self._store.transact("replace", marks[0].scope, work)
    return {}


def settled_before_it_is_there(
    self: DetachedTarget, stream: Stream, dirty: Sequence[DirtyKey], batch: Batch, marks: Sequence[LaneMark], *_: Notes
) -> int:
    removed = self._ledger.settle(stream, dirty, batch, marks, before=NOTHING_NOTED, held={})
    self._target.replace(stream, [entry.key for entry in dirty], batch.rows, marks)
    return removed


def loaded_into_what_is_there(
    self: MemoryMarkedTarget,
    stream: Stream,
    _span: Span,
    batches: Iterable[Batch],
    mark: ChunkMark,
) -> Loaded:
    rows = [row for batch in batches for row in batch.rows.to_pylist()]

    def work(state: TargetState) -> None:
        state.feed(mark.scope).end_attempt(mark)
        state.insert(stream, rows)

    self._reach("load", "before_commit")
    self._store.transact("load", mark.scope, work)
    return Loaded(len(rows), 0, 0)


def any_attempt(self: FeedProgress, mark: ChunkMark) -> None:
    self.begun.discard((mark.stream, mark.chunk))


def attempts_outlive_their_chunks(_self: FeedProgress, _streams: set[str]) -> None: ...


DETACHED = (
    Mutant("detached: settled under any mark", ((MemoryLedger, "settle", settled_under_any_mark),), DetachedMachine),
    Mutant("detached: copies do not catch up", ((_DetachedProgress, "_meet", never_adopted),), DetachedMachine),
    Mutant("detached: rows have no mark", ((MemoryMarkedTarget, "replace", put_under_any_mark),), DetachedMachine),
    Mutant(
        "detached: settled before rows", ((DetachedTarget, "replace", settled_before_it_is_there),), DetachedMachine
    ),
    Mutant("detached: no span is cleared", ((MemoryMarkedTarget, "load", loaded_into_what_is_there),), DetachedMachine),
    Mutant("detached: any attempt may load", ((FeedProgress, "end_attempt", any_attempt),), DetachedMachine),
    Mutant(
        "detached: attempts outlive the emptied table",
        ((FeedProgress, "forget_attempts", attempts_outlive_their_chunks),),
        DetachedMachine,
    ),
    Mutant("detached: the epoch is not checked", ((TargetState, "check_epoch", any_epoch),), DetachedZombiesMachine),
)

MUTANTS = (
    *DETACHED,
    Mutant("behind the seal lanes go on with other marks", ((MemoryProgress, "seal", marks_without_a_seal),)),
    Mutant(
        "keys that never stand still are left as they are",
        ((MemoryProgress, "mark_dirty", moving_keys_are_left),),
        StrangersMachine,
    ),
    Mutant("rows that stay are deleted and inserted", ((TargetState, "put", deleted_and_inserted),), StrangersMachine),
    Mutant(
        "touched keys are forgotten whatever was applied since",
        ((MemoryProgress, "forget_equal", touched_whenever_applied),),
        LateMachine,
    ),
    Mutant(
        "a look's findings replace the record",
        ((MemoryProgress, "note_divergences", found_alone_is_on_record),),
        RecordMachine,
    ),
    Mutant(
        "what is on record is settled by looking at it",
        ((Sides, "settle_recorded", settled_when_looked_at),),
        RecordMachine,
    ),
    Mutant(
        "the owners of a value do not come into the exclusive lane",
        ((exclusive, "_named", claimants_alone),),
        ValuesMachine,
    ),
    Mutant(
        "dirty entries are removed whatever their generation",
        ((FeedProgress, "settle", remove_whatever_the_generation),),
    ),
    Mutant("dirty keys are applied before their chunk is loaded", ((FeedProgress, "is_loaded", loaded_or_not),)),
    Mutant("a load's mark is set, not swapped", ((FeedProgress, "swap_chunk", swap_any_attempt),)),
    Mutant("lanes have no mark", ((FeedProgress, "swap_lanes", swap_no_lane),)),
    Mutant("the epoch is not checked", ((TargetState, "check_epoch", any_epoch),)),
    Mutant("attempt numbers are used again", ((FeedProgress, "next_attempt", attempts_from_one),)),
    Mutant(
        "the position moves before the keys are kept", ((MemoryProgress, "keep", position_then_keys),), KillsMachine
    ),
    Mutant(
        "a second start moves the first position",
        ((MemoryProgress, "start_capture", latest_start_wins),),
        StartsMachine,
    ),
    Mutant(
        "the first position is taken after the read",
        ((Orchestrator, "copy", read_then_position), (World, "start", no_start)),
        FirstCopiesMachine,
        steps=2,
    ),
    Mutant("generations are noted after the read", ((Applier, "replace", generations_after_the_read),), LateMachine),
    Mutant("the lane's mark is noted after the read", ((Applier, "replace", marks_after_the_read),), LateMachine),
    Mutant("capture goes on after a failed keep", ((Follower, "step", same_stream_after_an_error),), CaptureMachine),
)
