"""An empty target that keeps its own marks, and its ledger in another store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.conformance.target_world import Hook
from tranship.connectors.detached import DetachedTarget, detached_progress
from tranship.connectors.memory import Fate, MemoryLedger, MemoryMarkedTarget, MemorySchema, MemoryStore
from tranship.connectors.memory.reader import no_hook
from tranship.connectors.protocols import READING, Feed, Progress, Scope


class DetachedWorld:
    """The memory pair whose two halves share no transaction."""

    def __init__(self) -> None:
        self.rows = MemoryStore("rows")
        self.ledger = MemoryStore("ledger")

    def take_over(self, run: str) -> int:
        epoch = self.ledger.take_over(run)
        scope = Scope(run, Feed.FORWARD, epoch)
        MemoryMarkedTarget(self.rows, scope).claim(scope, [])
        return epoch

    def target(self, scope: Scope, hook: Hook | None = None) -> DetachedTarget:
        called = hook or no_hook
        marked = MemoryMarkedTarget(self.rows, scope, called)
        return DetachedTarget(marked, MemoryLedger(self.ledger, called), scope, called)

    def progress(self, hook: Hook | None = None) -> Progress:
        called = hook or no_hook
        marked = MemoryMarkedTarget(self.rows, Scope("", Feed.FORWARD, READING), called)
        return detached_progress(marked, MemoryLedger(self.ledger, called))

    def schema(self) -> MemorySchema:
        return MemorySchema(self.rows)

    @contextmanager
    def fated(self, name: str, fate: Fate) -> Iterator[None]:
        """For the length of the block this call's next COMMIT, of whichever half, meets its fate."""
        left = [fate]

        def decide(transaction: str) -> Fate:
            return left.pop() if left and transaction == name else Fate.APPLY

        self.rows.fate = self.ledger.fate = decide
        try:
            yield
        finally:
            self.rows.fate = self.ledger.fate = lambda _name: Fate.APPLY
        assert not left, f"{name} was never called"

    def land(self) -> list[Exception | None]:
        """Let every COMMIT that is on its way arrive; returns why each was refused, None where it was applied."""
        return [store.land(store.postponed[0]) for store in (self.rows, self.ledger) for _ in list(store.postponed)]
