"""A route for one test: databases of its own on both sides, a plan between them, and `tranship` as a child process."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bson
import psycopg
import pymongo
import yaml
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from psycopg import sql
from pymongo.collection import Collection

from tests.integration import forks
from tests.integration.forks import Forked
from tranship.connectors.mongodb.mapper import Mapper
from tranship.connectors.protocols import Feed, Scope, Span
from tranship.orchestrator.demo.targets import Snapshot, snapshot
from tranship.orchestrator.engine.session import Session, open_session
from tranship.orchestrator.journal.state import State
from tranship.orchestrator.reports.status import Status, status_of
from tranship.orchestrator.sandbox import Servers
from tranship.orchestrator.sandbox.databases import SourceDatabase, fresh_source, fresh_target
from tranship.plans import load
from tranship.plans.strategies import Group

LIMIT_S = 90.0
"""For the slowest wait on a busy machine; what works is there in a few seconds."""

POLL_S = 0.1
STEADY_S = "0.3"

SCHEMA = "moved"
STATE = "tranship"

QUICK: dict[str, Any] = {
    "cutover": {"quiet": "300ms", "deadline": "1s"},
    "limits": {"workers": 1, "chunk": "64KiB", "lease": "3s", "misfit": "100%"},
}
"""Parts of a plan that make a run short, and its few documents as odd as a test needs."""

THINGS: dict[str, Any] = {
    "things": {"key": {"_id": "text"}, "columns": {"name": "text", "number": {"type": "int64", "bson": "int32"}}}
}
"""The smallest stream: `{_id: "a", name: "…", number: 1}`."""

_RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)

ASKING = ("rollback", "reseed", "purge")


@dataclass
class Child:
    """A `tranship` command that is under way."""

    process: Forked | subprocess.Popen[bytes]
    log: Path

    @property
    def output(self) -> str:
        """All it has said so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def wait(self, limit_s: float = LIMIT_S) -> int:
        """Its exit code."""
        return self.process.wait(limit_s)

    def kill(self) -> None:
        """SIGKILL, with its workers."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@dataclass
class Route:
    """From a database of its own to a database of its own."""

    source: SourceDatabase
    target_uri: str
    folder: Path
    client: pymongo.MongoClient[dict[str, Any]]
    environment: dict[str, str] = field(default_factory=dict)
    children: list[Child] = field(default_factory=list)
    forked: bool = True
    """Whether commands begin as forks of a process that has imported them, with a short wait for a steady lag."""

    def __post_init__(self) -> None:
        self.environment = {**os.environ, "SOURCE_URI": self.source.uri, "TARGET_URI": self.target_uri}

    # --- the plan -------------------------------------------------------------------------------------------------

    def plan(self, streams: Mapping[str, Any], name: str = "small", **parts: Any) -> Path:
        """Write a plan for these databases; `parts` go over those of `QUICK`."""
        declared: dict[str, Any] = {
            "version": 1,
            "plan": name,
            "source": {"mongodb": "${env:SOURCE_URI}", "database": self.source.name},
            "target": {"postgresql": "${env:TARGET_URI}", "schema": SCHEMA},
            "streams": dict(streams),
        }
        return self.write(name, declared, **parts)

    def write(self, name: str, declared: dict[str, Any], **parts: Any) -> Path:
        """Write what is declared, made short, with some parts changed."""
        for part, values in {**QUICK, **parts}.items():
            merge = isinstance(values, dict) and isinstance(declared.get(part, {}), dict)
            quick = QUICK.get(part, {}) if merge else {}
            declared[part] = {**declared.get(part, {}), **quick, **values} if merge else values
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(declared, sort_keys=False), encoding="utf-8")
        return path

    # --- the commands ---------------------------------------------------------------------------------------------

    def start(self, *arguments: str | Path, **environment: str) -> Child:
        """Start a command in a session of its own; one that would ask is told that it may."""
        if arguments[0] in ASKING and "--yes" not in arguments:
            arguments = (*arguments, "--yes")
        log = self.folder / f"{len(self.children)}-{arguments[0]}.log"
        environment = {forks.STEADY: STEADY_S, **self.environment, **environment}
        words = list(map(str, arguments))
        with log.open("wb") as output:
            process = (forks.start if self.forked else forks.begin)(words, environment, output)
        child = Child(process, log)
        self.children.append(child)
        return child

    def tranship(self, *arguments: str | Path, **environment: str) -> tuple[int, str]:
        """Carry out a command: its exit code and all that it said."""
        child = self.start(*arguments, **environment)
        return child.wait(), child.output

    def run_to(self, plan: Path, condition: Callable[[Status], bool], **environment: str) -> Child:
        """Start `tranship run` and return once its status is as wanted; it goes on."""
        child = self.start("run", plan, **environment)
        self.await_status(plan, condition, child)
        return child

    def run_to_approval(self, plan: Path) -> Child:
        """Start `tranship run` and return once it waits for the approval of the cutover."""
        return self.run_to(plan, lambda status: status.waiting_for_approval == Group.CUTOVER)

    # --- looking --------------------------------------------------------------------------------------------------

    def documents(self, collection: str = "things") -> Collection[dict[str, Any]]:
        """A collection of the source."""
        return self.client[self.source.name][collection]

    def query(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Rows of the target; times in UTC."""
        with psycopg.connect(self.target_uri, options="-c timezone=UTC") as connection:
            cursor = connection.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def tamper(self, statement: str, *parameters: object) -> None:
        """Change the target's rows as a bug of the applier might: their guard takes it for the applier."""
        with psycopg.connect(self.target_uri) as connection:
            tamper(connection, statement, *parameters)

    def rows(self, table: str, *columns: str) -> list[tuple[Any, ...]]:
        """Some columns of a migrated table, ordered by them."""
        names = sql.SQL(", ").join(map(sql.Identifier, columns))
        statement = sql.SQL("select {} from {} order by {}").format(names, sql.Identifier(SCHEMA, table), names)
        with psycopg.connect(self.target_uri) as connection:
            return connection.execute(statement).fetchall()

    def target(self) -> Snapshot:
        """What is in the target, the state schema aside."""
        return snapshot(self.target_uri)

    def has_state(self) -> bool:
        """Whether the state schema is there."""
        return bool(self.query("select 1 from pg_namespace where nspname = %s", STATE))

    @contextmanager
    def session(self, plan: Path) -> Iterator[Session]:
        """The plan's control store, to look at its run from beside it."""
        with open_session(load(plan, self.environment)) as session:
            yield session

    def status(self, plan: Path) -> Status:
        """What `tranship status` shows."""
        with self.session(plan) as session:
            name = session.latest()
            assert name is not None
            return status_of(session, name)

    def state(self, plan: Path) -> State:
        """The folded state of the plan's newest run."""
        with self.session(plan) as session:
            name = session.latest()
            assert name is not None
            return session.state(name)

    def rebuilt(self, plan: Path) -> dict[str, list[bytes]]:
        """The documents that the target's rows stand for, by stream, in key order: read back through the connector."""
        with self.session(plan) as session:
            name = session.latest()
            assert name is not None
            state = session.state(name)
            target = session.connect.target(Scope(name, Feed.FORWARD, state.epoch))
            try:
                return {
                    stream.name: [
                        document
                        for batch in target.read(stream, Span(None, None))
                        for document in Mapper(stream).documents(batch.rows)
                    ]
                    for stream in session.streams
                }
            finally:
                target.close()

    def raw(self, collection: str = "things") -> list[bytes]:
        """The documents of a collection as the source keeps them, in its order of keys."""
        blocks = self.documents(collection).find_raw_batches(sort=[("_id", 1)])
        return [bytes(document.raw) for block in blocks for document in bson.decode_all(block, _RAW)]

    def await_status(self, plan: Path, condition: Callable[[Status], bool], child: Child) -> Status:
        """Wait until the status of the run that a child carries out is as wanted."""
        with self.session(plan) as session:
            found: list[Status] = []

            def reached() -> bool:
                name = session.latest()
                if name is None or not session.control.journal(name):
                    return False
                found.append(status_of(session, name))
                return condition(found[-1])

            wait_until(reached, child, "the status to be as wanted")
            return found[-1]

    def close(self) -> None:
        """End whatever still runs."""
        for child in self.children:
            child.kill()


