"""The memory connector: the common suites, and what only it can do."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conformance.batch_target_suite import BatchTargetSuite
from tests.conformance.fit_suite import FitSuite
from tests.conformance.progress_suite import ProgressSuite
from tests.conformance.routing_suite import Beat, Open, RoutingSuite
from tests.conformance.source_suite import OTHERS, THINGS, SourceSuite, key_of
from tests.conformance.target_schema_suite import TargetSchemaSuite
from tests.conformance.target_world import Hook
from tranship.connectors.batch import KEY, Quarantined
from tranship.connectors.errors import (
    AmbiguousCommitError,
    EpochMovedError,
    MarkMovedError,
    PositionLostError,
    TransientError,
)
from tranship.connectors.memory import (
    Fate,
    MemoryProgress,
    MemorySchema,
    MemorySource,
    MemoryStore,
    MemoryTarget,
)
from tranship.connectors.memory.reader import no_hook
from tranship.connectors.memory.routing import MemoryRecords
from tranship.connectors.protocols import ChunkMark, Feed, Position, Scope, Span
from tranship.plans.streams import Stream


def write(store: MemoryStore, stream: Stream, number: int, text: str) -> None:
    store.documents.put(stream.name, {KEY: key_of(number), "id": number, "text": text, "_residue": None})


class MemoryWorld:
    """Writes to the documents of one store."""

    def __init__(self) -> None:
        self.store = MemoryStore(history=1000)

    def connect(self) -> MemorySource:
        return MemorySource(self.store, batch_rows=7, idle_s=0.01)

    def insert(self, stream: Stream, number: int, text: str) -> None:
        write(self.store, stream, number, text)

    update = insert

    def delete(self, stream: Stream, number: int) -> None:
        self.store.documents.delete(stream.name, key_of(number))

    def lost_position(self) -> Position:
        position = self.connect().position()
        for n in range(1001):
            self.insert(OTHERS, n, "makes history roll over")
        return position


class TestMemorySource(SourceSuite):
    """The suite of all sources."""

    @pytest.fixture
    def world(self) -> MemoryWorld:
        return MemoryWorld()

    def test_a_document_that_fits_no_row_is_quarantined(self, world: MemoryWorld) -> None:
        entry = Quarantined(key_of(1), "text", "not a text", b"raw")
        world.store.documents.put_unmappable("things", entry)
        world.insert(THINGS, 2, "fits")
        (batch,) = world.connect().read(THINGS, Span(None, None), Position(b""))
        assert batch.quarantined == (entry,)
        assert batch.keys == [key_of(2)]

    def test_an_idle_source_advances_its_position(self, world: MemoryWorld) -> None:
        flow = world.connect().changes([THINGS], world.connect().position())
        positions = [next(flow).position for _ in range(3)]
        assert len(set(positions)) == 3

    def test_a_position_of_another_store_is_lost(self, world: MemoryWorld) -> None:
        elsewhere = MemoryWorld()
        elsewhere.insert(THINGS, 1, "elsewhere")
        assert world.connect().position() != elsewhere.connect().position()
        flow = world.connect().changes([THINGS], elsewhere.connect().position())
        with pytest.raises(PositionLostError):
            next(flow)


class MemoryTargetWorld:
    """An empty target in a store of its own."""

    def __init__(self) -> None:
        self.store = MemoryStore()

    def take_over(self, run: str) -> int:
        return self.store.take_over(run)

    def target(self, scope: Scope, hook: Hook | None = None) -> MemoryTarget:
        return MemoryTarget(self.store, scope, hook or no_hook)

    def progress(self, hook: Hook | None = None) -> MemoryProgress:
        return MemoryProgress(self.store, hook or no_hook)

    def schema(self) -> MemorySchema:
        return MemorySchema(self.store)


class _TargetWorldFixture:
    @pytest.fixture
    def world(self) -> MemoryTargetWorld:
        return MemoryTargetWorld()


class TestMemoryTarget(_TargetWorldFixture, BatchTargetSuite):
    """The suite of all batch targets."""


class TestMemoryFit(_TargetWorldFixture, FitSuite):
    """Counts of the memory target."""


class TestMemoryProgress(_TargetWorldFixture, ProgressSuite):
    """The suite of all keepers of progress."""


class TestMemorySchema(_TargetWorldFixture, TargetSchemaSuite):
    """The suite of all target schemas."""


class TestMemoryRecords(RoutingSuite):
    """The suite of all stores of routing records."""

    @pytest.fixture(params=["source", "target"])
    def records(self, request: pytest.FixtureRequest) -> MemoryRecords:
        store = MemoryStore()
        return MemorySource(store).records if request.param == "source" else MemoryProgress(store).records

    @pytest.fixture
    def open_records(self, records: MemoryRecords) -> Open:
        return lambda: records

    @pytest.fixture
    def beat(self, records: MemoryRecords) -> Beat:
        return records.beat

    @pytest.fixture
    def poll_ms(self, records: MemoryRecords) -> Callable[[], int | None]:
        def asked() -> int | None:
            poll_s = records.polls().get("1")
            return None if poll_s is None else round(poll_s * 1000)

        return asked


class TestFates:
    """What a COMMIT can meet with on its way."""

    @pytest.fixture
    def store(self) -> MemoryStore:
        store = MemoryStore()
        write(store, THINGS, 1, "one")
        return store

    @pytest.fixture
    def scope(self, store: MemoryStore) -> Scope:
        return Scope("run", Feed.FORWARD, store.take_over("run"))

    @pytest.fixture
    def mark(self, store: MemoryStore, scope: Scope) -> ChunkMark:
        MemorySchema(store).create_tables(scope, [THINGS])
        progress = MemoryProgress(store)
        progress.plan_chunks(scope, THINGS, [Span(None, None)])
        mark = progress.begin_chunk(scope, progress.chunks(scope, THINGS)[0])
        assert mark is not None
        return mark

    def load(self, store: MemoryStore, mark: ChunkMark, fate: Fate) -> None:
        batches = list(MemorySource(store).read(THINGS, Span(None, None), Position(b"")))
        store.fate = lambda _name: fate
        try:
            MemoryTarget(store, mark.scope).load(THINGS, batches, mark)
        finally:
            store.fate = lambda _name: Fate.APPLY

    def rows(self, store: MemoryStore) -> int:
        return MemorySchema(store).count(THINGS)

    def test_a_lost_transaction_leaves_nothing(self, store: MemoryStore, mark: ChunkMark) -> None:
        with pytest.raises(TransientError):
            self.load(store, mark, Fate.LOSE)
        assert self.rows(store) == 0
        self.load(store, mark, Fate.APPLY)
        assert self.rows(store) == 1

    def test_a_lost_acknowledgement_leaves_everything(self, store: MemoryStore, mark: ChunkMark) -> None:
        with pytest.raises(AmbiguousCommitError):
            self.load(store, mark, Fate.LOSE_ACKNOWLEDGEMENT)
        assert self.rows(store) == 1
        with pytest.raises(MarkMovedError):
            self.load(store, mark, Fate.APPLY)

    def test_a_postponed_commit_lands_when_told(self, store: MemoryStore, mark: ChunkMark) -> None:
        with pytest.raises(AmbiguousCommitError):
            self.load(store, mark, Fate.POSTPONE)
        assert self.rows(store) == 0
        assert store.land(store.postponed[0]) is None
        assert self.rows(store) == 1
        assert store.postponed == []

    def test_a_postponed_commit_is_refused_when_its_mark_has_moved(self, store: MemoryStore, mark: ChunkMark) -> None:
        with pytest.raises(AmbiguousCommitError):
            self.load(store, mark, Fate.POSTPONE)
        self.load(store, mark, Fate.APPLY)
        assert isinstance(store.land(store.postponed[0]), MarkMovedError)
        assert self.rows(store) == 1

    def test_a_postponed_commit_is_refused_after_a_takeover(self, store: MemoryStore, mark: ChunkMark) -> None:
        with pytest.raises(AmbiguousCommitError):
            self.load(store, mark, Fate.POSTPONE)
        store.take_over("run")
        assert isinstance(store.land(store.postponed[0]), EpochMovedError)
        assert self.rows(store) == 0
