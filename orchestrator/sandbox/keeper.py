"""The process that the sandbox's servers belong to: `python -m tranship.orchestrator.sandbox.keeper FOLDER KIND`.

Why a process of its own: it holds one end of a pipe whose other end is in the user's process. However that one ends
(return, exception, SIGTERM, SIGKILL), the pipe closes, and the keeper stops the servers in good order; no signal
handler or exit hook in the user's process is needed. Should the keeper itself be killed, the kernel ends the servers
(Linux).

It prints one line of JSON: the servers, or `{"missing": …}`, or `{"error": …}`. While it lives it holds the lock of
FOLDER (`orchestrator.sandbox.state`), so that no two run on the same data.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tranship.orchestrator.sandbox import containers, embedded, state
from tranship.orchestrator.sandbox.processes import ServerProcess
from tranship.orchestrator.sandbox.readiness import mongodb_answers, postgresql_answers, wait_until
from tranship.orchestrator.sandbox.servers import START_S, Kind, SandboxError, ServerMissingError, Servers


def main() -> int:
    """Run the servers until told to stop; 0 unless they could not be started."""
    parser = argparse.ArgumentParser(prog="keeper")
    parser.add_argument("folder", type=Path)
    parser.add_argument("kind", type=Kind)
    parser.add_argument("--until", choices=["stdin-closes", "terminated"], required=True)
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # unwinds the stack, which stops the servers
    with ExitStack() as stack:
        try:
            stack.enter_context(state.locked(folder))
            servers = _start(arguments.kind, folder, stack)
        except ServerMissingError as problem:
            _print({"missing": str(problem)})
            return 1
        except SandboxError as problem:
            _print({"error": str(problem)})
            return 1
        stack.enter_context(state.recorded(folder, servers))
        _print({"kind": servers.kind, "source_uri": servers.source_uri, "target_uri": servers.target_uri})
        if arguments.until == "stdin-closes":
            sys.stdin.buffer.read()
        else:
            signal.pause()
    return 0


def _start(kind: Kind, folder: Path, stack: ExitStack) -> Servers:
    """Start both servers at the same time and wait until both answer. The stack stops them."""
    if kind is Kind.DOCKER:
        uris = containers.start_mongodb(stack), containers.start_postgresql(stack)
        started: list[ServerProcess] = []
    else:
        started = _start_embedded(folder, stack)
        uris = started[0].uri, started[1].uri
    servers = Servers(kind, *uris)
    wait_until("MongoDB to take writes", _alive(started, lambda: mongodb_answers(servers.source_uri)), START_S)
    wait_until("PostgreSQL to answer", _alive(started, lambda: postgresql_answers(servers.target_uri)), START_S)
    return servers


def _start_embedded(folder: Path, stack: ExitStack) -> list[ServerProcess]:
    mongodb = embedded.start_mongodb(folder / "mongodb")
    stack.callback(mongodb.stop)
    stack.callback(embedded.remove_socket_folder, folder / "postgresql")
    postgresql = embedded.start_postgresql(folder / "postgresql")
    stack.callback(postgresql.stop)
    return [mongodb, postgresql]


def _alive(started: list[ServerProcess], condition: Callable[[], bool]) -> Callable[[], bool]:
    """The condition, but an error as soon as one of the processes has ended."""

    def check() -> bool:
        for process in started:
            process.check_alive()
        return condition()

    return check


def _print(report: dict[str, str]) -> None:
    sys.stdout.write(json.dumps(report) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
