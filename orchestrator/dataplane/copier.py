"""Backfill of one chunk: `source.read(span)` → `target.load`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tranship.connectors.batch import Batch
from tranship.connectors.protocols import BatchSource, BatchTarget, Chunk, ChunkMark, Loaded, Position, Progress, Scope
from tranship.orchestrator.dataplane import fitting
from tranship.orchestrator.dataplane.positions import durable
from tranship.orchestrator.failpoints import reached
from tranship.plans.streams import Stream


@dataclass(frozen=True)
class CopyTask:
    """One attempt at one chunk. `after` is a durable capture position: what is read is at least as new."""

    stream: Stream
    chunk: Chunk
    mark: ChunkMark
    after: Position


def begin(progress: Progress, scope: Scope, stream: Stream, chunk: Chunk) -> CopyTask | None:
    """Start an attempt; None when the chunk is loaded already.

    The position is read anew for each attempt: a chunk that is read again is read after the *current* durable position,
    because dirty keys before it may have been applied and removed (`rules.md` I3).
    """
    mark = progress.begin_chunk(scope, chunk)
    if mark is None:
        return None
    return CopyTask(stream, chunk, mark, durable(progress, scope))


def read(source: BatchSource, task: CopyTask) -> Iterator[Batch]:
    """The chunk's current documents."""
    yield from source.read(task.stream, task.chunk.span, task.after)
    reached("chunk.after_read")


def load(target: BatchTarget, task: CopyTask, batches: Iterable[Batch]) -> Loaded:
    """Write the chunk, all of it or nothing. Raises `MarkMovedError` when another attempt took its place."""
    return target.load(task.stream, batches, task.mark)


def copy(source: BatchSource, target: BatchTarget, task: CopyTask) -> Loaded:
    """Read and load one chunk; batches stream through, so memory is bounded by a batch."""
    return fitting.load(
        source, target, task.stream, lambda: read(source, task), lambda batches: load(target, task, batches)
    )
