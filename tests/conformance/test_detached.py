"""A target and a ledger that share no transaction: the suites of targets, and what becomes of the time between the two.

Of each pair of halves, in memory and on real servers. What each half holds is looked at in its store or by SQL, not
through the code under test.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from tests.conformance.batch_target_suite import BatchTargetSuite
from tests.conformance.detached_world import PAIRS, DetachedWorld, detached_world
from tests.conformance.fit_suite import FitSuite
from tests.conformance.migration_suite import Interrupted, interrupt_at
from tests.conformance.progress_suite import ProgressSuite
from tests.conformance.target_world import ORDERS, WHOLE, Migration, aside, batch, key, order
from tranship.connectors.batch import Batch
from tranship.connectors.errors import (
    AmbiguousCommitError,
    EpochMovedError,
    MarkMovedError,
    TransientError,
    UnsettledError,
)
from tranship.connectors.memory import Fate
from tranship.connectors.protocols import DirtyKey, Feed, LaneMark, Scope

BETWEEN = "settle.before_commit"


class _DetachedWorldFixture:
    @pytest.fixture(params=PAIRS)
    def world(self, request: pytest.FixtureRequest) -> Iterator[DetachedWorld]:
        with ExitStack() as stack:
            yield detached_world(request.param, request.getfixturevalue, stack)


class TestDetachedTarget(_DetachedWorldFixture, BatchTargetSuite):
    """The suite of all batch targets."""


class TestDetachedFit(_DetachedWorldFixture, FitSuite):
    """Counts."""


class TestDetachedProgress(_DetachedWorldFixture, ProgressSuite):
    """The suite of all keepers of progress."""


class _Between(_DetachedWorldFixture):
    @pytest.fixture
    def migration(self, world: DetachedWorld) -> Migration:
        return Migration(world)

    @staticmethod
    def held(world: DetachedWorld) -> dict[int, str]:
        """Status by number of the orders that the target holds."""
        return world.rows.held()

    @staticmethod
    def dirty(world: DetachedWorld, migration: Migration) -> set[bytes]:
        return world.ledger.dirty(migration.scope)

    @staticmethod
    def chunk(world: DetachedWorld, migration: Migration) -> tuple[str, int]:
        return world.ledger.chunk(migration.scope)

    @staticmethod
    def die_between(world: DetachedWorld, migration: Migration, applied: Batch) -> tuple[LaneMark, list[DirtyKey]]:
        """A process applies what is dirty, and dies when the rows are there and nothing is settled."""
        mark, dirty = migration.take_one()
        with pytest.raises(Interrupted):
            world.target(migration.scope, interrupt_at(BETWEEN)).replace(ORDERS, dirty, applied, [mark])
        return mark, dirty


class TestBetweenTheCommits(_Between):
    """A process that dies between rows and ledger."""

    def test_a_chunk_is_loaded_again(self, world: DetachedWorld, migration: Migration) -> None:
        (mark,) = migration.begin()
        with pytest.raises(Interrupted):
            world.target(migration.scope, interrupt_at(BETWEEN)).load(ORDERS, [batch([order(1), order(2)])], mark)
        assert set(self.held(world)) == {1, 2}
        assert self.chunk(world, migration) == ("pending", 0)
        # Meanwhile order 1 was deleted, which no dirty key tells of once the chunk is read after it.
        (again,) = migration.begin()
        migration.target.load(ORDERS, [batch([order(2)], quarantined=[aside(3)])], again)
        assert set(self.held(world)) == {2}
        assert self.chunk(world, migration) == ("loaded", 1)
        assert migration.aside() == [aside(3)]

    def test_a_batch_is_applied_again(self, world: DetachedWorld, migration: Migration) -> None:
        migration.load([order(1)])
        migration.change(1)
        mark, dirty = self.die_between(world, migration, batch([order(1, status="new")]))
        assert self.held(world) == {1: "new"}
        assert self.dirty(world, migration) == {key(1)}
        assert migration.progress.touched(migration.scope, ORDERS, None, 9) == []
        again, same = migration.take_one()
        assert (again, same) == (LaneMark(mark.scope, mark.lane, mark.seq + 1), dirty)
        assert migration.target.replace(ORDERS, same, batch([order(1, status="newer")]), [again]) == 1
        assert self.held(world) == {1: "newer"}
        assert self.dirty(world, migration) == set()

    def test_a_key_on_its_way_into_quarantine_arrives(self, world: DetachedWorld, migration: Migration) -> None:
        migration.load([order(1)])
        migration.change(1)
        self.die_between(world, migration, batch([], quarantined=[aside(1)]))
        assert (self.held(world), migration.aside()) == ({}, [])
        again, dirty = migration.take_one()
        migration.target.replace(ORDERS, dirty, batch([], quarantined=[aside(1)]), [again])
        assert (self.held(world), migration.aside()) == ({}, [aside(1)])

    def test_what_follows_in_the_lane_is_settled(self, world: DetachedWorld, migration: Migration) -> None:
        """The ledger's copy has caught up: a lane does not stand still after a crash."""
        migration.load([order(1)])
        for status in ("a", "b", "c"):
            migration.change(1)
            self.die_between(world, migration, batch([order(1, status=status)]))
        mark, dirty = migration.take_one()
        assert migration.target.replace(ORDERS, dirty, batch([order(1)]), [mark]) == 1

    def test_the_seal_finds_what_was_not_settled(self, world: DetachedWorld, migration: Migration) -> None:
        migration.load([order(1)])
        migration.change(1)
        self.die_between(world, migration, batch([order(1)]))
        with pytest.raises(UnsettledError):
            migration.progress.seal(migration.scope, 0)
        again, dirty = migration.take_one()
        assert migration.target.replace(ORDERS, dirty, batch([order(1)]), [again]) == 1, "and the lane goes on"

    def test_an_emptied_target_is_emptied_again(self, world: DetachedWorld, migration: Migration) -> None:
        migration.load([order(1)])
        with world.fated("empty", Fate.LOSE), pytest.raises(TransientError):
            migration.progress.forget_chunks(migration.scope, [ORDERS])
        assert set(self.held(world)) == {1}
        assert migration.progress.chunks(migration.scope, ORDERS) == []
        migration.progress.forget_chunks(migration.scope, [ORDERS])
        assert self.held(world) == {}
        migration.load([order(2)])
        assert set(self.held(world)) == {2}

    def test_a_half_seal_is_finished_or_taken_back(self, world: DetachedWorld, migration: Migration) -> None:
        migration.load([order(1)])
        with world.fated("seal", Fate.LOSE), pytest.raises(TransientError):  # the target's
            migration.progress.seal(migration.scope, 0)
        migration.progress.seal(migration.scope, 0)
        with world.fated("unseal", Fate.LOSE_ACKNOWLEDGEMENT), pytest.raises(AmbiguousCommitError):  # the ledger's
            migration.progress.unseal(migration.scope)
        assert world.rows.sealed(migration.scope)
        migration.progress.unseal(migration.scope)
        migration.change(1)
        mark, dirty = migration.take_one()
        assert migration.target.replace(ORDERS, dirty, batch([order(1)]), [mark]) == 1

    def test_a_takeover_between_the_halves(self, world: DetachedWorld, migration: Migration) -> None:
        """The epoch has moved in the ledger and not yet on the target: what commits there still is taken up."""
        migration.load([order(1)])
        migration.change(1)
        mark, dirty = migration.take_one()
        world.ledger.take_over(migration.scope.run)
        with pytest.raises(EpochMovedError):
            migration.target.replace(ORDERS, dirty, batch([order(1, status="by a zombie")]), [mark])
        assert self.held(world) == {1: "by a zombie"}
        heir = Migration(world)
        again, same = heir.take_one()
        assert (again.seq, same) == (mark.seq + 1, dirty)
        with pytest.raises(EpochMovedError):
            migration.target.replace(ORDERS, dirty, batch([]), [replace(again, scope=migration.scope)])
        assert heir.target.replace(ORDERS, same, batch([order(1)]), [again]) == 1


