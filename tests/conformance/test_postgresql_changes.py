"""PostgreSQL as a change source runs the suite of all change sources, on the sandbox's server and on the machine's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.conformance.feed_world import FeedWorld
from tests.conformance.source_suite import ChangeSuite


@pytest.fixture
def world(logical_server: str) -> Iterator[FeedWorld]:
    with ExitStack() as stack:
        yield FeedWorld(logical_server, stack)


class TestPostgresChanges(ChangeSuite):
    """Changes of a run's tables."""
