"""A sandbox that outlives the command: `tranship sandbox up`, `status`, `down`."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

from tranship.orchestrator.sandbox import state
from tranship.orchestrator.sandbox.readiness import wait_until
from tranship.orchestrator.sandbox.servers import (
    STOP_S,
    Kind,
    SandboxError,
    Servers,
    chosen_kind,
    external_servers,
    read_servers,
    start_keeper,
)


def up(folder: Path) -> Servers:
    """Start the chosen servers if they do not run yet. Returns when both answer."""
    kind = chosen_kind()
    if kind is Kind.EXTERNAL:
        return external_servers()
    running = state.read(folder)
    if running is None:
        keeper = start_keeper(folder, kind, until="terminated")
        return read_servers(keeper, folder)
    if running.servers.kind is not kind:
        raise SandboxError(f"a sandbox of kind {running.servers.kind} runs in {folder}; take it down first")
    return running.servers


def status(folder: Path) -> Servers | None:
    """The servers that run, or None. A state file left behind by a crash is removed."""
    if chosen_kind() is Kind.EXTERNAL:
        return external_servers()
    running = state.read(folder)
    return None if running is None else running.servers


def down(folder: Path, *, purge: bool = False) -> bool:
    """Stop the servers and return whether any ran; with `purge` delete their data as well. Idempotent."""
    running = state.read(folder)
    if running is not None:
        os.kill(running.keeper, signal.SIGTERM)
    wait_until(f"the servers in {folder} to stop", lambda: not state.is_locked(folder), STOP_S)
    if purge and folder.exists():
        if not state.is_sandbox(folder):
            raise SandboxError(
                f"{folder} is no sandbox's folder: tranship has made nothing in it. Nothing was deleted."
            )
        shutil.rmtree(folder)
    return running is not None
