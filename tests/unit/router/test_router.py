"""The router over two sides in memory: heartbeats, acknowledgements, waiting threads and tasks."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from tranship.router import NoRouteError, OutcomeUnknownError, Router
from tranship.router import router as router_module
from tranship.router.records import SOURCE, TARGET, Record
from tranship.router.sides import Fence


class FakeSide:
    """A side whose record a test sets. `error`: what a look at it raises."""

    def __init__(self) -> None:
        self.record: Record | None = None
        self.acknowledged: list[Fence | None] = []
        self.error: Exception | None = None
        self.left = False

    def beat(self, acknowledged: Fence | None) -> Record | None:
        if self.error is not None:
            raise self.error
        self.acknowledged.append(acknowledged)
        return self.record

    def leave(self) -> None:
        self.left = True


class World:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.source, self.target = FakeSide(), FakeSide()
        monkeypatch.setattr(router_module, "MongoSide", lambda *_: self.source)
        monkeypatch.setattr(router_module, "PostgresSide", lambda *_: self.target)
        self.router = Router("shop", source=cast(Any, None), target=cast(Any, None), initial="source", limit_s=5.0)

    def says(self, source: tuple[str, int], target: tuple[str, int] | None = None) -> None:
        self.source.record = Record("run", *source)
        self.target.record = Record("run", *target) if target is not None else None


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    made = World(monkeypatch)
    with made.router:
        yield made


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_a_fence_is_acknowledged_only_behind_the_last_write(world: World) -> None:
    with world.router.writing() as side:
        assert side == SOURCE
        world.says(("fenced", 1))
        world.router.wake()
        seen = len(world.source.acknowledged)
        until(lambda: len(world.source.acknowledged) > seen + 5)
        assert world.source.acknowledged[-1] is None, "a write is under way"
    until(lambda: world.source.acknowledged[-1] == ("run", 1))


def test_writes_wait_and_go_on_on_the_other_side(world: World) -> None:
    world.says(("primary", 0))
    with world.router.writing():
        pass
    world.says(("fenced", 1))
    world.router.wake()
    until(lambda: world.source.acknowledged[-1] == ("run", 1))
    sides: list[str] = []

    def write() -> None:
        with world.router.writing() as side:
            sides.append(f"{side} {side.version}")

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    assert (sides, world.router.reading()) == ([], "source")
    world.says(("handed_over", 1), ("ready", 1))
    for thread in threads:
        thread.join()
    assert sides == ["target 1"] * 4
    assert world.router.reading() == "target"


def test_tasks_of_a_loop_wait_as_threads_do(world: World) -> None:
    async def play() -> list[str]:
        async with world.router.writing() as side:
            sides = [str(side)]
        world.says(("fenced", 1))
        world.router.wake()
        await asyncio.to_thread(until, lambda: world.source.acknowledged[-1] == ("run", 1))

        async def write() -> None:
            async with world.router.writing() as side:
                sides.append(str(side))

        tasks = [asyncio.create_task(write()) for _ in range(3)]
        await asyncio.sleep(0.05)
        assert sides == [SOURCE], "the loop itself does not stand still"
        world.says(("handed_over", 1), ("primary", 1))
        await asyncio.gather(*tasks)
        return sides

    assert asyncio.run(play()) == [SOURCE, TARGET, TARGET, TARGET]


def test_a_write_that_has_waited_too_long_was_not_begun(world: World) -> None:
    world.router.limit_s = 0.1
    world.says(("fenced", 1))
    with pytest.raises(NoRouteError, match="a cutover is under way"), world.router.writing():
        raise AssertionError("it must not be entered")


def test_a_server_that_is_away_for_less_than_a_lease_is_not_noticed(world: World) -> None:
    with world.router.writing():
        pass
    world.source.error = ConnectionError("away")
    with world.router.writing() as side:
        assert side == SOURCE


def test_a_side_that_never_answers_keeps_nobody_from_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """A way that swallows what is sent: a driver waits for it as long as it likes."""
    monkeypatch.setattr(router_module, "LOOK_S", 0.05)
    world, hangs = World(monkeypatch), threading.Event()
    world.says(("primary", 0), ("closed", 0))
    with world.router:
        with world.router.writing() as side:
            assert side == SOURCE
        beat, looks = world.source.beat, list[None]()

        def swallowed(acknowledged: Fence | None) -> Record | None:
            looks.append(None)
            hangs.wait()
            return beat(acknowledged)

        monkeypatch.setattr(world.source, "beat", swallowed)
        monkeypatch.setattr(world.source, "leave", hangs.wait)
        until(lambda: looks != [])
        world.says(("handed_over", 1), ("primary", 1))
        until(lambda: world.router.reading() == TARGET)
        with world.router.writing() as side:
            assert (side, len(looks)) == (TARGET, 1)
    hangs.set()


@pytest.mark.parametrize("version", [0, 2])
def test_behind_a_lapse_the_record_says_what_became_of_a_write(
    world: World, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    monkeypatch.setattr(router_module, "OWN_LEASE_S", 0.3)
    world.says(("primary", 0))

    def write() -> None:
        with world.router.writing():
            world.source.error = ConnectionError("away")
            time.sleep(0.6)
            world.says(("primary", version))
            world.source.error = None

    if version == 0:
        write()
    else:
        with pytest.raises(OutcomeUnknownError):
            write()


def test_behind_a_lapse_nobody_knows_while_nobody_can_look(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(router_module, "OWN_LEASE_S", 0.3)
    monkeypatch.setattr(router_module, "DOUBT_S", 0.2)

    def write() -> None:
        with world.router.writing():
            world.source.error = ConnectionError("away")
            time.sleep(0.6)

    with pytest.raises(OutcomeUnknownError):
        write()


def test_a_source_that_is_gone_is_not_asked_once_the_target_is_the_primary(world: World) -> None:
    world.says(("handed_over", 1), ("primary", 1))
    world.source.error = ConnectionError("gone for good")
    with world.router.writing() as side:
        assert side == TARGET


def test_a_run_that_was_taken_back_leaves_writes_on_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.router = Router("shop", source=cast(Any, None), target=cast(Any, None), limit_s=1.0)
    world.says(("primary", 2))
    with world.router:
        with world.router.writing() as side:
            assert side == SOURCE
        world.source.record = None
        seen = len(world.source.acknowledged)
        until(lambda: len(world.source.acknowledged) > seen + 2)
        with world.router.writing() as side:
            assert side == SOURCE


def test_who_leaves_says_so(world: World) -> None:
    with world.router.writing():
        pass
    world.router.close()
    assert (world.source.left, world.target.left) == (True, True)
    with pytest.raises(RuntimeError, match="closed"):
        world.router.writing()


def test_a_router_is_made_behind_a_fork(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getpid", lambda: -1)
    with pytest.raises(RuntimeError, match="fork"):
        world.router.writing()
