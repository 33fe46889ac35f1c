"""A target in a real MongoDB that keeps its own marks, and a ledger: in memory, unless it is told another one."""

from __future__ import annotations

import shutil
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, cast

import pymongo
import pytest
from pymongo.database import Database

from tests.conformance.detached_world import DetachedWorld, LedgerHalf, MemoryKept
from tests.conformance.target_world import Hook
from tranship.connectors.memory.reader import no_hook
from tranship.connectors.mongodb.target import MongoMarkedTarget
from tranship.connectors.protocols import READING, Feed, Scope, TargetSchema
from tranship.orchestrator.sandbox import processes
from tranship.orchestrator.sandbox.readiness import mongodb_answers, wait_until
from tranship.plans.streams import Endpoint, Stream

START_S = 60.0
SERVERS = ("secantusd-rs", "secantusd-py")
NOBODY = Scope("", Feed.FORWARD, READING)


@contextmanager
def server(name: str, folder: Path) -> Iterator[str]:
    """The URI of an embedded server of this name."""
    found = shutil.which(Path(sys.executable).parent / name) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    argv = [found, "--host", "127.0.0.1", "--port", str(port), "--storage-path", str(folder), "--log-level", "WARNING"]
    uri = f"mongodb://127.0.0.1:{port}/?directConnection=true"
    kill = signal.SIGKILL
    started = processes.start(name, argv, uri=uri, log=folder / "server.log", stop_signal=kill, death_signal=kill)
    try:
        wait_until(f"{name} to answer", lambda: mongodb_answers(uri), START_S)
        yield uri
    finally:
        started.stop()


class MongoRows:
    """`RowsHalf`: a database of a real server."""

    def __init__(self, endpoint: Endpoint, database: Database[dict[str, Any]], stack: ExitStack) -> None:
        self.endpoint = endpoint
        self.database = database
        self.stack = stack

    def marked(self, scope: Scope, hook: Hook) -> MongoMarkedTarget:  # noqa: ARG002  it is told with each call
        return self.stack.enter_context(closing(MongoMarkedTarget(self.endpoint, hook)))

    def schema(self) -> TargetSchema:
        return cast(TargetSchema, _Indexes(self.database))

    def held(self) -> dict[int, str]:
        return {one["number"]: one["status"] for one in self.database.orders.find()}

    def sealed(self, scope: Scope) -> bool:
        lanes = self.database["tranship_marks"].find({"run": scope.run, "feed": scope.feed.value, "kind": "lane"})
        return all(one["sealed"] for one in lanes)


class MongoMarkedWorld(DetachedWorld):
    """Rows and marks in a database of a real server; the ledger is a store in memory, unless it is another one."""

    def __init__(self, uri: str, database: str, stack: ExitStack, ledger: LedgerHalf | None = None) -> None:
        self.endpoint = Endpoint("mongodb", uri, database)
        self.client = stack.enter_context(pymongo.MongoClient[dict[str, Any]](uri))
        self.database: Database[dict[str, Any]] = self.client[database]
        super().__init__(MongoRows(self.endpoint, self.database, stack), ledger or MemoryKept())

    def marked(self, hook: Hook | None = None) -> MongoMarkedTarget:
        """One more connection."""
        return cast(MongoRows, self.rows).marked(NOBODY, hook or no_hook)


class _Indexes:
    """Collections need no tables; what is unique is so by the source's own indexes, which an application has made."""

    def __init__(self, database: Database[dict[str, Any]]) -> None:
        self._database = database

    def create_tables(self, scope: Scope, streams: Sequence[Stream]) -> None:
        """Nothing."""

    def create_constraints(self, scope: Scope, streams: Sequence[Stream]) -> None:  # noqa: ARG002
        for stream in streams:
            for column in stream.columns:
                if column.unique:
                    self._database[stream.collection].create_index(
                        column.name, name=f"{stream.table}__{column.name}__key", unique=True, sparse=True
                    )
