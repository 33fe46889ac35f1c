"""What a sandbox folder tells about itself: a lock that its keeper holds, and a file that names the servers.

The lock is the truth: the kernel drops it when the keeper ends, however that happens. A file without a held lock is
stale and counts for nothing. Another file keeps the URIs that were handed out last, also after the servers have
ended: a shell that has evaluated them still names them, and they are nobody else's servers.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tranship.orchestrator.sandbox.readiness import wait_until
from tranship.orchestrator.sandbox.servers import Kind, SandboxError, Servers

_LOCK_NAME = "keeper.lock"
_STATE_NAME = "servers.json"
_ISSUED_NAME = "issued.json"
_LOCK_S = 2.0
"""Long enough for a keeper on its way out, and for `is_locked` of another command, which holds it for a moment."""


@dataclass(frozen=True)
class Running:
    """A sandbox that runs: its servers and the keeper to ask to stop."""

    servers: Servers
    keeper: int


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; `SandboxError` if another keeper does."""
    with (folder / _LOCK_NAME).open("w") as file:
        try:
            wait_until(f"the lock of {folder}", lambda: _try_lock(file.fileno(), fcntl.LOCK_EX), _LOCK_S)
        except SandboxError:
            raise SandboxError(f"another sandbox is running in {folder}") from None
        yield


def is_sandbox(folder: Path) -> bool:
    """Whether a keeper has ever worked in this folder."""
    return (folder / _LOCK_NAME).is_file()


def is_locked(folder: Path) -> bool:
    """Whether a keeper is alive in this folder."""
    try:
        with (folder / _LOCK_NAME).open() as file:
            return not _try_lock(file.fileno(), fcntl.LOCK_SH)
    except FileNotFoundError:
        return False


@contextmanager
def recorded(folder: Path, servers: Servers) -> Iterator[None]:
    """Name the servers in the folder's file for the length of the block. Only the owner can read it."""
    path = folder / _STATE_NAME
    record = {"kind": servers.kind, "source_uri": servers.source_uri, "target_uri": servers.target_uri}
    _write(folder / _ISSUED_NAME, record)
    _write(path, record | {"keeper": os.getpid()})
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _write(path: Path, record: Mapping[str, str | int]) -> None:
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(record, file)
    new.rename(path)  # whole or not at all


def issued(folder: Path, source_uri: str, target_uri: str) -> bool:
    """Whether the folder's sandbox has handed these URIs out last, be it running or not."""
    try:
        record = json.loads((folder / _ISSUED_NAME).read_text())
    except FileNotFoundError:
        return False
    return (record["source_uri"], record["target_uri"]) == (source_uri, target_uri)


def read(folder: Path) -> Running | None:
    """What runs in the folder; None when nothing does, and then a stale file is removed."""
    path = folder / _STATE_NAME
    if not is_locked(folder):
        path.unlink(missing_ok=True)
        return None
    try:
        record = json.loads(path.read_text())
    except FileNotFoundError:
        return None  # it is starting or stopping
    return Running(Servers(Kind(record["kind"]), record["source_uri"], record["target_uri"]), record["keeper"])


def _try_lock(fileno: int, mode: int) -> bool:
    try:
        fcntl.flock(fileno, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
