"""The router: heartbeats in a thread of its own, and the gate that writes of all threads and tasks pass."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from tranship.router.gate import Doubt, Gate, NoRouteError, OutcomeUnknownError, Pass, Side
from tranship.router.records import SOURCE, TARGET, Name, Open, Record, Shut, Verdict, judge, judge_alone
from tranship.router.sides import Bounded, Fence, MongoSide, PostgresSide, SideOfRouter

if TYPE_CHECKING:
    from types import TracebackType

    import psycopg
    from pymongo.database import Database

T = TypeVar("T")

log = logging.getLogger("tranship.router")

LEASE_S = 1.0
"""What a heartbeat asks the server for. A router that falls silent holds a cutover up for so long at most."""
OWN_LEASE_S = 0.8
"""For how long it takes its lease to last, from before the heartbeat was sent: shorter, for clocks do not run alike."""
BEAT_S = 0.25
"""Between two heartbeats, unless the record asks for more."""
LOOK_S = 2.0
"""For how long a look at one side is waited for. Behind its lease it is worth nothing, but the next one
finds the connection that it has made."""
DOUBT_S = 5.0
"""For how long a write whose lease had ended waits for a look that may clear it."""
SHUT_BEAT_S = 0.05
"""Between two heartbeats while writes wait. Each is a write: of many more a slow source would have little left for what
the writers wait for."""


class Router:
    """Says where an application writes and reads, and lets writes wait while a cutover goes on.

    One per process, shared by all threads and event loops; made after a fork. `plan`: the plan's name. `source`: a
    database of `pymongo`, as the application uses it. `target`: makes a connection of `psycopg` for the router's own
    heartbeats; give it a `connect_timeout`. `initial`: where writes go while the source has no routing record of the
    plan, so before its first run: `"source"`. Without it they wait. `limit_s`: for how long a write waits at most.
    `state_schema`: the plan's.
    """

    def __init__(
        self,
        plan: str,
        *,
        source: Database[Any],
        target: Callable[[], psycopg.Connection[Any]],
        initial: Name | None = None,
        limit_s: float = 30.0,
        state_schema: str = "tranship",
    ) -> None:
        self.instance = uuid.uuid4().hex
        self.limit_s = limit_s
        self._initial = initial
        self._sides: dict[Name, SideOfRouter] = {
            SOURCE: Bounded(MongoSide(source, plan, self.instance, LEASE_S), LOOK_S),
            TARGET: Bounded(PostgresSide(target, plan, self.instance, LEASE_S, state_schema), LOOK_S),
        }
        self._gate = Gate(time.monotonic)
        self._at: Name = SOURCE
        self._acknowledged: dict[Name, Fence] = {}
        self._began = 0.0
        self._wake = threading.Event()
        self._known = threading.Event()
        self._closing = False
        self._process = os.getpid()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    # --- what applications call ---------------------------------------------------------------------------------------

    def writing(self) -> Writing:
        """A block (`with`, or `async with`) in which one write, or one transaction, is made on the side it is given.

        Waits while a fence stands. Raises `NoRouteError` when it has waited `limit_s`, and then the block was not
        entered; `OutcomeUnknownError` at its end when the lease had ended before it: only after this process, or its
        way to the server, stood still for most of a second.
        """
        self._start()
        return Writing(self, self._gate)

    def reading(self) -> Side:
        """The side to read from now: the one that takes the writes, or took them last; of a process that starts while
        writes wait, the one that is fenced, else the source. Waits only before the records have been read for the first
        time. Raises `NoRouteError`."""
        self._start()
        if not self._known.wait(self.limit_s):
            raise NoRouteError(f"waited {self.limit_s:g} s: {self._gate.why}")
        assert self._gate.last is not None
        return self._gate.last

    def close(self) -> None:
        """Stop the heartbeats. Writes that are under way have ended before."""
        with self._lock:
            self._closing = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def __enter__(self) -> Router:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- heartbeats ---------------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """A write has ended: a fence that waits for it is acknowledged at once."""
        self._wake.set()

    def _start(self) -> None:
        if self._process != os.getpid():
            raise RuntimeError("a Router does not outlive a fork: make one in each process")
        with self._lock:
            if self._closing:
                raise RuntimeError("this Router is closed")
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="tranship-router", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while not self._closing:
            self._wake.clear()
            pause = self._beat()
            self._wake.wait(pause)
        for side in self._sides.values():
            try:
                side.leave()
            except Exception as error:  # noqa: BLE001  its lease ends by itself
                log.info("leaving: %s", error)

    def _beat(self) -> float:
        """One look at the records; returns after how many seconds the next one is due."""
        try:
            verdict = self._judge()
        except Exception as error:  # noqa: BLE001  whatever a driver raises: the lease goes on for as long as it lasts
            log.warning("the routing record cannot be read: %s", error)
            self._gate.why = f"the routing record cannot be read ({type(error).__name__})"
            return SHUT_BEAT_S * 2
        self._gate.renew(self._began, self._began + OWN_LEASE_S)
        try:
            return self._follow(verdict)
        finally:
            self._known.set()

    def _follow(self, verdict: Verdict) -> float:
        if isinstance(verdict, Open):
            self._at = verdict.side
            # A run that is rolled back, or purged, takes its record along: then writes go on where they went.
            self._initial = verdict.side
            self._gate.open(Side(verdict.side, verdict.version))
            return verdict.poll_s or BEAT_S
        self._gate.shut(verdict.why, Side(verdict.fence[0], verdict.fence[2]) if verdict.fence else Side(SOURCE, 0))
        # Only now, being shut: none can begin any more.
        return 0.0 if self._acknowledge(verdict) else SHUT_BEAT_S

    def _acknowledge(self, shut: Shut) -> bool:
        """Whether there is something new to say with the next heartbeat."""
        if shut.fence is None or self._gate.under_way:
            return False
        side, run, version = shut.fence
        if self._acknowledged.get(side) == (run, version):
            return False
        self._acknowledged[side] = (run, version)
        return True

    def _judge(self) -> Verdict:
        self._began = time.monotonic()
        try:
            return judge(self._read, self._at, self._initial)
        except Exception:
            if self._at == TARGET:
                raise
            # The source cannot be asked: it may have handed over before, also while this process stood still.
            alone = judge_alone(self._read(TARGET))
            if alone is None:
                raise
            return alone

    def _read(self, side: Name) -> Record | None:
        return self._sides[side].beat(self._acknowledged.get(side))


def _set_in(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    """Set an event of a loop from another thread; a loop that has ended waits for nothing."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(event.set)


