"""The MongoDB target that keeps its own marks, by the suites of all targets, on both embedded servers."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conformance.batch_target_suite import BatchTargetSuite
from tests.conformance.fit_suite import FitSuite
from tests.conformance.mongodb_marked_world import SERVERS, MongoMarkedWorld, server
from tests.conformance.progress_suite import ProgressSuite


@pytest.fixture(scope="module", params=SERVERS)
def marked_uri(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("mongodb")
    with server(request.param, folder) as uri:
        yield uri


@pytest.fixture
def world(marked_uri: str) -> Iterator[MongoMarkedWorld]:
    with ExitStack() as stack:
        found = MongoMarkedWorld(marked_uri, f"tranship_{secrets.token_hex(6)}", stack)
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
