"""The exclusive lane: rows that hold unique values of each other are written in one batch (`rules.md` C5).

A value moves from one document to another in two writes; either row may be replaced first. With all rows involved in
one batch every value is freed before any is set. Which rows are involved is found step by step: each conflict names
the rows that hold what the batch claims, and those come in, too; when that takes long, all that is dirty comes in.
What ends this is a value that the same documents hold again and again: then the source itself holds it twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import structlog

from tranship.connectors.batch import Batch, combined
from tranship.connectors.errors import AmbiguousCommitError, MarkMovedError, TiedError, UniqueConflictError
from tranship.connectors.protocols import BatchSource, BatchTarget, DirtyKey, Key, LaneMark, Position, Progress, Scope
from tranship.orchestrator.clock import Clock
from tranship.orchestrator.dataplane import fitting
from tranship.orchestrator.dataplane.fitting import Taken
from tranship.orchestrator.dataplane.positions import durable
from tranship.plans.streams import Stream

log = structlog.get_logger(__name__)

TRIES = 8
"""How often rows that hold a value twice are read anew before the source is believed."""

ROUNDS = 200
"""After so many batches that were refused the lanes go on; documents that never rest are met again."""

PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0

NAMED_ONLY = 3
"""So often only the rows that a conflict names come in. Of a value that was passed on through thousands of documents
each conflict may name the next one only."""

PAGE_KEYS = 200
"""Some servers stall over thousands of ids in one query."""

MOST_DIRTY, DIRTY_BYTES = 5_000, 16 << 20
"""Of what is dirty so much comes in at most."""

TIED_BYTES = 64 << 20
"""The documents whose values hang together are held in memory, and written in one transaction."""


@dataclass(frozen=True)
class Exclusive:
    """Applies rows that are tied to each other. Only to be used while no other lane of the process runs."""

    source: BatchSource
    target: BatchTarget
    progress: Progress
    scope: Scope
    clock: Clock

    def apply(self, taken: Taken, conflict: UniqueConflictError) -> None:
        """Apply the rows that claim a value together with those that hold it; other taken keys may stay dirty.

        Raises `UniqueConflictError` when the source itself holds a value twice, and `TiedError` when more documents
        hang together than fit into memory.
        """
        # Nobody is named when the value was given up before anyone could look; then all of the batch is tried here, so
        # that a conflict which nobody can name ends too, and is not met at each step for ever.
        keys = _named(conflict) or {entry.key for entry in taken.dirty}
        before: set[Key] = set()
        grown = same = 0
        for _ in range(ROUNDS):
            try:
                self._try(taken.stream, keys, conflict, wide=grown >= NAMED_ONLY)
            except TiedError:
                raise
            except UniqueConflictError as again:
                conflict, named = again, _named(again)
                if named - keys:
                    grown += 1
                else:
                    # All holders are in the batch, so two of them were read at different moments: read again.
                    same = same + 1 if named & before or not named else 1
                    if same > TRIES:
                        raise
                    self.clock.sleep(min(PAUSE_S * 2**same, LONGEST_PAUSE_S))
                keys |= named
                before = named
            except (MarkMovedError, AmbiguousCommitError):
                return  # something of ours landed late: the next step takes everything anew
            else:
                return
        log.warning("documents pass unique values faster than they are read; the lanes go on", keys=len(keys))

    def _try(self, stream: Stream, keys: set[Key], conflict: UniqueConflictError, *, wide: bool) -> None:
        marks, known = self._note(stream, MOST_DIRTY if wide else len(keys))
        after = durable(self.progress, self.scope)
        batches = list(self._read(stream, sorted(keys), after, conflict))
        taken = list(keys)
        if wide:
            for page, batch in self._more(stream, [key for key in known if key not in keys][:MOST_DIRTY], after):
                taken += page
                batches.append(batch)
        # Generation 0 never equals a real one: an owner's own dirty entry, if it has one, stays and is applied later.
        dirty = [known.get(key) or DirtyKey(stream.name, key, 0) for key in sorted(taken)]
        group = Taken(stream, tuple(dirty), tuple(marks), after)
        fitting.replace(self.source, self.target, group, combined(batches))
        log.info("applied in the exclusive lane", keys=len(dirty))

    def _note(self, stream: Stream, most: int) -> tuple[list[LaneMark], dict[Key, DirtyKey]]:
        """All lanes' marks, and what is dirty in the stream: noted before the source is read."""
        marks, known = [], dict[Key, DirtyKey]()
        for lane in [mark.lane for mark in self.progress.lane_marks(self.scope)]:
            mark, dirty = self.progress.take(self.scope, lane, most)
            marks.append(mark)
            known |= {entry.key: entry for entry in dirty if entry.stream == stream.name}
        return marks, known

    def _read(
        self, stream: Stream, keys: Sequence[Key], after: Position, conflict: UniqueConflictError
    ) -> Iterator[Batch]:
        size = 0
        for page in _pages(keys):
            batch = self.source.read_keys(stream, page, after)
            size += batch.size
            if size > TIED_BYTES:
                raise TiedError(
                    f"stream {stream.name}: {len(keys)} documents hold values of each other that "
                    f"{conflict.constraint} allows once, and together they are larger than {TIED_BYTES >> 20} MiB. "
                    "Nothing of them was applied. Take `unique` out of the plan, or let them come to rest",
                    stream=stream.name,
                    constraint=conflict.constraint,
                    columns=conflict.columns,
                    claimants=tuple(keys),
                )
            yield batch

    def _more(self, stream: Stream, keys: Sequence[Key], after: Position) -> Iterator[tuple[Sequence[Key], Batch]]:
        size = 0
        for page in _pages(keys):
            if size > DIRTY_BYTES:
                return
            batch = self.source.read_keys(stream, page, after)
            size += batch.size
            yield page, batch


def _pages(keys: Sequence[Key]) -> Iterator[Sequence[Key]]:
    return (keys[start : start + PAGE_KEYS] for start in range(0, len(keys), PAGE_KEYS))


def _named(conflict: UniqueConflictError) -> set[Key]:
    return {*conflict.claimants, *conflict.owners}
