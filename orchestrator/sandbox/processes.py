"""Server processes: start one that ends with this process, watch that it lives, stop it."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tranship.orchestrator.sandbox.servers import SandboxError

_PR_SET_PDEATHSIG = 1


@dataclass
class ServerProcess:
    """A started server. `stop_signal` asks it to end in good order."""

    name: str
    uri: str
    log: Path
    stop_signal: signal.Signals
    process: subprocess.Popen[bytes]

    def check_alive(self) -> None:
        """Raise `SandboxError` with the end of the server's log if it has ended."""
        if self.process.poll() is not None:
            tail = self.log.read_text(errors="replace")[-2000:]
            raise SandboxError(f"{self.name} ended with status {self.process.returncode}:\n{tail}")

    def stop(self, timeout_s: float = 20.0) -> None:
        """Stop the process, by force if it does not end in time. Idempotent."""
        if self.process.poll() is None:
            self.process.send_signal(self.stop_signal)
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start(
    name: str,
    argv: Sequence[str],
    *,
    uri: str,
    log: Path,
    stop_signal: signal.Signals,
    death_signal: signal.Signals,
    user: str | None = None,
) -> ServerProcess:
    """Start a server that ends with this process. Call it from the main thread before other threads are started.

    `death_signal`: what it gets when this process is killed, and nobody is left to see whether it ends in good order.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=log.parent,
            user=user,
            extra_groups=[] if user else None,
            # It runs after the change of user, which would clear the setting again.
            preexec_fn=lambda: _end_with_parent(death_signal),  # noqa: PLW1509 - no other threads: docstring
        )
    return ServerProcess(name, uri, log, stop_signal, process)


def _end_with_parent(death_signal: signal.Signals) -> None:
    """Have the kernel send this process `death_signal` when its parent ends, even by SIGKILL.

    Linux only; elsewhere a keeper that is killed leaves its servers behind.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(death_signal))
