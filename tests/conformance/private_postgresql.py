"""A PostgreSQL of a test's own, which may be set up, killed and started again."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from tenacity import Retrying, stop_after_delay, wait_fixed

from tranship.orchestrator.sandbox.embedded import remove_socket_folder, start_postgresql

START_S = 60.0


class PrivatePostgres:
    """`uri`: of its database `postgres`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._start()

    def _start(self) -> None:
        # After a kill the server's other processes end a moment later; until then a new one refuses to begin.
        for attempt in Retrying(stop=stop_after_delay(START_S), wait=wait_fixed(0.1), reraise=True):
            with attempt:
                self._server = start_postgresql(self._folder)
                self.uri = self._server.uri
                self._wait()

    def _wait(self) -> None:
        for attempt in Retrying(stop=stop_after_delay(START_S), wait=wait_fixed(0.05), reraise=True):
            with attempt:
                if self._server.process.poll() is None:
                    psycopg.connect(self.uri).close()
        self._server.check_alive()

    def kill(self) -> None:
        """As if the power went out, but for what the system has in memory; then start it again."""
        os.kill(self._server.process.pid, signal.SIGKILL)
        self._server.process.wait()
        self._start()

    def set(self, **settings: str) -> None:
        """Settings that need no restart; an empty one is as before."""
        with psycopg.connect(self.uri, autocommit=True) as session:
            for name, value in settings.items():
                session.execute(f"ALTER SYSTEM SET {name} = '{value}'".encode())
            session.execute("SELECT pg_reload_conf()")
            for name, value in settings.items():
                for attempt in Retrying(stop=stop_after_delay(START_S), wait=wait_fixed(0.02), reraise=True):
                    with attempt, psycopg.connect(self.uri, autocommit=True) as fresh:
                        row = fresh.execute("SELECT current_setting(%s)", (name,)).fetchone()
                        assert row == (value,)

    def stop(self) -> None:
        self._server.stop()


@contextmanager
def private_postgresql() -> Iterator[PrivatePostgres]:
    """Start one; it is stopped and removed at the end."""
    with tempfile.TemporaryDirectory(prefix="tranship-private-") as place:
        folder = Path(place)
        server = PrivatePostgres(folder)
        try:
            yield server
        finally:
            server.stop()
            remove_socket_folder(folder)
