"""Servers for tests: one sandbox for the session, databases of its own for each test.

Which servers is chosen by the environment (`orchestrator.sandbox.servers`). Where one is not installed, the tests that
need it are skipped with its name; with CI set they fail instead: there a missing server is a mistake.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import structlog

from tranship.orchestrator.sandbox import ServerMissingError, Servers, sandbox
from tranship.orchestrator.sandbox.databases import SourceDatabase, fresh_source, fresh_target


@pytest.fixture(autouse=True)
def _default_logging() -> Iterator[None]:
    """A test that sets up logging writes to its own captured stderr, which is closed when the next one logs."""
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """A MongoDB and a PostgreSQL that run for the whole session."""
    with ExitStack() as stack:
        # Not below pytest's own folder: the next session of the same user, which may run beside this one, takes away
        # the right to enter it, and PostgreSQL is another user when this one is root.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tranship-tests-")))
        try:
            started = stack.enter_context(sandbox(folder))
        except ServerMissingError as missing:
            if os.environ.get("CI"):
                pytest.fail(f"CI must have this server: {missing}")
            pytest.skip(str(missing))
        yield started


@pytest.fixture
def source_db(servers: Servers) -> Iterator[SourceDatabase]:
    """A MongoDB database of the test's own: its server's URI and its name."""
    with fresh_source(servers) as database:
        yield database


@pytest.fixture
def target_db(servers: Servers) -> Iterator[str]:
    """The URI of an empty PostgreSQL database of the test's own."""
    with fresh_target(servers) as uri:
        yield uri
