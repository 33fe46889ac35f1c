"""The memory target: writes and reads rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import pyarrow as pa

from tranship.connectors.batch import KEY, Batch, Quarantined
from tranship.connectors.counting import Counted
from tranship.connectors.errors import MarkMovedError
from tranship.connectors.fit import NOTHING_NOTED, Notes
from tranship.connectors.memory.rows import Row, child_rows, has_residue, holds, make_batch
from tranship.connectors.memory.state import FeedProgress, TargetState
from tranship.connectors.memory.store import MemoryStore
from tranship.connectors.protocols import BatchTarget, ChunkMark, DirtyKey, Key, LaneMark, Loaded, Scope, Span
from tranship.connectors.protocols.detached import MarkedTarget
from tranship.plans.streams import Stream

BATCH_ROWS = 1000

Hook = Callable[[str], None]


def no_hook(_name: str) -> None:
    """Nothing happens at a crash site."""


class _Rows:
    """Reads the rows of a `MemoryStore`."""

    def __init__(self, store: MemoryStore, scope: Scope, hook: Hook = no_hook) -> None:
        self._store = store
        self._scope = scope
        self._hook = hook

    def refused(self, stream: Stream, batch: Batch) -> dict[Key, str]:  # noqa: ARG002
        """It holds every row."""
        return {}

    def read(self, stream: Stream, span: Span) -> Iterator[Batch]:
        rows = self._store.state.table(stream)
        keys = sorted(key for key in rows if holds(span, key))
        entries = [entry for entry in self._aside(stream) if holds(span, entry.key)]
        for start in range(0, len(keys), BATCH_ROWS):
            page = keys[start : start + BATCH_ROWS]
            yield make_batch(stream, [rows[key] for key in page], [e for e in entries if e.key <= page[-1]])
            entries = [entry for entry in entries if entry.key > page[-1]]
        if entries:
            yield make_batch(stream, [], entries)

    def read_keys(self, stream: Stream, keys: Sequence[Key]) -> Batch:
        rows = self._store.state.table(stream)
        wanted = set(keys)
        entries = [entry for entry in self._aside(stream) if entry.key in wanted]
        return make_batch(stream, [rows[key] for key in sorted(wanted) if key in rows], entries)

    def with_residue(self, stream: Stream, keys: Sequence[Key]) -> pa.RecordBatch:
        rows = self._store.state.table(stream)
        return make_batch(stream, [rows[k] for k in sorted(set(keys)) if k in rows and has_residue(rows[k])]).rows

    def some_with_residue(self, stream: Stream, limit: int) -> pa.RecordBatch:
        return self.with_residue(stream, list(self._store.state.table(stream))).slice(0, limit)

    def _aside(self, stream: Stream) -> list[Quarantined]:  # noqa: ARG002
        """What is kept aside in the same place."""
        return []

    def close(self) -> None:
        """Nothing to release; the store lives on."""

    def _reach(self, call: str, *sites: str) -> None:
        """A transaction is sent as a whole, so all sites before COMMIT come before any of its statements."""
        for site in sites:
            self._hook(f"{call}.{site}")


class MemoryTarget(_Rows):
    """`BatchTarget` over a `MemoryStore`. `hook` is called with the name of each crash site that is reached."""

    def load(self, stream: Stream, batches: Iterable[Batch], mark: ChunkMark) -> Loaded:
        counted = Counted(stream)
        rows = _rows(counted.passing(batches))
        loaded = _loaded(stream, rows, counted)

        def work(state: TargetState) -> Loaded:
            kept = state.feed(mark.scope)
            kept.swap_chunk(mark, loaded.rows, loaded.quarantined)
            state.insert(stream, rows)
            kept.hold_loaded(counted)
            return loaded

        self._reach("load", "before_mark", "before_epoch", "before_commit")
        self._store.transact("load", mark.scope, work)
        self._reach("load", "after_commit")
        return loaded

    def replace(
        self,
        stream: Stream,
        dirty: Sequence[DirtyKey],
        batch: Batch,
        marks: Sequence[LaneMark],
        before: Notes = NOTHING_NOTED,  # noqa: ARG002  it knows the notes of each key
    ) -> int:
        scope = marks[0].scope

        def work(state: TargetState) -> int:
            kept = state.feed(scope)
            kept.swap_lanes(marks)
            if not all(kept.is_loaded((stream.name, entry.key)) for entry in dirty):
                raise MarkMovedError(f"stream {stream.name}: a chunk of the keys is not loaded any more")
            _put(state, stream, [entry.key for entry in dirty], batch.rows)
            return kept.settle_batch(stream, dirty, batch, self._store.clock())

        self._reach("replace", "before_delete", "before_mark", "before_epoch", "before_commit")
        removed = self._store.transact("replace", scope, work)
        self._reach("replace", "after_commit")
        return removed

    def _aside(self, stream: Stream) -> list[Quarantined]:
        kept = self._store.state.feeds.get((self._scope.run, self._scope.feed))
        return kept.aside(stream.name) if kept is not None else []


class MemoryMarkedTarget(_Rows):
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
        rows = _rows(batches)

        def work(state: TargetState) -> None:
            state.feed(mark.scope).end_attempt(mark)
            state.delete(stream, [key for key in state.table(stream) if holds(span, key)])
            state.insert(stream, rows)

        self._reach("load", "before_mark", "before_epoch", "before_commit")
        self._store.transact("load", mark.scope, work)
        return _loaded(stream, rows)

    def replace(
        self, stream: Stream, keys: Sequence[Key], rows: pa.RecordBatch, marks: Sequence[LaneMark]
    ) -> Mapping[Key, str]:
        scope = marks[0].scope

        def work(state: TargetState) -> None:
            state.feed(scope).swap_lanes(marks)
            _put(state, stream, keys, rows)

        self._reach("replace", "before_delete", "before_mark", "before_epoch", "before_commit")
        self._store.transact("replace", scope, work)
        return {}

    def empty(self, scope: Scope, streams: Sequence[Stream]) -> None:
        def work(state: TargetState) -> None:
            for stream in streams:
                state.empty(scope, stream)
            state.feed(scope).forget_attempts({stream.name for stream in streams})

        self._store.transact("empty", scope, work)

    def seal(self, scope: Scope) -> None:
        self._reach("seal", "before_commit")
        self._store.transact("seal", scope, lambda state: state.feed(scope).seal())

    def unseal(self, scope: Scope) -> None:
        self._store.transact("unseal", scope, lambda state: state.feed(scope).unseal())

    def forget(self, scope: Scope) -> None:
        self._store.transact("forget", scope, lambda state: state.feeds.pop((scope.run, scope.feed), None))


def _rows(batches: Iterable[Batch]) -> list[Row]:
    return [row for batch in batches for row in batch.rows.to_pylist()]


def _loaded(stream: Stream, rows: Sequence[Row], counted: Counted | None = None) -> Loaded:
    children = sum(child_rows(stream.children, row) for row in rows)
    return Loaded(len(rows), children, len(counted.quarantined) if counted else 0)


def _put(state: TargetState, stream: Stream, keys: Iterable[Key], batch: pa.RecordBatch) -> None:
    rows: list[Row] = batch.to_pylist()
    # A row that stays is not deleted for a moment: what others hang on it would go with it (`rules.md` C4).
    state.delete(stream, set(keys) - {row[KEY] for row in rows})
    state.put(stream, rows)


def _implements(target: MemoryTarget, marked: MemoryMarkedTarget) -> tuple[BatchTarget, MarkedTarget]:
    return target, marked
