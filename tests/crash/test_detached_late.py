"""A target and its ledger in two PostgreSQL databases: a process is killed between the two commits, or with a COMMIT of
either on its way, which arrives when an heir has done the work again. Nothing may change then, neither in a row nor in
what is kept, whoever keeps it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tests.conformance.postgresql_world import PostgresWorld
from tests.conformance.target_world import ORDERS, STREAMS, WHOLE, aside, batch, key, order
from tests.integration.proxy import Proxy, postgresql_proxy
from tranship.connectors.detached import DetachedTarget, detached_progress
from tranship.connectors.postgresql import connect_ledger, connect_marked
from tranship.connectors.protocols import READING, BatchTarget, Changes, Feed, Position, Progress, Scope
from tranship.orchestrator.sandbox import Servers
from tranship.orchestrator.sandbox.databases import fresh_target
from tranship.plans.streams import Endpoint

RUN = "shop-1"
LANES = 2
LIMIT_S = 30.0
BETWEEN = "settle.before_commit"

START = multiprocessing.get_context("forkserver")
START.set_forkserver_preload([__name__])


@dataclass(frozen=True)
class Place:
    """Where both halves are, as a process is told."""

    rows: Endpoint
    ledger: Endpoint


# --- what processes do ----------------------------------------------------------------------------------------------


@dataclass
class Worker:
    """What a process has in hand under an epoch. `status`: what it reads of the orders on the source."""

    scope: Scope
    progress: Progress
    target: BatchTarget
    status: str

    def meet(self) -> None:
        self.progress.lane_marks(self.scope)

    def load(self) -> None:
        self.progress.plan_chunks(self.scope, ORDERS, [WHOLE])
        for chunk in self.progress.chunks(self.scope, ORDERS):
            mark = self.progress.begin_chunk(self.scope, chunk)
            if mark is not None:
                rows = [order(number, status=self.status) for number in (1, 2)]
                self.target.load(ORDERS, [batch(rows, quarantined=[aside(3)])], mark)

    def change(self) -> None:
        self.progress.keep(self.scope, Changes((("orders", key(1)),), Position(b"later")))

    def apply(self) -> None:
        for lane in range(LANES):
            mark, dirty = self.progress.take(self.scope, lane, 100)
            if dirty:
                self.target.replace(ORDERS, dirty, batch([order(1, status=self.status)]), [mark])

    def look(self) -> None:
        """As a comparison that finds all equal."""
        touched = self.progress.touched(self.scope, ORDERS, None, 100)
        self.progress.forget_equal(self.scope, ORDERS, touched)

    def empty(self) -> None:
        self.progress.forget_chunks(self.scope, [ORDERS])

    def seal(self) -> None:
        self.progress.seal(self.scope, 0)

    def unseal(self) -> None:
        self.progress.unseal(self.scope)

    def do(self, step: str) -> None:
        getattr(self, step)()


@contextmanager
def worker(place: Place, epoch: int, status: str, hook: Callable[[str], None]) -> Iterator[Worker]:
    scope = Scope(RUN, Feed.FORWARD, epoch)
    with ExitStack() as stack:
        own = connect_marked(place.rows, scope, hook=hook), connect_ledger(place.ledger, STREAMS, hook=hook)
        marks = connect_marked(place.rows, replace(scope, epoch=READING), hook=hook)
        progress = detached_progress(marks, connect_ledger(place.ledger, STREAMS, hook=hook))
        target = stack.enter_context(closing(DetachedTarget(*own, scope, hook)))
        yield Worker(scope, stack.enter_context(closing(progress)), target, status)


def act(place: Place, epoch: int, step: str, site: str) -> None:
    """A process of its own, which dies at a site."""

    def hook(reached: str) -> None:
        if reached == site:
            os.kill(os.getpid(), signal.SIGKILL)

    with worker(place, epoch, "by a process that died", hook) as found:
        found.do(step)


# --- the stage --------------------------------------------------------------------------------------------------------


@dataclass
class Stage:
    """Both halves, what leads to them directly, and a proxy before each."""

    rows: PostgresWorld
    ledger: PostgresWorld
    proxies: Mapping[str, Proxy]
    proxied: Place
    epoch: int = 0

    @property
    def direct(self) -> Place:
        return Place(self.rows.endpoint, self.ledger.endpoint)

    def take_over(self) -> None:
        self.epoch = self.ledger.take_over(RUN)

    def go(self, *steps: str, status: str = "by one that lives") -> None:
        """A process that lives."""
        with worker(self.direct, self.epoch, status, lambda _site: None) as found:
            for step in steps:
                found.do(step)

    def died(self, step: str, site: str) -> None:
        """One that dies at a site: of its own hand, so that it has been there."""
        child = START.Process(target=act, args=(self.direct, self.epoch, step, site), daemon=True)
        child.start()
        child.join(LIMIT_S)
        assert child.exitcode == -signal.SIGKILL

    def everything(self) -> dict[str, list[Any]]:
        """All rows of all tables, in the order of their texts, with the transactions that wrote them."""
        found = {}
        for world in (self.rows, self.ledger):
            schemas = [world.endpoint.schema, world.endpoint.state_schema]
            with psycopg.connect(world.endpoint.uri) as session:
                names = session.execute(
                    "SELECT schemaname, tablename FROM pg_tables WHERE schemaname = ANY(%s)", (schemas,)
                ).fetchall()
                for schema, name in names:
                    rows = sql.SQL("SELECT t::text, t.xmin::text FROM {} AS t ORDER BY 1")
                    found[f"{schema}.{name}"] = session.execute(rows.format(sql.Identifier(schema, name))).fetchall()
        return found

    def held(self) -> dict[int, str]:
        return dict(self.rows.sql("SELECT number, status FROM {shop}.orders"))

    def dirty(self) -> list[Any]:
        return self.ledger.sql("SELECT key FROM {state}.dirty")

    def chunk(self) -> list[Any]:
        return self.ledger.sql("SELECT state, rows, quarantined FROM {state}.chunk")

    def aside(self) -> list[Any]:
        return self.ledger.sql("SELECT key FROM {state}.quarantine")


@pytest.fixture(scope="module")
def databases(servers: Servers) -> Iterator[tuple[str, str]]:
    with fresh_target(servers) as rows, fresh_target(servers) as ledger:
        yield rows, ledger


@pytest.fixture
def stage(databases: tuple[str, str]) -> Iterator[Stage]:
    """A run whose tables are made and whose capture has started."""
    with ExitStack() as stack:
        rows, ledger = (PostgresWorld(uri, stack) for uri in databases)
        rows_proxy, rows_uri = stack.enter_context(postgresql_proxy(rows.endpoint.uri, holding=True))
        ledger_proxy, ledger_uri = stack.enter_context(postgresql_proxy(ledger.endpoint.uri, holding=True))
        proxied = Place(replace(rows.endpoint, uri=rows_uri), replace(ledger.endpoint, uri=ledger_uri))
        made = Stage(rows, ledger, {"rows": rows_proxy, "ledger": ledger_proxy}, proxied)
        made.take_over()
        with worker(made.direct, made.epoch, "", lambda _site: None) as found:
            found.progress.start_capture(found.scope, Position(b"first"), LANES)
            rows.schema().create_tables(found.scope, STREAMS)
        yield made


# --- between the commits ----------------------------------------------------------------------------------------------


def test_a_chunk_whose_rows_are_there_alone_is_loaded_again(stage: Stage) -> None:
    stage.died("load", BETWEEN)
    assert set(stage.held().values()) == {"by a process that died"}
    assert (stage.chunk(), stage.aside()) == ([("pending", 0, 0)], [])
    stage.take_over()
    stage.go("load")
    assert set(stage.held().values()) == {"by one that lives"}
    assert (stage.chunk(), stage.aside()) == ([("loaded", 2, 1)], [(key(3),)])


def test_a_batch_whose_rows_are_there_alone_is_applied_again(stage: Stage) -> None:
    stage.go("load", "change")
    stage.died("apply", BETWEEN)
    assert (stage.held()[1], stage.dirty()) == ("by a process that died", [(key(1),)])
    stage.take_over()
    stage.go("apply")
    assert (stage.held()[1], stage.dirty()) == ("by one that lives", [])
    assert stage.ledger.sql("SELECT key FROM {state}.touched") == [(key(1),)]


# --- a COMMIT on its way ----------------------------------------------------------------------------------------------

COMMIT = rb"COMMIT"
CHUNK, LANE = rb"chunk\W+SET state = 'loaded'", rb"lane\W+SET seq"
BEGUN, CAUGHT_UP = rb"INSERT INTO \S+\Wchunk", rb"INSERT INTO \S+\Wlane"

LATE = {
    "the rows of a chunk": ("load", "rows", CHUNK, (), ("load",)),
    "a settled chunk": ("load", "ledger", CHUNK, (), ("load",)),
    "a begun attempt": ("load", "rows", BEGUN, (), ("load",)),
    "replaced rows": ("apply", "rows", LANE, ("load", "change"), ("apply",)),
    "a settled batch": ("apply", "ledger", LANE, ("load", "change"), ("apply", "change")),
    "an emptying": ("empty", "rows", rb"TRUNCATE", ("load",), ("empty", "load")),
    "a forgetting": ("empty", "ledger", rb"DELETE FROM \S+\Wchunk", ("load",), ("empty", "load")),
    "the target's seal": ("seal", "rows", LANE, ("load",), ("unseal", "change")),
    "the ledger's seal": ("seal", "ledger", LANE, ("load",), ("unseal", "change")),
    "a claim": ("meet", "rows", rb"UPDATE \S+\Wepoch SET", ("load",), ("change", "apply")),
    "a claim with its lanes": ("meet", "rows", CAUGHT_UP, ("load", "lost marks"), ("change", "apply")),
    "an adopted mark": ("apply", "ledger", CAUGHT_UP, ("load", "change", "die"), ("apply", "change")),
}
"""What is done, which half's COMMIT behind which statement is late, what was before it, and what the heir does."""


@pytest.mark.parametrize("case", LATE)
def test_a_late_commit(stage: Stage, case: str) -> None:
    step, half, statement, before, meanwhile = LATE[case]
    for earlier in before:
        if earlier == "die":
            stage.died("apply", BETWEEN)
        elif earlier == "lost marks":
            stage.rows.sql("DELETE FROM {state}.lane")
        else:
            stage.go(earlier)
    if case == "a claim":
        stage.take_over()
    hold = stage.proxies[half].hold(statement, COMMIT)
    child = START.Process(target=act, args=(stage.proxied, stage.epoch, step, ""), daemon=True)
    child.start()
    assert hold.came.wait(LIMIT_S), "it has sent no such COMMIT"
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    stage.take_over()
    stage.go(*meanwhile)
    found = stage.everything()
    assert hold.release() == b"", "the server has ended that session before"
    assert stage.everything() == found
    assert set(stage.held()) == {1, 2}
    assert stage.dirty() == ([(key(1),)] if meanwhile[-1] == "change" else [])
