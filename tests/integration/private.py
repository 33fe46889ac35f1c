"""Servers of a test's own, for what the shared sandbox must not be: locked, standalone, forgetful, or stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tranship.orchestrator.sandbox import ServerMissingError
from tranship.orchestrator.sandbox.embedded import mongodb_executable
from tranship.orchestrator.sandbox.readiness import mongodb_answers, wait_until

START_S = 60.0
LAX = "secantusd-py"
"""The server that asks for less than MongoDB does, and tells nobody his rights; docs/privileges.md says in what."""


def lax() -> bool:
    """Whether the tests' server is that one."""
    return mongodb_executable().name == LAX


@dataclass
class PrivateMongo:
    """A MongoDB-compatible server with options of its own; it can be stopped and started again on its data."""

    folder: Path
    port: int
    options: list[str] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        """Its address, without credentials."""
        return f"mongodb://127.0.0.1:{self.port}/?directConnection=true"

    def start(self, *options: str) -> None:
        """Start it and wait until it answers; `options` are for this time only."""
        argv = [str(mongodb_executable()), "--host", "127.0.0.1", "--port", str(self.port)]
        argv += ["--storage-path", str(self.folder), "--log-level", "WARNING", *self.options, *options]
        with (self.folder.parent / "private.log").open("ab") as log:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until("the private MongoDB", lambda: mongodb_answers(self.uri), START_S)

    def stop(self) -> None:
        """End it in good order; its data stays."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None


@contextmanager
def private_mongo(folder: Path, *options: str) -> Iterator[PrivateMongo]:
    """A server that ends with the block; skipped with its name where there is none, a failure in CI."""
    try:
        mongodb_executable()
    except ServerMissingError as missing:
        if os.environ.get("CI"):
            pytest.fail(f"CI must have this server: {missing}")
        pytest.skip(str(missing))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    data = folder / "private"
    data.mkdir()
    server = PrivateMongo(data, port, list(options))
    try:
        server.start()
        yield server
    finally:
        server.stop()
