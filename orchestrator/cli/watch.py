"""Figures of a run while it works, taken from a thread of its own.

The engine's thread waits for minutes where a server is away or an index is built; what is shown must not stand still
with it, nor must a figure of before look like one of now.
"""

from __future__ import annotations

import contextvars
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from tranship.connectors.errors import ConnectorError
from tranship.connectors.protocols import MOST_COUNTED, Backlog, Build, Compared, Progress, Scope, Totals
from tranship.connectors.registry import Source
from tranship.orchestrator.clock import Clock, MonotonicClock
from tranship.orchestrator.engine.session import Session
from tranship.orchestrator.journal.state import State
from tranship.orchestrator.reports.status import follows
from tranship.plans.strategies import PhaseName

if TYPE_CHECKING:
    from tranship.orchestrator.engine.engine import Engine

log = structlog.get_logger(__name__)

HISTORY_EVERY_S = 60.0
SHORT_HISTORY_S = 3600.0
WINDOW_S = 30.0
"""The rate is that of so much time."""
CLOSE_LIMIT_S = 5.0

_BUILDING = (PhaseName.INDEX, PhaseName.CONSTRAIN)


@dataclass(frozen=True)
class Figures:
    """What moves while a run works. `totals` and `quarantined`: per stream. `backlog`: None while the target does not
    follow the source. `history_s`: how far capture may fall back before the source's history is lost; None where nobody
    knows. `fewer_per_second`: dirty keys. `builds`: of indexes, as the target tells."""

    totals: Mapping[str, Totals]
    quarantined: Mapping[str, int]
    compared: Compared | None
    backlog: Backlog | None
    history_s: float | None
    fewer_per_second: float | None
    builds: Sequence[Build]

    @property
    def rows(self) -> int:
        """Rows loaded by the backfill."""
        return sum(total.rows for total in self.totals.values())

    @property
    def chunks(self) -> int:
        """Chunks of all streams."""
        return sum(total.chunks for total in self.totals.values())

    @property
    def loaded(self) -> int:
        """Those that are loaded."""
        return sum(total.loaded for total in self.totals.values())


class Pace:
    """How fast dirty keys become fewer, over the last `WINDOW_S`."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def of(self, now: float, dirty: int) -> float | None:
        """Keys per second; None where they become more, or are too many to be counted."""
        if dirty >= MOST_COUNTED:
            self._seen.clear()
            return None
        self._seen.append((now, dirty))
        while self._seen[0][0] < now - WINDOW_S:
            self._seen.popleft()
        since, before = self._seen[0]
        return (before - dirty) / (now - since) if now > since and before > dirty else None


class Watch:
    """Looks at the run of an engine every `every_s` seconds, until it is closed.

    `figures` are those of the last look that succeeded, at `taken`; `trouble` says why looks fail since `failing`. Both
    times are the clock's. `looked` is called after each look, in the watch's thread.
    """

    def __init__(
        self,
        session: Session,
        engine: Engine,
        every_s: float,
        looked: Callable[[Watch], None] = lambda _watch: None,
        clock: Clock | None = None,
    ) -> None:
        self.figures: Figures | None = None
        self.taken = 0.0
        self.trouble = ""
        self.failing = 0.0
        self.clock = clock or MonotonicClock()
        self._session = session
        self._engine = engine
        self._every_s = every_s
        self._looked = looked
        self._pace = Pace()
        self._history = History(session, self.clock)
        self._progress: Progress | None = None
        self._stop = threading.Event()
        # Its log lines are bound to the run like those of the thread that starts it.
        work = contextvars.copy_context().run
        self._thread = threading.Thread(target=work, args=(self._work,), name="watch", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """Look for a last time, unless nobody answers, and end."""
        self._stop.set()
        self._thread.join(CLOSE_LIMIT_S)

    def _work(self) -> None:
        try:
            while not self._stop.wait(self._every_s):
                self.look()
            if not self.trouble:
                self.look()
        finally:
            self._history.close()
            if self._progress is not None:
                self._progress.close()

    def look(self) -> None:
        """Take the figures once. What fails is kept as trouble: whether the run goes on is the engine's concern."""
        state = self._engine.state
        if not state.run:
            return
        now = self.clock.now()
        try:
            self.figures = self._take(state, now)
        except ConnectorError as error:
            self.failing = self.failing if self.trouble else now
            self.trouble = str(error)
        else:
            self.taken, self.trouble = now, ""
        self._looked(self)

    def _take(self, state: State, now: float) -> Figures:
        progress = self._progress = self._progress or self._session.connect.progress()
        scope = Scope(state.run, state.feed, state.epoch)
        totals = progress.totals(scope)
        following = follows(state)
        backlog = progress.backlog(scope) if following else None
        return Figures(
            totals,
            progress.quarantine_count(scope),
            progress.comparison(scope),
            backlog,
            self._history.left_s(progress, scope) if following else None,
            self._pace.of(now, backlog.dirty) if backlog else None,
            progress.building(self._session.streams) if state.current in _BUILDING else (),
        )


class History:
    """Asks now and then how far the source's history reaches back behind the position, and warns when it is short."""

    def __init__(self, session: Session, clock: Clock) -> None:
        self._session = session
        self._clock = clock
        self._source: Source | None = None
        self._next = 0.0
        self._left: float | None = None

    def left_s(self, progress: Progress, scope: Scope) -> float | None:
        """Seconds, as of a minute ago at most; None when the source does not say."""
        if self._clock.now() >= self._next:
            self._next = self._clock.now() + HISTORY_EVERY_S
            self._left = self._ask(progress, scope)
            if self._left is not None and self._left < SHORT_HISTORY_S:
                log.warning("the source's history is short: capture must not fall back further", left_s=self._left)
        return self._left

    def _ask(self, progress: Progress, scope: Scope) -> float | None:
        position = progress.position(scope)
        try:
            self._source = self._source or self._session.connect.source()
            return self._source.history_s(position) if position is not None else None
        except ConnectorError:
            return None

    def close(self) -> None:
        """Close its connection."""
        if self._source is not None:
            self._source.close()
