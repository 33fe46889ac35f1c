"""The shop's writers: `python -P -m tranship.orchestrator.demo.writers --uri-env NAME --database … --ledger …`.

Eight threads at a common rate, each with its own keys (`holdings`). They stop on SIGTERM, when stdin closes (so they
end with whoever started them), or after `--max-seconds`; what was under way is finished first. A line
`{"writing": true}` is printed when they start and a line with what was done when they have stopped. Started again with
the same ledger they go on from what it says.

They go through a router: before a cutover to MongoDB, behind it to PostgreSQL, with statements of their own
(`sqlwrites`), and in between they wait. Writes wait for a majority and are never retried by the driver: a lost
connection leaves an unknown outcome, which the ledger can express, while a write done twice it could not.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import bson
import psycopg
import pymongo
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError, PyMongoError, WriteError
from pymongo.write_concern import WriteConcern

from tranship.orchestrator.demo import sqlwrites
from tranship.orchestrator.demo.holdings import Holdings, deal, mark_hot
from tranship.orchestrator.demo.ledger import Ledger, Place, of_source, place_of, read, replay
from tranship.orchestrator.demo.operations import Desk, Write, choose
from tranship.orchestrator.demo.shop import Shop
from tranship.orchestrator.demo.sqlwrites import SqlWrite
from tranship.router import NoRouteError, OutcomeUnknownError, Router, Side

Document: TypeAlias = dict[str, Any]

THREADS = 8
HOT_KEYS = 20
STOP_POLL_S = 0.1
OUTAGE_PAUSE_S = 0.2
"""How long a thread waits after a write whose outcome is unknown: the server is probably away."""


WAIT_LIMIT_S = 20.0
"""For how long a write lets a router wait."""


class StrangeWriteError(Exception):
    """A write did not meet the document that must be there: somebody else writes the shop, or this is a bug."""


@dataclass
class Tally:
    """What a thread has done."""

    acknowledged: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    """By a unique index: values that the shop itself has twice for a moment."""
    failed: int = 0
    """Refused for any other reason."""
    unknown: int = 0
    waited: int = 0
    """Writes that were not begun, because where to write was not known in time."""
    longest_s: float = 0.0
    """From before the router was asked to the server's reply."""


@dataclass(frozen=True)
class Servers:
    """Where the shop lives: a database of MongoDB, and how to connect to PostgreSQL, where it has a schema."""

    database: Database[Document]
    connect: Callable[[], psycopg.Connection[Any]]
    schema: str


