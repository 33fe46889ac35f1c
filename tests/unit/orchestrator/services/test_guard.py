"""The guard: what it lifts, and what it leaves alone."""

from __future__ import annotations

import shutil
import sys
import threading

import pytest

from tranship.connectors.errors import TransientError
from tranship.connectors.memory.routing import KeptRecords, MemoryRecords
from tranship.connectors.protocols import Owner, Routing, RoutingRecord
from tranship.orchestrator.phases import RefusedToActError
from tranship.orchestrator.services.guard import GuardProcess, Watched, watch
from tranship.plans.streams import Endpoint

OWNER = Owner("1", "shop-1", "the target", "state", "shop")
FENCED = RoutingRecord(Routing.FENCED, 1)
AT = 1000.0
"""The moment by which the guard's own fence is to be over."""


class World:
    """The source's record, and a clock that goes on whenever the guard waits."""

    def __init__(self, record: RoutingRecord = FENCED, deadline: float | None = AT) -> None:
        self.time, self.away, self.released, self.looks = AT - 10, False, False, 0
        kept, lock = KeptRecords(), threading.Lock()

        def access(work):  # type: ignore[no-untyped-def]
            with lock:
                if self.away:
                    raise TransientError("the source is away")
                return work(kept)

        self.records = MemoryRecords(access, lambda: self.time)
        self.records.begin(OWNER, RoutingRecord(Routing.PRIMARY, 0))
        self.put(record, deadline)

    @property
    def fences(self) -> None:
        """The server keeps none."""

    def put(self, record: RoutingRecord, deadline: float | None = None) -> None:
        found = self.records.read("1")
        assert found is not None
        assert self.records.swap("1", found, record, deadline=deadline)

    def pause(self, seconds: float) -> bool:
        self.time += seconds
        self.looks += 1
        assert self.looks < 1000
        return self.released

    def watch(self) -> RoutingRecord | None:
        watch(self, Watched(Endpoint("mongodb", "mongodb://nowhere"), "1", "shop-1", AT, "json"), self.pause)
        return self.records.read("1")


def test_what_stands_behind_its_deadline_is_lifted() -> None:
    world = World()
    assert world.watch() == RoutingRecord(Routing.PRIMARY, 2)
    assert world.time >= AT


def test_the_fence_says_itself_when_it_is_over() -> None:
    world = World(deadline=AT - 5)
    assert world.watch() == RoutingRecord(Routing.PRIMARY, 2)
    assert AT - 5 <= world.time < AT - 4


def test_a_fence_that_is_to_last_longer_is_a_later_attempts() -> None:
    world = World(deadline=AT + 60)
    assert world.watch() == FENCED
    assert AT <= world.time < AT + 1


@pytest.mark.parametrize("state", [Routing.PRIMARY, Routing.HANDED_OVER])
def test_nothing_else_is_touched(state: Routing) -> None:
    world = World()
    world.put(RoutingRecord(state, 1))
    assert world.watch() == RoutingRecord(state, 1)


def test_it_tries_while_the_source_is_away() -> None:
    world = World()
    pause = world.pause

    def away_for_a_while(seconds: float) -> bool:
        world.away = AT - 5 < world.time < AT + 20
        return pause(seconds)

    world.pause = away_for_a_while  # type: ignore[method-assign]
    assert world.watch() == RoutingRecord(Routing.PRIMARY, 2)
    assert world.time >= AT + 20


def test_without_a_guard_no_fence_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guard that ends before it watches is no bug of the run, which asks again."""
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(RefusedToActError, match="could not be started"):
        GuardProcess(Watched(Endpoint("mongodb", "mongodb://nowhere"), "1", "shop-1", AT, "json"))


def test_one_that_is_released_looks_no_more() -> None:
    world = World()
    world.released = True
    assert world.watch() == FENCED
