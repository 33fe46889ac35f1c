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
from tranship.connectors.protocols import BatchSource, BatchTarget, Progress, Scope
from tranship.orchestrator.clock import Clock
from tranship.orchestrator.dataplane import fitting
from tranship.orchestrator.dataplane.exclusive import Exclusive
from tranship.orchestrator.dataplane.fitting import Taken
from tranship.orchestrator.dataplane.gate import Gate
from tranship.orchestrator.dataplane.positions import durable
from tranship.plans.streams import Stream

log = structlog.get_logger(__name__)

MOST_KEYS = 500
"""Of one batch."""


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
        return fitting.replace(self.source, self.target, taken, batch)

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
            exclusive = Exclusive(self.source, self.target, self.progress, self.scope, self.clock)
            with self.gate.exclusive():
                exclusive.apply(taken, conflict)
        return len(taken.dirty) if taken else 1
