"""A stage of its own for each crash test."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.play import Play, play
from tranship.orchestrator.demo.scene import scene
from tranship.orchestrator.demo.shop import Shop
from tranship.orchestrator.sandbox import Servers

DOCUMENTS = 400


@pytest.fixture
def on_stage(servers: Servers, tmp_path: Path) -> Iterator[Play]:
    """A small shop in MongoDB, an empty PostgreSQL, and a plan that moves one to the other."""
    shop = Shop(random.randrange(2**31), DOCUMENTS)  # pytest-randomly seeds it and says so
    output = tmp_path / "output.log"
    try:
        with output.open("ab") as log, scene(servers, tmp_path, shop, log) as stage, play(stage) as made:
            yield made
    finally:
        sys.stdout.write(output.read_text(errors="replace"))  # pytest shows it when the test fails
