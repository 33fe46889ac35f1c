"""Servers in containers, through testcontainers. Ports are bound to the loopback only.

Not run where this was written (no Docker engine there): the embedded servers are what the tests run on by default.
testcontainers' own reaper removes the containers when the keeper is killed.
"""

from __future__ import annotations

import secrets
from contextlib import ExitStack
from typing import Any, cast

from tranship.orchestrator.sandbox.servers import SandboxError, ServerMissingError

MONGODB_IMAGE = "mongo:8"
POSTGRESQL_IMAGE = "postgres:17"

_INITIATE = "rs.initiate({_id: 'rs0', members: [{_id: 0, host: '127.0.0.1:27017'}]})"


def start_mongodb(stack: ExitStack) -> str:
    """Start a replica set of one; the stack stops it. Returns its URI; does not wait for the primary."""
    container = _container(MONGODB_IMAGE, 27017)
    container.with_command(["mongod", "--replSet", "rs0", "--bind_ip_all"])
    stack.enter_context(container)
    _run_until_done(container, ["mongosh", "--quiet", "--eval", _INITIATE])
    return f"mongodb://127.0.0.1:{container.get_exposed_port(27017)}/?directConnection=true"


def start_postgresql(stack: ExitStack) -> str:
    """Start a PostgreSQL with a random password; the stack stops it. Returns its URI; does not wait for it."""
    password = secrets.token_urlsafe(16)
    container = _container(POSTGRESQL_IMAGE, 5432)
    container.with_env("POSTGRES_PASSWORD", password)
    container.with_command(["postgres", "-c", "wal_level=logical", "-c", "max_wal_size=4GB"])
    stack.enter_context(container)
    return f"postgresql://postgres:{password}@127.0.0.1:{container.get_exposed_port(5432)}/postgres"


def _container(image: str, port: int) -> Any:
    try:
        from docker.errors import DockerException
        from testcontainers.core.container import DockerContainer
    except ImportError:
        raise ServerMissingError("no Docker client: testcontainers not found; install tranship[sandbox]") from None
    try:
        container = DockerContainer(image)
    except DockerException as problem:
        raise ServerMissingError(f"no Docker engine for {image}: {problem}") from None
    # (address, None) is a free port of that address; the library's own type knows only ports of all addresses.
    cast("dict[str, Any]", container.ports)[f"{port}/tcp"] = ("127.0.0.1", None)
    return container


def _run_until_done(container: Any, command: list[str], tries: int = 60) -> None:
    """Repeat a command in the container until it succeeds; it takes about a second itself, so there is no pause."""
    result = None
    for _ in range(tries):
        result = container.exec(command)
        if result.exit_code == 0:
            return
    raise SandboxError(f"{command[0]} in {MONGODB_IMAGE} failed {tries} times: {result.output if result else ''!r}")