class Writer:
    """One thread's work: choose an operation, and for each of its writes try, send, record the outcome."""

    def __init__(self, desk: Desk, servers: Servers, router: Router, side: Side, ledger: Ledger) -> None:
        self.tally = Tally()
        self._desk = desk
        self._servers = servers
        self._router = router
        self._side = side
        self._ledger = ledger
        self._connection: psycopg.Connection[Any] | None = None

    @property
    def holdings(self) -> Holdings:
        """The thread's documents as it believes them to be."""
        return self._desk.holdings

    def run(self, interval_s: float, stop: threading.Event) -> None:
        """Write at this pace until told to stop. Falling behind is not made up for in a burst."""
        due = time.monotonic()
        for name, write in self._writes():
            if stop.wait(max(0.0, due - time.monotonic())):
                return
            due = max(due + interval_s, time.monotonic() - interval_s)
            if not self._do(name, write):
                stop.wait(OUTAGE_PAUSE_S)

    def close(self) -> None:
        """End its connection to PostgreSQL."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _writes(self) -> Iterator[tuple[str, Write | SqlWrite]]:
        while True:
            operation: Callable[[Desk], Iterator[Write | SqlWrite]]
            operation = choose(self._desk.rng) if self._side == "source" else sqlwrites.choose(self._desk.rng)
            for write in operation(self._desk):
                yield operation.__name__, write
                if not self._arrived(write):
                    break  # what comes next in this operation builds on it

    def _arrived(self, write: Write | SqlWrite) -> bool:
        holdings = self._desk.holdings
        return not holdings.is_retired(write.place) and holdings.get(write.place) is write.after

    def _do(self, name: str, write: Write | SqlWrite) -> bool:
        """Send one write and record its outcome; False when that is unknown. Nothing is sent when the shop has moved
        since it was chosen."""
        began = time.monotonic()
        try:
            with self._router.writing() as self._side:
                if isinstance(write, SqlWrite) != (self._side == "target"):
                    return True
                number = self._try(write)
                met = self._send(write)
        except (WriteError, psycopg.errors.Error) as error:
            if isinstance(error, psycopg.OperationalError):
                return self._unknown(write)
            self._ledger.refuse(number)  # the server's word that it did nothing
            self.tally.refused += isinstance(error, DuplicateKeyError)
            self.tally.failed += not isinstance(error, DuplicateKeyError)
            return True
        except (PyMongoError, OutcomeUnknownError):
            return self._unknown(write)
        except NoRouteError:
            self.tally.waited += 1
            return False
        self.tally.longest_s = max(self.tally.longest_s, time.monotonic() - began)
        if met != 1:
            raise StrangeWriteError(f"{name} met {met} documents at {write.place}")
        self._ledger.acknowledge(number)
        self._desk.holdings.put(write.place, write.after)
        self.tally.acknowledged[name] += 1
        return True

    def _try(self, write: Write | SqlWrite) -> int:
        after = None if write.after is None else bson.encode(write.after)
        return self._ledger.attempt(write.place, after, self._side)

    def _send(self, write: Write | SqlWrite) -> int:
        if isinstance(write, Write):
            return write.send(self._servers.database[write.place.collection])
        if self._connection is None:
            self._connection = self._servers.connect()
        with self._connection.transaction():
            self._connection.execute(self._side.statement)
            return write.send(self._connection, self._servers.schema)

    def _unknown(self, write: Write | SqlWrite) -> bool:
        self.close()
        self._desk.holdings.retire(write.place)
        self.tally.unknown += 1
        return False


def hot_places(shop: Shop) -> list[Place]:
    """The hot keys: the first documents of the collections that are written most."""
    names = ["orders", "customers", "events", "products"]
    streams = [shop.collection(name) for name in names]
    return [place_of(names[n % 4], document) for n in range(HOT_KEYS) if (document := next(streams[n % 4], None))]


def main() -> int:
    """Write until told to stop; 0 unless a thread failed."""
    arguments = _arguments()
    shop = Shop(arguments.seed, arguments.documents, frozenset(arguments.without))
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    majority = WriteConcern("majority")
    with (
        Ledger(arguments.ledger) as ledger,
        pymongo.MongoClient[Document](os.environ[arguments.uri_env], retryWrites=False) as client,
        ExitStack() as stack,
    ):
        database = client.get_database(arguments.database, write_concern=majority)
        servers = Servers(database, partial(_connect, arguments.target_env), arguments.schema)
        router = stack.enter_context(
            Router(arguments.plan, source=database, target=servers.connect, initial="source", limit_s=WAIT_LIMIT_S)
        )
        side = router.reading()
        records = read(arguments.ledger)
        hands = deal(replay(shop.states(), of_source(records) if side == "source" else records), THREADS)
        mark_hot(hands, hot_places(shop))
        desks = [_desk(hands, thread, shop, ledger) for thread in range(THREADS)]
        writers = [Writer(desk, servers, router, side, ledger) for desk in desks]
        started = time.monotonic()
        problems = _run(writers, THREADS / arguments.rate, stop, arguments.max_seconds)
        _print(_summary(writers, time.monotonic() - started))
    for problem in problems:
        sys.stderr.write(f"{type(problem).__name__}: {problem}\n")
    return 1 if problems else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="writers")
    parser.add_argument("--uri-env", required=True, help="name of the environment variable with the URI")
    parser.add_argument("--database", required=True)
    parser.add_argument("--plan", default="shop", help="whose router they use")
    parser.add_argument("--target-env", default="TARGET_URI", help="the same of PostgreSQL, once they write there")
    parser.add_argument("--schema", default="shop", help="of the shop's tables there")
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--rate", type=float, default=300.0, help="writes per second of all threads together")
    parser.add_argument("--seed", type=int, required=True, help="the shop's seed")
    parser.add_argument("--documents", type=int, default=40_000, help="the shop's size")
    parser.add_argument("--without", action="append", default=[], help="a hazard that the server cannot keep")
    parser.add_argument("--max-seconds", type=float, default=600.0)
    return parser.parse_args()


def _connect(target_env: str) -> psycopg.Connection[Any]:
    return psycopg.connect(os.environ[target_env], connect_timeout=5)


def _desk(hands: list[Holdings], thread: int, shop: Shop, ledger: Ledger) -> Desk:
    # New numbers start above the seeded ones. The ledger's length is part of them and of the generator's seed, so that
    # a second start does not repeat the first.
    rng = random.Random(f"{shop.seed}/writer/{thread}/{ledger.records}")
    return Desk(hands[thread], rng, shop, thread, THREADS, shop.documents + ledger.records)


def _run(writers: list[Writer], interval_s: float, stop: threading.Event, max_s: float) -> list[BaseException]:
    problems: list[BaseException] = []

    def work(writer: Writer) -> None:
        try:
            writer.run(interval_s, stop)
        except Exception as problem:  # noqa: BLE001 - handed to the main thread, which reports it and fails
            problems.append(problem)
            stop.set()
        finally:
            writer.close()

    threads = [threading.Thread(target=work, args=(writer,)) for writer in writers]
    for thread in threads:
        thread.start()
    _print({"writing": True})
    try:
        _wait(stop, max_s)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    return problems


def _wait(stop: threading.Event, max_s: float) -> None:
    """Return when told to stop, when stdin closes, or when time is up."""
    deadline = time.monotonic() + max_s
    while not stop.is_set() and time.monotonic() < deadline:
        readable, _, _ = select.select([sys.stdin], [], [], STOP_POLL_S)
        if readable and not os.read(sys.stdin.fileno(), 4096):
            return


def _summary(writers: list[Writer], seconds: float) -> dict[str, object]:
    operations: Counter[str] = sum((writer.tally.acknowledged for writer in writers), Counter())
    return {
        "acknowledged": operations.total(),
        "refused": sum(writer.tally.refused for writer in writers),
        "failed": sum(writer.tally.failed for writer in writers),
        "unknown": sum(writer.tally.unknown for writer in writers),
        "waited": sum(writer.tally.waited for writer in writers),
        "longest_s": round(max(writer.tally.longest_s for writer in writers), 3),
        "seconds": round(seconds, 3),
        "operations": dict(operations),
    }


def _print(record: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(record) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