class Writing:
    """One write on its way; see `Router.writing`."""

    def __init__(self, router: Router, gate: Gate) -> None:
        self._router = router
        self._gate = gate
        self._pass: Pass | None = None

    def __enter__(self) -> Side:
        found = self._wait(self._gate.enter, self._router.limit_s)
        if found is None:
            raise self._late()
        return self._entered(found)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        doubt = self._left()
        if doubt is not None and error is None:
            self._judge(doubt, self._wait(lambda: self._gate.settle(doubt), DOUBT_S))

    async def __aenter__(self) -> Side:
        found = await self._await(self._gate.enter, self._router.limit_s)
        if found is None:
            raise self._late()
        return self._entered(found)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        doubt = self._left()
        if doubt is not None and error is None:
            self._judge(doubt, await self._await(lambda: self._gate.settle(doubt), DOUBT_S))

    def _wait(self, attempt: Callable[[], T | None], limit_s: float) -> T | None:
        """What an attempt gives that is made again behind each verdict; None when it gave nothing in time."""
        end = time.monotonic() + limit_s
        while (found := attempt()) is None:
            looked = threading.Event()
            self._gate.when_looked(looked.set)
            if (found := attempt()) is not None:
                break
            if not looked.wait(max(0.0, end - time.monotonic())):
                return None
        return found

    async def _await(self, attempt: Callable[[], T | None], limit_s: float) -> T | None:
        end = time.monotonic() + limit_s
        loop = asyncio.get_running_loop()
        while (found := attempt()) is None:
            looked = asyncio.Event()
            self._gate.when_looked(partial(_set_in, loop, looked))
            if (found := attempt()) is not None:
                break
            try:
                await asyncio.wait_for(looked.wait(), max(0.0, end - time.monotonic()))
            except TimeoutError:
                return None
        return found

    def _left(self) -> Doubt | None:
        assert self._pass is not None
        doubt = self._gate.leave(self._pass)
        if doubt is not None or not self._gate.under_way:
            self._router.wake()
        return doubt

    def _judge(self, doubt: Doubt, counts: bool | None) -> None:
        if not counts:
            raise OutcomeUnknownError(f"the write to the {doubt.side} ended after its lease had")

    def _entered(self, entered: Pass) -> Side:
        self._pass = entered
        return entered.side

    def _late(self) -> NoRouteError:
        return NoRouteError(f"a write has waited {self._router.limit_s:g} s: {self._gate.why}. It was not begun")