def tamper(connection: psycopg.Connection[Any], statement: str, *parameters: object) -> None:
    """What `Route.tamper` does, by a connection that is there: for those who do it often."""
    with connection.transaction():
        for (run,) in connection.execute("select run from tranship.route where state = 'closed'").fetchall():
            connection.execute("select set_config('tranship.applies', %s, true)", (run,))
        connection.execute(statement.encode(), parameters)


def wait_until(
    condition: Callable[[], bool], child: Child | None = None, what: str = "it", limit_s: float = LIMIT_S
) -> None:
    """Wait for a condition; a child that ends before, or time that runs out, is an error with all the child said."""
    end = time.monotonic() + limit_s
    while not condition():
        said = f":\n{child.output}" if child else ""
        assert child is None or child.process.poll() is None, f"exit code {child.process.returncode}{said}"
        assert time.monotonic() < end, f"waited {limit_s:g} s for {what}{said}"
        time.sleep(POLL_S)


def things(count: int, prefix: str = "t") -> Sequence[dict[str, Any]]:
    """Documents for `THINGS`."""
    return [{"_id": f"{prefix}{n:05}", "name": f"name {n}", "number": n} for n in range(count)]


@contextmanager
def fresh_route(servers: Servers, folder: Path) -> Iterator[Route]:
    """A route between databases of its own; they go with the block."""
    with (
        fresh_source(servers) as source,
        fresh_target(servers) as target,
        pymongo.MongoClient[dict[str, Any]](source.uri) as client,
    ):
        made = Route(source, target, folder, client)
        try:
            yield made
        finally:
            made.close()


@contextmanager
def written_to(write: Callable[[int], object], pause_s: float) -> Iterator[None]:
    """Somebody writes for the length of the block: `write` is called with 0, 1, 2 and so on."""
    stop = threading.Event()

    def work() -> None:
        for number in itertools.count():
            if stop.wait(pause_s):
                return
            write(number)

    writer = threading.Thread(target=work)
    writer.start()
    try:
        yield
    finally:
        stop.set()
        writer.join()
