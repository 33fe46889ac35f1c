"""Worlds that several modules share."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conformance.postgresql_world import PostgresWorld
from tests.installed import executables, installed_postgresql
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


@pytest.fixture(scope="module", params=["the sandbox's", "the machine's"])
def logical_server(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URI of a database whose changes can be followed."""
    if request.param == "the sandbox's":
        servers: Servers = request.getfixturevalue("servers")
        with fresh_target(servers) as uri:
            yield uri
        return
    folder = executables()
    if folder is None:
        pytest.skip("the machine has no PostgreSQL of its own (14 or newer)")
    with (
        tempfile.TemporaryDirectory(prefix="tranship-installed-") as place,
        installed_postgresql(folder, Path(place), "wal_level=logical") as uri,
    ):
        yield uri
