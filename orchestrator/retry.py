"""The one retry policy: only errors classed transient, with growing, jittered pauses, for a limited time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import structlog
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_random_exponential

from tranship.connectors.errors import TransientError

T = TypeVar("T")

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0
_LOOK_S = 0.2

MOST_OUTAGES = 10
"""So often a step may lose its connections while the servers answer in between; then the run pauses."""
CALM_S = 3600.0
"""After so long without one, earlier outages are forgotten: a step may take weeks."""

log = structlog.get_logger(__name__)


def _say(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    log.warning("retrying", attempt=state.attempt_number, error=str(error))


@dataclass(frozen=True)
class Patience:
    """For how long one process tries again what failed: an engine has its own, and hands it to all that it starts.

    `limit_s`: after this the run pauses with its state kept (`limits.patience` of the plan). It counts from the first
    failure, because an attempt may itself take minutes to fail. `hurried`: set once the process is told to stop;
    nothing is tried again from then on.
    """

    limit_s: float
    hurried: threading.Event = field(default_factory=threading.Event)

    def call(self, action: Callable[[], T], stop: threading.Event | None = None, limit_s: float | None = None) -> T:
        """Run `action`, again after a `TransientError`, until it succeeds, `stop` or `hurried` is set or time is up.

        `action` must be safe to repeat. `limit_s`: less than the plan's, for what can be done without. The last error
        is raised as it is; other errors are raised at once.
        """
        stops = [self.hurried] if stop is None else [self.hurried, stop]
        most_s = self.limit_s if limit_s is None else min(limit_s, self.limit_s)

        def stopped() -> bool:
            return any(event.is_set() for event in stops)

        def pause(seconds: float) -> None:
            end = time.monotonic() + seconds
            while not stopped() and (left := end - time.monotonic()) > 0:
                stops[-1].wait(min(left, _LOOK_S))

        failures: list[float] = []

        def given_up(state: RetryCallState) -> bool:
            failures.append(state.outcome_timestamp or 0.0)
            return stopped() or failures[-1] - failures[0] >= most_s

        policy = Retrying(
            retry=retry_if_exception_type(TransientError),
            wait=wait_random_exponential(multiplier=FIRST_PAUSE_S, max=LONGEST_PAUSE_S),
            stop=given_up,
            sleep=pause,
            before_sleep=_say,
            reraise=True,
        )
        return policy(action)


class Outages:
    """How often a step was begun again because connections were lost."""

    def __init__(self) -> None:
        self._count = 0
        self._last = 0.0

    def bear(self, now: float) -> bool:
        """Count one more; whether it is to be borne. `now`: seconds on any clock, the same one each time."""
        self._count = 1 if now - self._last > CALM_S else self._count + 1
        self._last = now
        return self._count <= MOST_OUTAGES

    def forget(self) -> None:
        """The step has come to its end, or nothing can be lost while it waits."""
        self._count = 0
