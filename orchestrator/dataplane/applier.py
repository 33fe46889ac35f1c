"""Catch-up of one lane: take dirty keys → `source.read_keys` → `target.replace`.

The order is the protocol: the lane's mark and the keys' generations are noted *first*, then the source is read after
the durable position, then rows, dirty entries and mark change in one transaction. A key that changes in between has
another generation by then and stays dirty; a second applier or a late duplicate finds the mark moved.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog

from tranship.connectors.batch import Batch
from tranship.connectors.errors import AmbiguousCommitError, MarkMovedError, UniqueConflictError
from tranship.connectors.pages import PageSize
from tranship.connectors.protocols import BatchSource, BatchTarget, DirtyKey, LaneMark, Position, Progress, Scope
from tranship.orchestrator.clock import Clock
from tranship.orchestrator.dataplane.gate import Gate
from tranship.orchestrator.dataplane.positions import durable
from tranship.plans.streams import Stream

log = structlog.get_logger(__name__)

MOST_KEYS = 500
EXCLUSIVE_TRIES = 40
"""Values that pass along a chain of documents add one owner a try; a source that really holds duplicates never ends."""
EXCLUSIVE_PAUSE_S = 0.05


@dataclass(frozen=True)
class Taken:
    """Dirty keys of one stream in one lane, with what was noted before the source is read."""

    stream: Stream
    dirty: tuple[DirtyKey, ...]
    marks: tuple[LaneMark, ...]
    after: Position


@dataclass(frozen=True)
class Applier:
    """Applies the dirty keys of lanes. One object per thread; the objects of one process share the gate."""

    source: BatchSource
    target: BatchTarget
    progress: Progress
    scope: Scope
    streams: Mapping[str, Stream]
    gate: Gate
    clock: Clock
    page: PageSize = field(default_factory=lambda: PageSize(MOST_KEYS))

    def take(self, lane: int) -> Taken | None:
        """Note mark, generations and position; None when the lane has nothing that may be applied."""
        mark, dirty = self.progress.take(self.scope, lane, self.page.items)
        if not dirty:
            return None
        return Taken(self.streams[dirty[0].stream], tuple(dirty), (mark,), durable(self.progress, self.scope))

    def read(self, taken: Taken) -> Batch:
        """The current documents of the taken keys."""
        batch = self.source.read_keys(taken.stream, [d.key for d in taken.dirty], taken.after)
        self.page.learn(len(taken.dirty), batch.size)
        return batch

    def replace(self, taken: Taken, batch: Batch) -> int:
        """Make the taken keys equal to the batch; returns how many are clean now."""
        return self.target.replace(taken.stream, taken.dirty, batch, taken.marks)

    def step(self, lane: int) -> int:
        """Apply one batch of a lane. Returns how many keys were taken: 0 means that the lane is empty.

        After a lost or moved mark nothing is assumed: the next step takes the lane's mark and keys anew. Raises
        `UniqueConflictError` when the source itself holds a value twice that the plan calls unique.
        """
        taken = None
        try:
            with self.gate.shared():
                taken = self.take(lane)
                if taken is None:
                    return 0
                self.replace(taken, self.read(taken))
        except (MarkMovedError, AmbiguousCommitError) as error:
            log.info("lane is taken anew", lane=lane, error=type(error).__name__)
        except UniqueConflictError as conflict:
            if taken is None:
                raise
            self._apply_exclusively(taken, conflict)
        return len(taken.dirty) if taken else 1

    def _apply_exclusively(self, taken: Taken, conflict: UniqueConflictError) -> None:
        """Apply the rows that claim a value together with those that hold it, while no other lane runs (`rules.md` C5).

        A value moves from one document to another in two writes; either row may be replaced first. With all keys
        involved in one batch, each is deleted before any is inserted. The rest of the taken keys stays dirty.
        """
        # Nobody is named when the value was given up before anyone could look; then all of the batch is tried here, so
        # that a conflict which nobody can name ends too, and is not met at each step for ever.
        keys = {*conflict.claimants, *conflict.owners} or {entry.key for entry in taken.dirty}
        with self.gate.exclusive():
            for attempt in range(EXCLUSIVE_TRIES):
                group = self._group(taken, keys)
                try:
                    self.replace(group, self.read(group))
                except UniqueConflictError as again:
                    conflict = again
                    if not {*again.claimants, *again.owners} - keys:
                        # All holders are in the group, so two of them were read at different moments: read again.
                        self.clock.sleep(min(EXCLUSIVE_PAUSE_S * 2**attempt, 1.0))
                    keys |= {*again.claimants, *again.owners}
                except (MarkMovedError, AmbiguousCommitError):
                    return  # something of ours landed late: the next step takes everything anew
                else:
                    log.info("applied in the exclusive lane", keys=len(group.dirty), tries=attempt + 1)
                    return
        raise conflict

    def _group(self, taken: Taken, keys: set[bytes]) -> Taken:
        # Generation 0 never equals a real one: an owner's own dirty entry, if it has one, stays and is applied later.
        marks = tuple(self.progress.lane_marks(self.scope))
        known = {entry.key: entry for entry in taken.dirty}
        dirty = tuple(known.get(key) or DirtyKey(taken.stream.name, key, 0) for key in sorted(keys))
        return Taken(taken.stream, dirty, marks, durable(self.progress, self.scope))
