"""Stopping real code in the middle, so that a test decides what happens between any two of its steps.

A `Step` runs an action in a thread of its own, but never beside the test: control passes to the thread with `advance`
and comes back at the action's next `pause`, or at its end. So every schedule is the test's choice and can be replayed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tranship.orchestrator.dataplane.gate import Gate
from tranship.orchestrator.pulse import Pulse

_threads = ThreadPoolExecutor(32, "step")
"""Far more than ever are under way at once; threads are used again, because starting one takes longer than a step."""


class KilledError(BaseException):
    """Raised inside an action whose process has died."""


class Step:
    """One action, stopped at its beginning."""

    def __init__(self, name: str, action: Callable[[], object]) -> None:
        self.name = name
        self.where = "start"
        self.finished = False
        self.error: Exception | None = None
        self._action = action
        self._go, self._back = threading.Lock(), threading.Lock()  # whoever waits for one acquires it a second time
        self._go.acquire()
        self._back.acquire()
        self._killed = False
        _threads.submit(self._run)

    def __repr__(self) -> str:
        return f"<{self.name} at {self.where}>"

    def advance(self) -> None:
        """Go on to the next pause or to the end."""
        self._go.release()
        self._back.acquire()

    def kill(self) -> None:
        """The process dies here: what it has not committed is gone."""
        self._killed = True
        while not self.finished:
            self.advance()

    def _run(self) -> None:
        _running.step = self
        self._go.acquire()
        try:
            if not self._killed:
                self._action()
        except KilledError:
            pass  # the process is dead; nobody is told
        except Exception as error:  # noqa: BLE001  the test looks at it
            self.error = error
        finally:
            self.finished = True
            self._back.release()

    def _pause(self, where: str) -> None:
        if self._killed:
            raise KilledError
        self.where = where
        self._back.release()
        self._go.acquire()
        if self._killed:
            raise KilledError


class _Running(threading.local):
    step: Step | None = None


_running = _Running()


def pause(where: str) -> None:
    """Let other things happen here."""
    assert _running.step is not None, f"{where}: only steps pause"
    _running.step._pause(where)


class SteppedGate(Gate):
    """The data plane's gate, whose waiting lets other steps go on."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = _SteppedCondition()  # type: ignore[assignment]


class _SteppedCondition:
    """A condition for threads of which only one runs at a time: it needs no lock."""

    def __enter__(self) -> None: ...

    def __exit__(self, *_error: object) -> None: ...

    def wait_for(self, predicate: Callable[[], bool]) -> None:
        while not predicate():
            pause("gate")

    def notify_all(self) -> None: ...


LONG_S = 3.0
"""A wait of a minute ends after twenty sleeps, if what it waits for does not come."""


class SteppedClock:
    """A clock whose sleeping lets other steps go on."""

    def __init__(self) -> None:
        self._now = 0.0

    def now(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        """Each sleep is a long one: what waits for a time to be over must not take a thousand pauses."""
        self._now += max(seconds, LONG_S)
        pause("sleep")

    def wait(self, pulse: Pulse, seen: int, seconds: float) -> None:  # noqa: ARG002  other steps go on meanwhile
        self.sleep(seconds)
