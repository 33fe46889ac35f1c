"""What the integration tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymongo
import pytest

from tests.integration.route import Route
from tranship.orchestrator.sandbox.databases import SourceDatabase


@pytest.fixture
def route(source_db: SourceDatabase, target_db: str, tmp_path: Path) -> Iterator[Route]:
    """A source and a target of the test's own, and `tranship` between them."""
    with pymongo.MongoClient[dict[str, Any]](source_db.uri) as client:
        made = Route(source_db, target_db, tmp_path, client)
        try:
            yield made
        finally:
            made.close()
