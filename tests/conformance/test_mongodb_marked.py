"""The MongoDB target that keeps its own marks, by the suites of all targets, on both embedded servers."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.conformance import test_detached
from tests.conformance.batch_target_suite import BatchTargetSuite
from tests.conformance.fit_suite import FitSuite
from tests.conformance.migration_suite import Interrupted, interrupt_at
from tests.conformance.mongodb_marked_world import SERVERS, MongoMarkedWorld, server
from tests.conformance.progress_suite import ProgressSuite
from tests.conformance.target_world import ORDERS, Migration, batch, order


@pytest.fixture(scope="module", params=SERVERS)
def marked_uri(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("mongodb")
    with server(request.param, folder) as uri:
        yield uri


@contextmanager
def fresh_world(uri: str) -> Iterator[MongoMarkedWorld]:
    """A database of the test's own."""
    with ExitStack() as stack:
        found = MongoMarkedWorld(uri, f"tranship_{secrets.token_hex(6)}", stack)
        yield found
        found.client.drop_database(found.database)


@pytest.fixture
def world(marked_uri: str) -> Iterator[MongoMarkedWorld]:
    with fresh_world(marked_uri) as found:
        yield found


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
    """A process that dies between the commit on MongoDB and the ledger's.

    What the memory pair does by the fate of its COMMITs, is below by way of the sites of the target.
    """

    test_an_emptied_target_is_emptied_again = None
    test_a_half_seal_is_finished_or_taken_back = None

    @pytest.fixture
    def world(self, marked_uri: str) -> Iterator[MongoMarkedWorld]:
        with fresh_world(marked_uri) as found:
            yield found

    @staticmethod
    def held(world: MongoMarkedWorld) -> dict[int, str]:
        return {one["number"]: one["status"] for one in world.database.orders.find()}

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
