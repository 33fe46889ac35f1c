"""A sandbox that outlives the command: `tranship sandbox up`, `status`, `down`."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path

from tranship.orchestrator.sandbox import state
from tranship.orchestrator.sandbox.readiness import mongodb_replies, postgresql_answers, wait_until
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
    """Start the chosen servers if they do not run yet. Returns when both answer; raises `SandboxError`."""
    kind = _kind(folder)
    if kind is Kind.EXTERNAL:
        return _answering(external_servers(), folder)
    running = state.read(folder)
    if running is None:
        keeper = start_keeper(folder, kind, until="terminated")
        return read_servers(keeper, folder)
    if running.servers.kind is not kind:
        raise SandboxError(f"a sandbox of kind {running.servers.kind} runs in {folder}; take it down first")
    return _answering(running.servers, folder)


def status(folder: Path) -> Servers | None:
    """The servers that run, or None. A state file left behind by a crash is removed.

    Raises `SandboxError` when one of them does not answer: a keeper that is there does not say that its servers are.
    """
    if _kind(folder) is Kind.EXTERNAL:
        return _answering(external_servers(), folder)
    running = state.read(folder)
    return None if running is None else _answering(running.servers, folder)


def _kind(folder: Path, environment: Mapping[str, str] = os.environ) -> Kind:
    """What the environment asks for. URIs that this sandbox has handed out name the sandbox, not somebody's servers."""
    given = {name: value for name, value in environment.items() if name not in ("SOURCE_URI", "TARGET_URI")}
    uris = environment.get("SOURCE_URI", ""), environment.get("TARGET_URI", "")
    return chosen_kind(given if state.issued(folder, *uris) else environment)


def _answering(servers: Servers, folder: Path) -> Servers:
    """The servers, asked now. Raises `SandboxError` naming the silent ones."""
    answers = {"MongoDB": mongodb_replies(servers.source_uri), "PostgreSQL": postgresql_answers(servers.target_uri)}
    silent = " and ".join(name for name, answered in answers.items() if not answered)
    if not silent:
        return servers
    if servers.kind is Kind.EXTERNAL:
        raise SandboxError(
            f"{silent}: no answer at the address in SOURCE_URI or TARGET_URI. Start it, or unset both for a sandbox"
        )
    raise SandboxError(
        f"the sandbox in {folder} runs, but {silent} does not answer; what it said is in the logs there. "
        "`tranship sandbox down`, then `tranship sandbox up` starts it again, with its data"
    )


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
