"""A target in a real MongoDB that keeps its own marks, and its ledger in memory."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

import pymongo
import pytest
from pymongo.database import Database
from pymongo.errors import PyMongoError

from tests.conformance.target_world import Hook
from tranship.connectors.detached import DetachedTarget, detached_progress
from tranship.connectors.memory import MemoryLedger, MemoryStore
from tranship.connectors.memory.reader import no_hook
from tranship.connectors.mongodb.target import MongoMarkedTarget
from tranship.connectors.protocols import Feed, Progress, Scope, TargetSchema
from tranship.plans.streams import Endpoint, Stream

START_S = 60.0
SERVERS = ("secantusd-rs", "secantusd-py")


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
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    uri = f"mongodb://127.0.0.1:{port}/?directConnection=true"
    try:
        _wait_for(uri)
        yield uri
    finally:
        process.kill()
        process.wait()


def _wait_for(uri: str) -> None:
    until = time.monotonic() + START_S
    with pymongo.MongoClient[dict[str, Any]](uri, serverSelectionTimeoutMS=500) as client:
        while True:
            try:
                client.admin.command("ping")
            except PyMongoError:
                assert time.monotonic() < until, "the server does not start"
            else:
                return


class MongoMarkedWorld:
    """Rows and marks in a database of a real server; the ledger is a store in memory."""

    def __init__(self, uri: str, database: str, stack: ExitStack) -> None:
        self.endpoint = Endpoint("mongodb", uri, database)
        self.client = stack.enter_context(pymongo.MongoClient[dict[str, Any]](uri))
        self.database: Database[dict[str, Any]] = self.client[database]
        self.ledger = MemoryStore("ledger")
        self._stack = stack

    def take_over(self, run: str) -> int:
        epoch = self.ledger.take_over(run)
        self.marked().claim(Scope(run, Feed.FORWARD, epoch), [])
        return epoch

    def marked(self, hook: Hook | None = None) -> MongoMarkedTarget:
        found = MongoMarkedTarget(self.endpoint, hook or no_hook)
        self._stack.callback(found.close)
        return found

    def target(self, scope: Scope, hook: Hook | None = None) -> DetachedTarget:
        called = hook or no_hook
        return DetachedTarget(self.marked(hook), MemoryLedger(self.ledger, called), scope, called)

    def progress(self, hook: Hook | None = None) -> Progress:
        return detached_progress(self.marked(hook), MemoryLedger(self.ledger, hook or no_hook))

    def schema(self) -> TargetSchema:
        return cast(TargetSchema, _Indexes(self.database))


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
