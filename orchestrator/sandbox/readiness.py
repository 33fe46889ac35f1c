"""Waiting for servers: conditions that are asked for until they hold."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import psycopg
import pymongo
from pymongo.errors import PyMongoError

from tranship.orchestrator.sandbox.servers import SandboxError

POLL_S = 0.02
"""How often a condition is asked for; small against the half second that a server needs."""

REPLY_MS = 3000


def wait_until(what: str, condition: Callable[[], bool], timeout_s: float) -> None:
    """Return once the condition holds; `SandboxError` when time runs out. What the condition raises, it raises."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise SandboxError(f"waited {timeout_s:.0f} s in vain: {what}")
        time.sleep(POLL_S)


def mongodb_answers(uri: str) -> bool:
    """Whether the server of a single-host URI takes writes now."""
    address = urlsplit(uri)
    try:
        # A bare connection first: the driver looks at a host that refused it only twice a second.
        socket.create_connection((address.hostname or "", address.port or 27017), timeout=1).close()
        with pymongo.MongoClient[dict[str, object]](uri, serverSelectionTimeoutMS=1000) as client:
            return bool(client.admin.command("hello").get("isWritablePrimary"))
    except (OSError, PyMongoError):
        return False


def mongodb_replies(uri: str) -> bool:
    """Whether the servers of any URI say who they are, within a few seconds."""
    try:
        with pymongo.MongoClient[dict[str, object]](uri, serverSelectionTimeoutMS=REPLY_MS) as client:
            client.admin.command("hello")
    except (ValueError, PyMongoError):
        return False
    return True


def postgresql_answers(uri: str) -> bool:
    """Whether the server accepts a connection and a statement now."""
    try:
        with psycopg.connect(uri, connect_timeout=2) as connection:
            return connection.execute("select 1").fetchone() == (1,)
    except psycopg.Error:
        return False
