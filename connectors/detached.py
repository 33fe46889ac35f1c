"""A target that keeps its own marks and a ledger elsewhere, as one target and its progress.

**Order.** The target's mark is the one that counts: rows and mark first, then the ledger settles under its copy. A
crash between the two leaves keys dirty or a chunk pending, and they are applied again. Before anything is taken, the
ledger's copies catch up with the target's marks (`adopt`), so that what was to be settled of an earlier batch comes too
late: by generations alone it could remove an entry that was made anew since.

**Seal.** The target's marks first, then the ledger looks whether all is settled: what was on its way is refused by
then, or has left its keys dirty.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

import pyarrow as pa

from tranship.connectors.batch import Batch, Quarantined
from tranship.connectors.counting import Counted
from tranship.connectors.errors import MarkMovedError, UnsettledError
from tranship.connectors.fit import NOTHING_NOTED, Notes
from tranship.connectors.protocols import (
    BatchTarget,
    Chunk,
    ChunkMark,
    DirtyKey,
    Key,
    LaneMark,
    Loaded,
    Opening,
    Position,
    Progress,
    RecordStore,
    Scope,
    Span,
)
from tranship.connectors.protocols.detached import Ledger, MarkedTarget
from tranship.connectors.protocols.routing import moved
from tranship.plans.streams import Stream


class DetachedTarget:
    """`BatchTarget`. `hook` is called between the two commits (`settle.before_commit`) and after both."""

    def __init__(self, target: MarkedTarget, ledger: Ledger, scope: Scope, hook: Callable[[str], None]) -> None:
        self._target = target
        self._ledger = ledger
        self._scope = scope
        self._hook = hook

    def load(self, stream: Stream, batches: Iterable[Batch], mark: ChunkMark) -> Loaded:
        counted = Counted(stream)
        loaded = self._target.load(stream, self._span(stream, mark), counted.passing(batches), mark)
        loaded = replace(loaded, quarantined=len(counted.quarantined))
        self._hook("settle.before_commit")
        self._ledger.settle_chunk(stream, mark, loaded, counted)
        self._hook("load.after_commit")
        return loaded

    def replace(
        self,
        stream: Stream,
        dirty: Sequence[DirtyKey],
        batch: Batch,
        marks: Sequence[LaneMark],
        before: Notes = NOTHING_NOTED,
    ) -> int:
        held = self._target.replace(stream, [entry.key for entry in dirty], batch.rows, marks)
        self._hook("settle.before_commit")
        removed = self._ledger.settle(stream, dirty, batch, marks, before=before, held=held)
        self._hook("replace.after_commit")
        return removed

    def refused(self, stream: Stream, batch: Batch) -> dict[Key, str]:
        return self._target.refused(stream, batch)

    def read(self, stream: Stream, span: Span) -> Iterator[Batch]:
        entries = _Ahead(self._ledger.entries(self._scope, stream, span))
        for batch in self._target.read(stream, span):
            yield replace(batch, quarantined=entries.up_to(batch.keys[-1])) if batch.keys else batch
        rest = entries.up_to(None)
        if rest:
            yield replace(self._target.read_keys(stream, []), quarantined=rest)

    def read_keys(self, stream: Stream, keys: Sequence[Key]) -> Batch:
        entries = self._ledger.entries_of(self._scope, stream, keys)
        return replace(self._target.read_keys(stream, keys), quarantined=tuple(entries))

    def with_residue(self, stream: Stream, keys: Sequence[Key]) -> pa.RecordBatch:
        return self._target.with_residue(stream, keys)

    def some_with_residue(self, stream: Stream, limit: int) -> pa.RecordBatch:
        return self._target.some_with_residue(stream, limit)

    def close(self) -> None:
        try:
            self._target.close()
        finally:
            self._ledger.close()

    def _span(self, stream: Stream, mark: ChunkMark) -> Span:
        for chunk in self._ledger.chunks(mark.scope, stream):
            if chunk.number == mark.chunk:
                return chunk.span
        raise MarkMovedError(f"chunk {mark.chunk} of {mark.stream} is not planned any more")


class _Ahead:
    """Quarantine entries in key order, handed out as far as the rows have come."""

    def __init__(self, entries: Iterator[Quarantined]) -> None:
        self._entries = entries
        self._next = next(entries, None)

    def up_to(self, key: Key | None) -> tuple[Quarantined, ...]:
        """Those up to a key; None: all that are left."""
        found = []
        while self._next is not None and (key is None or self._next.key <= key):
            found.append(self._next)
            self._next = next(self._entries, None)
        return tuple(found)


class _DetachedProgress:
    """The calls of `Progress` that concern both; all others are the ledger's."""

    def __init__(self, target: MarkedTarget, ledger: Ledger) -> None:
        self._target = target
        self._ledger = ledger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    def start_capture(self, scope: Scope, position: Position, lanes: int) -> Position:
        durable = self._ledger.start_capture(scope, position, lanes)
        self._meet(scope)
        return durable

    def stop_capture(self, scope: Scope) -> None:
        # The marks first: a batch that is on its way must find neither its lane nor somebody to settle it.
        self._meet(scope)
        self._target.forget(scope)
        self._ledger.stop_capture(scope)

    def begin_chunk(self, scope: Scope, chunk: Chunk) -> ChunkMark | None:
        self._meet(scope, ())
        mark = self._ledger.begin_chunk(scope, chunk)  # the number first: it must be one that no attempt ever had
        if mark is not None:
            self._target.begin(mark)
        return mark

    def forget_chunks(self, scope: Scope, streams: Sequence[Stream]) -> None:
        # The ledger first: rows that nobody knows of are deleted when this is done again, but chunks that are called
        # loaded and are empty would be taken for data.
        self._ledger.forget_chunks(scope, streams)
        self._meet(scope)
        self._target.empty(scope, streams)
        self._meet(scope)

    def take(self, scope: Scope, lane: int, limit: int) -> tuple[LaneMark, list[DirtyKey]]:
        self._meet(scope, (lane,))
        return self._ledger.take(scope, lane, limit)

    def lane_marks(self, scope: Scope) -> list[LaneMark]:
        self._meet(scope)
        return self._ledger.lane_marks(scope)

    @property
    def records(self) -> RecordStore:
        return self._target.records

    def seal(self, scope: Scope, most_divergences: int, opening: Opening | None = None) -> None:
        self._meet(scope)
        self._target.seal(scope)
        self._meet(scope)
        try:
            self._ledger.seal(scope, most_divergences)
        except UnsettledError:
            self._target.unseal(scope)
            raise
        # Last, being on a server of its own: a target that is ready and not sealed could be opened (`rules.md` J7).
        if opening is not None:
            records = self._target.records
            swapped = records.swap(opening.id, opening.before, opening.after)
            if not swapped and records.read(opening.id) != opening.after:
                raise MarkMovedError(moved(opening))

    def unseal(self, scope: Scope) -> None:
        self._meet(scope)
        self._ledger.unseal(scope)
        self._target.unseal(scope)
        self._meet(scope)

    def close(self) -> None:
        try:
            self._target.close()
        finally:
            self._ledger.close()

    def _meet(self, scope: Scope, lanes: Container[int] | None = None) -> None:
        """Take the target's marks over, and let the ledger's copies of these lanes catch up with them. Not those of a
        lane that may be between its two commits: what it is about to settle would come too late."""
        known = self._ledger.lane_marks(scope)
        marks = self._target.claim(scope, known)
        behind = [mark for mark in marks if mark not in known and (lanes is None or mark.lane in lanes)]
        if behind:
            self._ledger.adopt(scope, behind)


def detached_progress(target: MarkedTarget, ledger: Ledger) -> Progress:
    """The progress of a target that keeps its own marks. Of `target` it calls only what concerns marks."""
    return cast(Progress, _DetachedProgress(target, ledger))


def _is_target(target: DetachedTarget) -> BatchTarget:
    return target
