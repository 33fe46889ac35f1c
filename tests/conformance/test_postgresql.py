"""The PostgreSQL connector runs the suites of all targets on a real server."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import psycopg
import pytest

from tests.conformance.batch_target_suite import BatchTargetSuite
from tests.conformance.fit_suite import FitSuite
from tests.conformance.postgresql_world import PostgresWorld
from tests.conformance.progress_suite import ProgressSuite
from tests.conformance.routing_suite import Beat, Open, RoutingSuite
from tests.conformance.target_schema_suite import TargetSchemaSuite
from tranship.connectors.postgresql.routing import PostgresRecords
from tranship.router.sides import PostgresSide


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

    @pytest.fixture
    def beat(self, postgres: PostgresWorld) -> Beat:
        def beat(plan: str, instance: str, lasts_s: float, acknowledged: tuple[str, int] | None) -> None:
            with psycopg.connect(postgres.endpoint.uri, autocommit=True) as connection:
                side = PostgresSide(lambda: connection, plan, instance, lasts_s, postgres.endpoint.state_schema)
                side.beat(acknowledged)

        return beat

    @pytest.fixture
    def poll_ms(self, postgres: PostgresWorld) -> Callable[[], int | None]:
        return lambda: postgres.sql("SELECT poll_ms FROM {state}.route WHERE id = '1'")[0][0]


class TestPostgresSchema(TargetSchemaSuite):
    """Target schema."""
