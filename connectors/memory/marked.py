"""The memory target that keeps its own marks, and nothing else of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa

from tranship.connectors.batch import Batch
from tranship.connectors.memory.feed import FeedProgress
from tranship.connectors.memory.reader import MemoryReader, loaded_of, put_rows, rows_of
from tranship.connectors.memory.routing import MemoryRecords
from tranship.connectors.memory.rows import holds
from tranship.connectors.memory.state import TargetState
from tranship.connectors.protocols import ChunkMark, Key, LaneMark, Loaded, Scope, Span
from tranship.connectors.protocols.detached import MarkedTarget
from tranship.plans.streams import Stream


class MemoryMarkedTarget(MemoryReader):
    """`MarkedTarget` over a `MemoryStore`: of a feed it keeps the marks, and no more. The store's epoch is the one that
    has claimed them."""

    def claim(self, scope: Scope, known: Sequence[LaneMark]) -> list[LaneMark]:
        state = self._store.state
        kept = state.feeds.get((scope.run, scope.feed), FeedProgress())
        epoch, marks = state.epochs.get(scope.run, 0), kept.lane_marks(scope)
        behind = len(marks) < len(known) or any(ours.seq < mark.seq for ours, mark in zip(marks, known, strict=False))
        if epoch == scope.epoch and not behind:
            return marks

        def work(state: TargetState) -> list[LaneMark]:
            state.claim_epoch(scope)
            kept = state.feed(scope)
            kept.catch_up(known)
            return kept.lane_marks(scope)

        self._reach("claim", "before_commit")
        return self._store.transact("claim", scope, work)

    def begin(self, mark: ChunkMark) -> None:
        self._reach("begin", "before_commit")
        self._store.transact("begin", mark.scope, lambda state: state.feed(mark.scope).begin_attempt(mark))

    def load(self, stream: Stream, span: Span, batches: Iterable[Batch], mark: ChunkMark) -> Loaded:
        rows = rows_of(batches)

        def work(state: TargetState) -> None:
            state.feed(mark.scope).end_attempt(mark)
            state.delete(stream, [key for key in state.table(stream) if holds(span, key)])
            state.insert(stream, rows)

        self._reach("load", "before_mark", "before_epoch", "before_commit")
        self._store.transact("load", mark.scope, work)
        return loaded_of(stream, rows)

    def replace(
        self, stream: Stream, keys: Sequence[Key], rows: pa.RecordBatch, marks: Sequence[LaneMark]
    ) -> Mapping[Key, str]:
        scope = marks[0].scope

        def work(state: TargetState) -> None:
            state.feed(scope).swap_lanes(marks)
            put_rows(state, stream, keys, rows)

        self._reach("replace", "before_delete", "before_mark", "before_epoch", "before_commit")
        self._store.transact("replace", scope, work)
        return {}

    def empty(self, scope: Scope, streams: Sequence[Stream]) -> None:
        def work(state: TargetState) -> None:
            for stream in streams:
                state.empty(scope, stream)
            state.feed(scope).forget_attempts({stream.name for stream in streams})

        self._store.transact("empty", scope, work)

    @property
    def records(self) -> MemoryRecords:
        return MemoryRecords(self._store.on_target, self._store.clock)

    def seal(self, scope: Scope) -> None:
        self._reach("seal", "before_commit")
        self._store.transact("seal", scope, lambda state: state.feed(scope).seal())

    def unseal(self, scope: Scope) -> None:
        self._store.transact("unseal", scope, lambda state: state.feed(scope).unseal())

    def forget(self, scope: Scope) -> None:
        self._store.transact("forget", scope, lambda state: state.feeds.pop((scope.run, scope.feed), None))


def _implements(target: MemoryMarkedTarget) -> MarkedTarget:
    return target
