"""Worlds that several modules share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.conformance.postgresql_world import PostgresWorld
from tranship.orchestrator.sandbox import Servers
from tranship.orchestrator.sandbox.databases import fresh_target


@pytest.fixture(scope="module")
def target_database(servers: Servers) -> Iterator[str]:
    """The URI of a database for all tests of a module: making one for each would take most of their time."""
    with fresh_target(servers) as uri:
        yield uri


@pytest.fixture(scope="module")
def ledger_database(servers: Servers) -> Iterator[str]:
    """The URI of another database, which shares no transaction with that of the target."""
    with fresh_target(servers) as uri:
        yield uri


@pytest.fixture
def postgres(target_database: str) -> Iterator[PostgresWorld]:
    """An empty PostgreSQL target."""
    with ExitStack() as stack:
        yield PostgresWorld(target_database, stack)
