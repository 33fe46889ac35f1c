"""A feed of PostgreSQL's changes under writers, whose reader is killed at random, and whose server is killed too: what
the reader keeps becomes what the table holds, as the server itself tells."""

from __future__ import annotations

import multiprocessing
import random
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from multiprocessing.process import BaseProcess
from pathlib import Path

import psycopg
import pytest

from tests.conformance.feed_mirror import Mirror, follow
from tests.conformance.feed_world import FeedWorld
from tests.conformance.private_postgresql import PrivatePostgres, private_postgresql
from tests.conformance.source_suite import OWNER, THINGS
from tranship.connectors.protocols import Position

WRITERS = 3
NUMBERS = 400
PATIENCE_S = 60.0


class Writer(threading.Thread):
    """Writes to numbers of its own, in and out of transactions; notes what was acknowledged last of each."""

    def __init__(self, world: FeedWorld, place: int, seed: int) -> None:
        super().__init__()
        self._world = world
        self._random = random.Random(seed)
        self._numbers = range(place * NUMBERS, (place + 1) * NUMBERS)
        self.stopping = threading.Event()
        self.acknowledged: dict[int, str | None] = {}
        self.unknown: set[int] = set()
        self.writes = 0

    def run(self) -> None:
        while not self.stopping.is_set():
            try:
                with closing(psycopg.connect(self._world.endpoint.uri)) as session:
                    while not self.stopping.is_set():
                        self._write(session)
            except psycopg.OperationalError:
                time.sleep(0.05)  # the server is being killed

    def _write(self, session: psycopg.Connection[tuple[object, ...]]) -> None:
        table = self._world.table(THINGS.table)
        chosen = {
            n: f"{time.monotonic_ns()}" for n in self._random.sample(self._numbers, self._random.choice((1, 1, 9)))
        }
        gone = {n for n in chosen if self._random.random() < 0.2}
        self.unknown |= chosen.keys()
        session.execute("SET LOCAL synchronous_commit = on")
        for number, text in chosen.items():
            if number in gone:
                session.execute(f"DELETE FROM {table} WHERE id = %s".encode(), (number,))
            else:
                upsert = f"INSERT INTO {table} (id, text) VALUES (%s, %s) ON CONFLICT (id) DO UPDATE SET text = %s"
                session.execute(upsert.encode(), (number, text, text))
        if self._random.random() < 0.1:
            session.rollback()
        else:
            session.commit()
            self.acknowledged |= {n: None if n in gone else text for n, text in chosen.items()}
            self.writes += len(chosen)
        self.unknown -= chosen.keys()


class Reader:
    """The process that follows; begun again whenever it has ended."""

    def __init__(self, world: FeedWorld, path: Path) -> None:
        self._world = world
        self._path = path
        self._process: BaseProcess | None = None
        self.begun = 0

    def live(self) -> None:
        if self._process is None or not self._process.is_alive():
            arguments = (self._world.endpoint, THINGS, self._world.streams, self._world.scope, self._path)
            self._process = multiprocessing.get_context("forkserver").Process(target=follow, args=arguments)
            self._process.start()
            self.begun += 1

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()


@pytest.mark.parametrize("dies", ["the reader", "the server"])
def test_no_acknowledged_change_is_missing(dies: str, tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    with private_postgresql() as server, ExitStack() as stack:
        world = FeedWorld(server.uri, stack)
        mirror = stack.enter_context(closing(Mirror(tmp_path / "mirror")))
        mirror.begin(world.connect().position())
        reader = Reader(world, tmp_path / "mirror")
        stack.callback(reader.kill)
        writers = [Writer(world, place, chance.randrange(2**32)) for place in range(WRITERS)]
        for writer in writers:
            writer.start()
        try:
            _play(server, reader, mirror, chance, dies)
        finally:
            for writer in writers:
                writer.stopping.set()
            for writer in writers:
                writer.join()
        name = f"{OWNER}.end"
        world.connect().put_marker(name)

        def settled() -> bool:
            reader.live()
            return mirror.has(name) and not mirror.dirty()

        _until(settled)
        with closing(psycopg.connect(server.uri)) as session:
            held = session.execute(f"SELECT id, text FROM {world.table(THINGS.table)} ORDER BY id".encode()).fetchall()
        assert mirror.rows() == held, f"seed {seed}"
        kept = dict(held)
        for writer in writers:
            known = {n: text for n, text in writer.acknowledged.items() if n not in writer.unknown}
            assert {n: kept.get(n) for n in known} == known, f"seed {seed}"
        assert sum(writer.writes for writer in writers) > 500
        assert reader.begun > 3


def _play(server: PrivatePostgres, reader: Reader, mirror: Mirror, chance: random.Random, dies: str) -> None:
    for _ in range(10 if dies == "the reader" else 4):
        before = mirror.position()

        def moved(before: Position = before) -> bool:
            reader.live()
            return mirror.position() != before

        _until(moved)
        time.sleep(chance.uniform(0, 0.3))  # anywhere in what it does then
        if dies == "the reader":
            reader.kill()
        else:
            server.kill()


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
