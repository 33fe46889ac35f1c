"""Which servers the sandbox is made of, and the block in which they run.

| environment | servers |
|---|---|
| `SOURCE_URI` and `TARGET_URI` | those; nothing is started or stopped |
| `SANDBOX=docker` | containers: `mongo:8` (a replica set of one), `postgres:17` |
| otherwise | embedded: processes of this machine, from packages |

The servers belong to a keeper process (`orchestrator.sandbox.keeper`), not to the caller: see there for why.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

START_S = 300.0
"""A first start in containers has to fetch the images; embedded servers take about a second."""
STOP_S = 60.0


class SandboxError(Exception):
    """The sandbox's servers could not be started, found or stopped; the message says why and what to do."""


class ServerMissingError(SandboxError):
    """A server is not installed here (no package, no executable, no Docker engine): nothing is wrong with the rest."""


class Kind(StrEnum):
    """Where the servers come from."""

    EMBEDDED = "embedded"
    DOCKER = "docker"
    EXTERNAL = "external"


@dataclass(frozen=True)
class Servers:
    """Two running servers. `repr` shows no URI: those of external servers hold passwords."""

    kind: Kind
    source_uri: str = field(repr=False)
    target_uri: str = field(repr=False)


def chosen_kind(environment: Mapping[str, str] = os.environ) -> Kind:
    """Read the choice from the environment; a half-made or unknown choice is an error, never a default."""
    given = [name for name in ("SOURCE_URI", "TARGET_URI") if environment.get(name)]
    if len(given) == 1:
        raise SandboxError(f"{given[0]} is set alone: set both SOURCE_URI and TARGET_URI, or neither")
    if given:
        return Kind.EXTERNAL
    choice = environment.get("SANDBOX", "") or Kind.EMBEDDED
    if choice not in {Kind.EMBEDDED, Kind.DOCKER}:
        raise SandboxError(f"SANDBOX is {choice!r}; allowed are 'embedded' (the default) and 'docker'")
    return Kind(choice)


def external_servers(environment: Mapping[str, str] = os.environ) -> Servers:
    """The servers named by `SOURCE_URI` and `TARGET_URI`."""
    return Servers(Kind.EXTERNAL, environment["SOURCE_URI"], environment["TARGET_URI"])


@contextmanager
def sandbox(folder: Path) -> Iterator[Servers]:
    """Run the chosen servers for the length of the block, with their data and logs in `folder`.

    They are stopped however the block or this process ends, SIGKILL included. Data that `folder` holds from before is
    used again. Raises `ServerMissingError` when a server is not installed, `SandboxError` when it does not start.
    """
    kind = chosen_kind()
    if kind is Kind.EXTERNAL:
        yield external_servers()
        return
    keeper = start_keeper(folder, kind, until="stdin-closes")
    try:
        yield read_servers(keeper, folder)
    finally:
        stop_keeper(keeper)


def start_keeper(folder: Path, kind: Kind, *, until: str) -> subprocess.Popen[bytes]:
    """Start the process that runs the servers; `until` says what ends it (see `orchestrator.sandbox.keeper`)."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "keeper.log").open("ab") as log:
        return subprocess.Popen(
            # -P: a folder `tranship` where the user happens to be is not the package.
            [sys.executable, "-P", "-m", "tranship.orchestrator.sandbox.keeper", str(folder), kind, "--until", until],
            stdin=subprocess.PIPE if until == "stdin-closes" else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            # Ctrl-C goes to the whole foreground session: the servers must outlive it until their user has cleaned up.
            start_new_session=True,
        )


def read_servers(keeper: subprocess.Popen[bytes], folder: Path) -> Servers:
    """Wait for the keeper's one line: the servers, or why there are none."""
    assert keeper.stdout is not None
    line = keeper.stdout.readline()
    if not line:
        tail = (folder / "keeper.log").read_text(errors="replace")[-2000:]
        raise SandboxError(f"the sandbox's servers did not start in {folder}:\n{tail}")
    report = json.loads(line)
    if "missing" in report:
        raise ServerMissingError(report["missing"])
    if "error" in report:
        raise SandboxError(report["error"])
    return Servers(Kind(report["kind"]), report["source_uri"], report["target_uri"])


def stop_keeper(keeper: subprocess.Popen[bytes]) -> None:
    """Close the keeper's stdin, which tells it to stop the servers, and wait until it has."""
    for pipe in (keeper.stdin, keeper.stdout):
        if pipe is not None:
            pipe.close()
    try:
        keeper.wait(STOP_S)
    except subprocess.TimeoutExpired:
        keeper.kill()  # its servers end with it (`processes.end_with_parent`)
        keeper.wait()
        raise SandboxError(f"the sandbox's servers took longer than {STOP_S:.0f} s to stop and were killed") from None
