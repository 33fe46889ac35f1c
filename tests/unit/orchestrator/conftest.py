"""What the engine's tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import MemoryControl, memory_connect
from tests.unit.orchestrator.engine.engine_world import (
    PLAN,
    World,
    thing,
)
from tranship.connectors.memory import MemoryStore
from tranship.orchestrator.engine.engine import Engine
from tranship.orchestrator.phases import catch_up
from tranship.plans import load, resolve


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(catch_up, "STEADY_S", 0.05)
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN)
    plan = load(path)
    streams = resolve(plan)
    store = MemoryStore()
    for number in range(50):
        store.documents.put("things", thing(number, f"name {number}"))
    control = MemoryControl(store)
    made = World(plan, store, control, Engine(plan, streams, memory_connect(store, streams), control, 2.0), [])
    yield made
    made.engine.interrupt.set()
