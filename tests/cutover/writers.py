"""Writers that go through a router: `python -m tests.cutover.writers`, told what they need by a line of JSON on stdin.

Each thread owns keys of its own and writes whole documents `{_id, thread, version}`: upserts, and now and then a
delete. A write is measured outside of the router, from before `writing()` to the server's reply. All that is not
plainly acknowledged counts as failed: errors, unknown outcomes, waits beyond the limit. They end when stdin does; then
one line of JSON per thread is printed: its writes `[key, version or null, began, took, side]`, times by the wall clock,
and what failed.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from typing import Any

import psycopg
import pymongo
from psycopg import sql
from pymongo.database import Database
from pymongo.write_concern import WriteConcern

from tranship.router import Router, Side

DELETES = 0.1


@dataclass(frozen=True)
class Setting:
    """What the writers of one process are told. `table`: the stream's on the target, with its schema."""

    plan: str
    source: str
    database: str
    target: str
    schema: str
    first: int
    threads: int
    keys: int
    rate: float
    collection: str = "things"


@dataclass
class Done:
    """What a thread has done."""

    thread: int
    writes: list[tuple[str, int | None, float, float, str]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


class Writer:
    """One thread."""

    def __init__(self, setting: Setting, number: int, router: Router, database: Database[dict[str, Any]]) -> None:
        self.done = Done(number)
        self._setting = setting
        self._router = router
        self._collection = database[setting.collection]
        self._target: psycopg.Connection[Any] | None = None
        self._rng = random.Random(number)
        self._version = 0

    def run(self, stop: threading.Event) -> None:
        """Write at an even pace, never faster to make up for a wait."""
        pause = 1 / self._setting.rate
        due = time.monotonic() + self._rng.random() * pause
        while not stop.wait(max(0.0, due - time.monotonic())):
            due = max(due + pause, time.monotonic())
            self._write()
        if self._target is not None:
            self._target.close()

    def _write(self) -> None:
        self._version += 1
        key = f"w{self.done.thread}.{self._rng.randrange(self._setting.keys)}"
        version = None if self._rng.random() < DELETES else self._version
        at, began = time.time(), time.monotonic()
        try:
            with self._router.writing() as side:
                (self._on_source if side == "source" else self._on_target)(side, key, version)
        except Exception as error:  # noqa: BLE001  whatever it is, the application sees it
            self.done.failed.append(f"{key}: {type(error).__name__}: {error}")
            return
        self.done.writes.append((key, version, at, time.monotonic() - began, str(side)))

    def _on_source(self, _side: Side, key: str, version: int | None) -> None:
        if version is None:
            self._collection.delete_one({"_id": key})
        else:
            document = {"_id": key, "thread": self.done.thread, "version": version}
            self._collection.replace_one({"_id": key}, document, upsert=True)

    def _on_target(self, side: Side, key: str, version: int | None) -> None:
        if self._target is None:
            self._target = psycopg.connect(self._setting.target)
        table = sql.Identifier(self._setting.schema, self._setting.collection)
        with self._target.transaction():
            self._target.execute(side.statement)
            if version is None:
                self._target.execute(sql.SQL("DELETE FROM {} WHERE _id = %s").format(table), (key,))
            else:
                put = sql.SQL(
                    "INSERT INTO {} (_id, thread, version) VALUES (%s, %s, %s) "
                    "ON CONFLICT (_id) DO UPDATE SET thread = excluded.thread, version = excluded.version"
                )
                self._target.execute(put.format(table), (key, self.done.thread, version))


def main() -> None:
    """Write until stdin ends."""
    setting = Setting(**json.loads(sys.stdin.readline()))
    client = pymongo.MongoClient[dict[str, Any]](setting.source)
    database = client.get_database(setting.database, write_concern=WriteConcern("majority"))
    stop = threading.Event()
    with Router(
        setting.plan,
        source=database,
        target=lambda: psycopg.connect(setting.target, connect_timeout=5),
        initial="source",
    ) as router:
        writers = [Writer(setting, setting.first + n, router, database) for n in range(setting.threads)]
        threads = [threading.Thread(target=writer.run, args=(stop,)) for writer in writers]
        for thread in threads:
            thread.start()
        _print({"instance": router.instance})
        sys.stdin.read()
        stop.set()
        for thread in threads:
            thread.join()
    for writer in writers:
        _print(asdict(writer.done))
    client.close()


def _print(said: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
