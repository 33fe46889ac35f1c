"""PostgreSQL as a change source runs the suite of all change sources, on the sandbox's server and on the machine's."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conformance.feed_world import FeedWorld
from tests.conformance.source_suite import ChangeSuite
from tests.installed import executables, installed_postgresql
from tranship.orchestrator.sandbox import Servers
from tranship.orchestrator.sandbox.databases import fresh_target


@pytest.fixture(scope="module", params=["the sandbox's", "the machine's"])
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URI of a database."""
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


@pytest.fixture
def world(server: str) -> Iterator[FeedWorld]:
    with ExitStack() as stack:
        yield FeedWorld(server, stack)


class TestPostgresChanges(ChangeSuite):
    """Changes of a run's tables."""
