"""The guard: a process of its own that lifts a fence once its deadline has passed, when the orchestrator is gone.

It is started before the fence and told by which moment of the source's clock that is to be over. No fence can be raised
behind its own deadline, so behind it one look is enough; one to last longer is a later one's. It ends when it is
released, or has looked; until then it tries, also while the source is away. Of lifting and switching exactly one wins:
both swap the same record, and the switch asks for the deadline (`rules.md` J3, J8, J10).
"""

from __future__ import annotations

import base64
import os
import pickle
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog

from tranship.connectors.errors import ConnectorError
from tranship.connectors.protocols import Routing
from tranship.connectors.registry import open_source
from tranship.orchestrator import logs, stderr
from tranship.orchestrator.failpoints import reached
from tranship.orchestrator.phases import RefusedToActError
from tranship.orchestrator.phases.cutover.routing import Fenceable, take_back
from tranship.plans.streams import Endpoint

log = structlog.get_logger(__name__)

POLL_S = 0.5
"""Between two looks at the source's clock, at the most."""
AGAIN_S = 0.2
GIVE_UP_S = 3600.0
"""A source that is away for so long behind the deadline: whoever brings it back has to look after its writers."""
READY, RELEASE = b"ready\n", b"release\n"


@dataclass(frozen=True)
class Watched:
    """What a guard is told, through a pipe: addresses have secrets in them."""

    source: Endpoint
    id: str
    run: str
    deadline: float
    log_format: str


class GuardProcess:
    """A guard that watches. Raises `RefusedToActError` when it cannot be started: without one no fence is raised."""

    def __init__(self, watched: Watched) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # what ends the orchestrator's terminal or process group leaves it
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        ready = b""
        with suppress(BrokenPipeError):
            self._process.stdin.write(base64.b64encode(pickle.dumps(watched)) + b"\n")
            self._process.stdin.flush()
            ready = self._process.stdout.readline()
        if ready != READY:
            self._process.stdout.close()
            with suppress(BrokenPipeError):
                self._process.stdin.close()
            raise RefusedToActError(
                f"the guard of the fence could not be started (exit code {self._process.wait()}); nobody has waited, "
                "and nothing was switched"
            )

    def release(self) -> None:
        """The fence is known to be behind us."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdout.close()
        with suppress(BrokenPipeError), self._process.stdin as pipe:
            pipe.write(RELEASE)
        # It ends by itself; nobody waits for that, but somebody has to take its exit code.
        threading.Thread(target=self._process.wait, name="guard", daemon=True).start()


def watch(source: Fenceable, watched: Watched, released: Callable[[float], bool]) -> None:
    """Wait for the deadline, by the source's clock, then take back what still stands. `released`: waits so long at the
    most, and says whether the guard is not needed any more."""
    end = time.monotonic() + GIVE_UP_S + max(0.0, watched.deadline - time.time())
    while time.monotonic() < end:
        try:
            left = watched.deadline - source.records.now()
            found = source.records.read(watched.id)
            stands = found is not None and found.state is Routing.FENCED and found.left_s is not None
            fence_s = found.left_s if found is not None and found.left_s is not None and stands else left
            if fence_s <= 0:
                _lift(source, watched)
                return
            if left <= 0:  # its own fence would be over: what stands is a later attempt's, which has its own guard
                return
            pause = min(left, fence_s, POLL_S)
        except ConnectorError as error:
            log.warning("the guard cannot reach the source", reason=str(error))
            pause = AGAIN_S
        if released(pause):
            return
    log.error("the guard gives up: the source is away, and a fence may stand there", run=watched.run)


def _lift(source: Fenceable, watched: Watched) -> None:
    found = source.records.read(watched.id)
    if found is None or found.state not in (Routing.FENCED, Routing.LIFTING):
        return
    reached("guard.before_lift")
    lifted = take_back(source, watched.id)
    reached("guard.after_lift")
    log.warning("the deadline of the fence has passed: lifted by its guard", run=watched.run, record=str(lifted))


def _released(limit_s: float) -> bool:
    """Whether the orchestrator has said so; that its end of the pipe is gone says nothing."""
    readable, _, _ = select.select([sys.stdin.buffer], [], [], limit_s)
    if not readable:
        return False
    if os.read(sys.stdin.fileno(), len(RELEASE)) == RELEASE:
        return True
    time.sleep(limit_s)
    return False


def main() -> None:
    """Watch what stdin says."""
    stderr.tolerate()
    line = bytearray()
    while not line.endswith(b"\n"):  # unbuffered: what comes behind it is waited for by `select`
        line += os.read(sys.stdin.fileno(), 1)
    watched: Watched = pickle.loads(base64.b64decode(line))
    logs.configure(watched.log_format, run=watched.run)
    source = open_source(watched.source, ())
    try:
        source.records.now()  # the connection stands before the fence does
        sys.stdout.buffer.write(READY)
        sys.stdout.buffer.close()
        watch(source, watched, _released)
    finally:
        source.close()


if __name__ == "__main__":
    main()
