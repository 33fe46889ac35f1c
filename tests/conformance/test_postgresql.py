"""The PostgreSQL connector runs the suites of all targets on a real server."""

from __future__ import annotations

from contextlib import closing

import pytest

from tests.conformance.batch_target_suite import BatchTargetSuite
from tests.conformance.fit_suite import FitSuite
from tests.conformance.postgresql_world import PostgresWorld
from tests.conformance.progress_suite import ProgressSuite
from tests.conformance.routing_suite import Open, RoutingSuite
from tests.conformance.target_schema_suite import TargetSchemaSuite
from tranship.connectors.postgresql.routing import PostgresRecords


@pytest.fixture
def world(postgres: PostgresWorld) -> PostgresWorld:
    return postgres


class TestPostgresTarget(BatchTargetSuite):
    """Batch target."""


class TestPostgresFit(FitSuite):
    """Counts of the PostgreSQL target."""


class TestPostgresProgress(ProgressSuite):
    """Progress."""


class TestPostgresRecords(RoutingSuite):
    """Routing records."""

    @pytest.fixture
    def open_records(self, postgres: PostgresWorld) -> Open:
        return lambda: postgres.stack.enter_context(closing(PostgresRecords(postgres.endpoint)))


class TestPostgresSchema(TargetSchemaSuite):
    """Target schema."""