class TestLateCopies(_Between):
    """A COMMIT that was thought lost, and lands after it was made good."""

    def test_of_the_rows_of_a_chunk(self, world: DetachedWorld, migration: Migration) -> None:
        (mark,) = migration.begin()
        with world.fated("load", Fate.POSTPONE), pytest.raises(AmbiguousCommitError):
            migration.target.load(ORDERS, [batch([order(1)])], mark)
        (again,) = migration.begin()
        migration.target.load(ORDERS, [batch([order(2)])], again)
        assert [type(refusal) for refusal in world.land()] == [MarkMovedError]
        assert set(self.held(world)) == {2}

    def test_of_the_rows_of_a_chunk_that_was_undone(self, world: DetachedWorld, migration: Migration) -> None:
        (mark,) = migration.begin()
        with world.fated("load", Fate.POSTPONE), pytest.raises(AmbiguousCommitError):
            migration.target.load(ORDERS, [batch([order(1)])], mark)
        migration.progress.forget_chunks(migration.scope, [ORDERS])
        assert [type(refusal) for refusal in world.land()] == [MarkMovedError]
        assert self.held(world) == {}

    def test_of_a_settled_chunk(self, world: DetachedWorld, migration: Migration) -> None:
        (mark,) = migration.begin()
        with world.fated("settle_chunk", Fate.POSTPONE), pytest.raises(AmbiguousCommitError):
            migration.target.load(ORDERS, [batch([order(1)], quarantined=[aside(3)])], mark)
        (again,) = migration.begin()
        migration.target.load(ORDERS, [batch([order(1), order(2)])], again)
        assert [type(refusal) for refusal in world.land()] == [MarkMovedError]
        assert self.chunk(world, migration) == ("loaded", 2)
        assert migration.aside() == []

    def test_of_a_begun_attempt(self, world: DetachedWorld, migration: Migration) -> None:
        migration.progress.plan_chunks(migration.scope, ORDERS, [WHOLE])
        (chunk,) = migration.progress.chunks(migration.scope, ORDERS)
        with world.fated("begin", Fate.POSTPONE), pytest.raises(AmbiguousCommitError):
            migration.progress.begin_chunk(migration.scope, chunk)
        mark = migration.progress.begin_chunk(migration.scope, chunk)
        assert mark is not None
        assert [type(refusal) for refusal in world.land()] == [MarkMovedError]
        assert migration.target.load(ORDERS, [batch([order(1)])], mark).rows == 1

    def test_of_replaced_rows(self, world: DetachedWorld, migration: Migration) -> None:
        migration.load([order(1)])
        migration.change(1)
        mark, dirty = migration.take_one()
        with world.fated("replace", Fate.POSTPONE), pytest.raises(AmbiguousCommitError):
            migration.target.replace(ORDERS, dirty, batch([order(1, status="older")]), [mark])
        again, dirty = migration.take_one()
        migration.target.replace(ORDERS, dirty, batch([order(1, status="newer")]), [again])
        assert [type(refusal) for refusal in world.land()] == [MarkMovedError]
        assert self.held(world) == {1: "newer"}

    def test_of_replaced_rows_that_land_first(self, world: DetachedWorld, migration: Migration) -> None:
        migration.load([order(1)])
        migration.change(1)
        mark, dirty = migration.take_one()
        with world.fated("replace", Fate.POSTPONE), pytest.raises(AmbiguousCommitError):
            migration.target.replace(ORDERS, dirty, batch([order(1, status="older")]), [mark])
        again, dirty = migration.take_one()
        assert world.land() == [None]
        with pytest.raises(MarkMovedError):
            migration.target.replace(ORDERS, dirty, batch([order(1, status="newer")]), [again])
        assert self.dirty(world, migration) == {key(1)}, "what landed was older than the taken key maybe"

    def test_of_a_settled_batch(self, world: DetachedWorld, migration: Migration) -> None:
        """By the generation alone it would remove the entry that was made anew."""
        migration.load([order(1)])
        migration.change(1)
        mark, dirty = migration.take_one()
        with world.fated("settle", Fate.POSTPONE), pytest.raises(AmbiguousCommitError):
            migration.target.replace(ORDERS, dirty, batch([order(1, status="one")]), [mark])
        again, dirty = migration.take_one()
        assert migration.target.replace(ORDERS, dirty, batch([order(1, status="two")]), [again]) == 1
        migration.change(1)
        assert migration.take_one()[1] == [DirtyKey("orders", key(1), dirty[0].generation)]
        assert [type(refusal) for refusal in world.land()] == [MarkMovedError]
        assert self.dirty(world, migration) == {key(1)}

    def test_of_an_adopted_mark(self, world: DetachedWorld, migration: Migration) -> None:
        """A copy that went back would let a late settlement pass."""
        migration.load([order(1)])
        migration.change(1)
        mark, dirty = migration.take_one()
        with world.fated("settle", Fate.LOSE), pytest.raises(TransientError):
            migration.target.replace(ORDERS, dirty, batch([order(1, status="one")]), [mark])
        with world.fated("adopt", Fate.POSTPONE), pytest.raises(AmbiguousCommitError):
            migration.take()
        again, dirty = migration.take_one()
        migration.target.replace(ORDERS, dirty, batch([order(1, status="two")]), [again])
        assert world.land() == [None], "it is applied, and changes nothing"
        assert world.ledger.lane(migration.scope, mark.lane) == again.seq + 1

    @pytest.mark.parametrize("half", ["rows", "ledger"])
    def test_of_a_seal_that_was_lifted(self, world: DetachedWorld, migration: Migration, half: str) -> None:
        migration.load([order(1)])
        with world.fated("seal", Fate.POSTPONE, half), pytest.raises(AmbiguousCommitError):
            migration.progress.seal(migration.scope, 0)
        migration.progress.unseal(migration.scope)
        migration.change(1)
        world.land()
        # It lands sealed, which is safe; whoever lifts, lifts until nothing is on its way, under a new epoch.
        heir = Migration(world)
        heir.progress.unseal(heir.scope)
        mark, dirty = heir.take_one()
        assert heir.target.replace(ORDERS, dirty, batch([order(1)]), [mark]) == 1

    def test_of_a_claim(self, world: DetachedWorld, migration: Migration) -> None:
        scope = Scope(migration.scope.run, Feed.FORWARD, world.ledger.take_over(migration.scope.run))
        with world.fated("claim", Fate.POSTPONE), pytest.raises(AmbiguousCommitError):
            world.progress().lane_marks(scope)
        later = Migration(world)
        assert [type(refusal) for refusal in world.land()] == [EpochMovedError]
        assert later.load([order(1)]).rows == 1

    def test_of_an_emptying(self, world: DetachedWorld, migration: Migration) -> None:
        """Repeated, and filled again: it is refused with the epoch that asked for it, and no sooner."""
        migration.load([order(1)])
        with world.fated("empty", Fate.POSTPONE), pytest.raises(AmbiguousCommitError):
            migration.progress.forget_chunks(migration.scope, [ORDERS])
        heir = Migration(world)
        heir.progress.forget_chunks(heir.scope, [ORDERS])
        heir.load([order(2)])
        assert [type(refusal) for refusal in world.land()] == [EpochMovedError]
        assert set(self.held(world)) == {2}
