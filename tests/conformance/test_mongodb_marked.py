"""The MongoDB target that keeps its own marks, by the suites of all targets, on both embedded servers."""

from __future__ import annotations

import functools
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.conformance import test_detached
from tests.conformance.batch_target_suite import BatchTargetSuite
from tests.conformance.detached_world import PostgresKept
from tests.conformance.fit_suite import FitSuite
from tests.conformance.migration_suite import Interrupted, interrupt_at
from tests.conformance.mongodb_marked_world import SERVERS, MongoMarkedWorld, server
from tests.conformance.postgresql_world import PostgresWorld
from tests.conformance.progress_suite import ProgressSuite
from tests.conformance.target_world import ORDERS, Migration, batch, order

PAIRS = (*(f"{name}, ledger in memory" for name in SERVERS), "secantusd-py, ledger in postgresql")
"""The last one is that of a way back."""


@pytest.fixture(scope="module")
def marked_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """The URI of a server by its name, which is started when it is asked for."""
    with ExitStack() as stack:
        yield functools.cache(lambda name: stack.enter_context(server(name, tmp_path_factory.mktemp("mongodb"))))


@pytest.fixture(params=PAIRS)
def world(marked_servers: Callable[[str], str], request: pytest.FixtureRequest) -> Iterator[MongoMarkedWorld]:
    """A database of the test's own, and a ledger."""
    name, _, kept = request.param.partition(", ledger in ")
    with ExitStack() as stack:
        ledger = None
        if kept == "postgresql":
            ledger = PostgresKept(PostgresWorld(request.getfixturevalue("ledger_database"), stack))
        found = MongoMarkedWorld(marked_servers(name), f"tranship_{secrets.token_hex(6)}", stack, ledger)
        yield found
        found.client.drop_database(found.database)


class TestMongoMarkedTarget(BatchTargetSuite):
    """The suite of all batch targets.

    Left out: unique indexes of the plan that hold only rows without a value, which no index of MongoDB can say.
    """

    test_several_values_together_are_unique_and_pass_between_rows = None
    test_two_rows_of_a_batch_that_hold_the_same_values_are_named = None


class TestMongoMarkedFit(FitSuite):
    """Counts."""


class TestMongoMarkedProgress(ProgressSuite):
    """The suite of all keepers of progress."""


class TestBetweenTheCommits(test_detached.TestBetweenTheCommits):
    """A process that dies between the commit on MongoDB and the ledger's."""

    world = None  # the module's own

    @pytest.mark.parametrize("site", ["empty.before_commit", "seal.before_commit", "unseal.before_commit"])
    def test_what_the_ledger_knows_already_is_done_again(
        self, world: MongoMarkedWorld, migration: Migration, site: str
    ) -> None:
        migration.load([order(1)])
        dying = world.progress(interrupt_at(site))
        if site == "empty.before_commit":
            with pytest.raises(Interrupted):
                dying.forget_chunks(migration.scope, [ORDERS])
            assert set(self.held(world)) == {1}
            assert migration.progress.chunks(migration.scope, ORDERS) == []
            migration.progress.forget_chunks(migration.scope, [ORDERS])
            assert self.held(world) == {}
            migration.load([order(1)])
        else:
            if site == "unseal.before_commit":
                migration.progress.seal(migration.scope, 0)
            with pytest.raises(Interrupted):
                (dying.seal(migration.scope, 0) if site[0] == "s" else dying.unseal(migration.scope))
            migration.progress.seal(migration.scope, 0)
            migration.progress.unseal(migration.scope)
        migration.change(1)
        mark, dirty = migration.take_one()
        assert migration.target.replace(ORDERS, dirty, batch([order(1, status="new")]), [mark]) == 1
        assert self.held(world) == {1: "new"}


class TestLateCopies(test_detached.TestLateCopies):
    """A COMMIT that was thought lost, and lands after it was made good."""

    world = None  # the module's own
