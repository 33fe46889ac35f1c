"""The memory ledger: progress that stands alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tranship.connectors.batch import Batch, Quarantined
from tranship.connectors.counting import Counted
from tranship.connectors.fit import Notes
from tranship.connectors.memory.progress import MemoryProgress
from tranship.connectors.memory.rows import holds
from tranship.connectors.memory.state import TargetState
from tranship.connectors.protocols import ChunkMark, DirtyKey, Key, LaneMark, Loaded, Scope, Span
from tranship.connectors.protocols.detached import Ledger
from tranship.plans.streams import Stream


class MemoryLedger(MemoryProgress):
    """`Ledger` over a `MemoryStore` that has no rows."""

    def adopt(self, scope: Scope, marks: Sequence[LaneMark]) -> None:
        self._store.transact("adopt", scope, lambda state: state.feed(scope).catch_up(marks))

    def settle_chunk(self, stream: Stream, mark: ChunkMark, loaded: Loaded, counted: Counted) -> None:  # noqa: ARG002
        def work(state: TargetState) -> None:
            kept = state.feed(mark.scope)
            kept.swap_chunk(mark, loaded.rows, loaded.quarantined)
            kept.hold_loaded(counted)

        self._store.transact("settle_chunk", mark.scope, work)

    def settle(
        self,
        stream: Stream,
        dirty: Sequence[DirtyKey],
        batch: Batch,
        marks: Sequence[LaneMark],
        *,
        before: Notes,  # noqa: ARG002  it knows the notes of each key
        held: Mapping[Key, str],  # noqa: ARG002  nobody else is here
    ) -> int:
        scope = marks[0].scope

        def work(state: TargetState) -> int:
            kept = state.feed(scope)
            kept.swap_lanes(marks)
            return kept.settle_batch(stream, dirty, batch, self._store.clock())

        return self._store.transact("settle", scope, work)

    def entries(self, scope: Scope, stream: Stream, span: Span) -> Iterator[Quarantined]:
        yield from [entry for entry in self._kept(scope).aside(stream.name) if holds(span, entry.key)]

    def entries_of(self, scope: Scope, stream: Stream, keys: Sequence[Key]) -> list[Quarantined]:
        wanted = set(keys)
        return [entry for entry in self._kept(scope).aside(stream.name) if entry.key in wanted]


def _implements(ledger: MemoryLedger) -> Ledger:
    return ledger
