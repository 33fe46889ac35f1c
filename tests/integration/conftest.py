"""What the integration tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.route import Route, fresh_route
from tranship.orchestrator.sandbox import Servers


@pytest.fixture
def route(servers: Servers, tmp_path: Path) -> Iterator[Route]:
    """A source and a target of the test's own, and `tranship` between them."""
    with fresh_route(servers, tmp_path) as made:
        yield made
