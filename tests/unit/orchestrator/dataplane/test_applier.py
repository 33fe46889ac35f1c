"""The exclusive lane ends, with the rows applied or with the conflict told; batches are of bounded size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.support import scope_of
from tranship.connectors.batch import KEY, RESIDUE, Batch
from tranship.connectors.errors import UniqueConflictError
from tranship.connectors.fit import NOTHING_NOTED, Notes
from tranship.connectors.keys import from_typed
from tranship.connectors.memory import MemoryProgress, MemorySchema, MemorySource, MemoryStore, MemoryTarget
from tranship.connectors.pages import PAGE_BYTES
from tranship.connectors.protocols import ChunkMark, DirtyKey, Key, LaneMark, Position, Span
from tranship.orchestrator.dataplane.applier import Applier
from tranship.orchestrator.dataplane.exclusive import TRIES
from tranship.orchestrator.dataplane.gate import Gate
from tranship.orchestrator.pulse import Pulse
from tranship.plans.streams import Column, LogicalType, Stream

RUN = "small-1"
STREAM = Stream(
    "things",
    "things",
    "things",
    (Column("_id", ("_id",), LogicalType.INT64, "int64"),),
    (Column("name", ("name",), LogicalType.TEXT, "text", unique=True),),
)


class Refusing(MemoryTarget):
    """A target that refuses a number of batches, and can name neither claimant nor owner."""

    refusals = 0
    tried: list[int]

    def replace(
        self,
        stream: Stream,
        dirty: Sequence[DirtyKey],
        batch: Batch,
        marks: Sequence[LaneMark],
        before: Notes = NOTHING_NOTED,
    ) -> int:
        self.tried.append(len(dirty))
        if len(self.tried) <= self.refusals:
            raise UniqueConflictError("twice", stream=stream.name, constraint="c", claimants=(), owners=())
        return super().replace(stream, dirty, batch, marks, before)


class Patient:
    """A clock on which waiting takes no time."""

    def now(self) -> float:
        return 0.0

    def sleep(self, seconds: float) -> None:
        """At once."""

    def wait(self, pulse: Pulse, seen: int, seconds: float) -> None:
        """At once."""


class Large(MemorySource):
    """A source whose documents have half a page each."""

    def read_keys(self, stream: Stream, keys: Sequence[Key], after: Position) -> Batch:
        batch = super().read_keys(stream, keys, after)
        return replace(batch, size=len(keys) * PAGE_BYTES // 2)


def applier_of(refusals: int, documents: int = 3) -> tuple[Applier, Refusing, MemoryStore]:
    """An applier that has new documents to apply in lane 0."""
    store = MemoryStore()
    store.take_over(RUN)
    scope = scope_of(store, RUN)
    MemorySchema(store).create_tables(scope, [STREAM])
    progress, source, target = MemoryProgress(store), MemorySource(store), Refusing(store, scope)
    target.refusals, target.tried = refusals, []
    progress.start_capture(scope, Position(b""), 1)
    progress.plan_chunks(scope, STREAM, [Span(None, None)])
    mark = progress.begin_chunk(scope, progress.chunks(scope, STREAM)[0])
    assert isinstance(mark, ChunkMark)
    target.load(STREAM, [], mark)
    for number in range(documents):
        row = {KEY: from_typed(LogicalType.INT64, number), "_id": number, "name": f"n{number}", RESIDUE: None}
        store.documents.put(STREAM.name, row)
    progress.start_capture(scope, source.position(), 1)
    progress.mark_dirty(scope, [(STREAM.name, from_typed(LogicalType.INT64, number)) for number in range(documents)])
    return Applier(source, target, progress, scope, {STREAM.name: STREAM}, Gate(), Patient()), target, store


def test_a_conflict_that_nobody_can_name_is_tried_with_the_whole_batch() -> None:
    applier, target, store = applier_of(refusals=2)
    assert applier.step(0) == 3
    assert target.tried == [3, 3, 3]
    assert len(store.state.table(STREAM)) == 3
    assert applier.step(0) == 0


def test_a_conflict_that_nobody_can_name_ends() -> None:
    applier, target, _ = applier_of(refusals=10**6)
    with pytest.raises(UniqueConflictError):
        applier.step(0)
    assert target.tried == [3] * (2 + TRIES)


def test_of_large_documents_fewer_are_read_at_once() -> None:
    applier, target, store = applier_of(refusals=0, documents=11)
    applier = replace(applier, source=Large(store))
    while applier.step(0):
        pass
    assert target.tried == [4, 2, 2, 2, 1]
    assert len(store.state.table(STREAM)) == 11
