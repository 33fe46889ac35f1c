"""What a dead process had sent arrives late: each swap of both records, and each COMMIT, of a cutover, on real servers.

A process carries out one step of a cutover, by the program's own code, through a proxy that keeps one of its messages
back and the server's end of the connection open. It is killed; another process does the step again, by way of no proxy,
and goes on. Then the message arrives: nothing may change, neither in a record nor in a row, whoever keeps it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import bson
import psycopg
import pymongo
import pytest
from psycopg import sql

from tests.conformance.postgresql_world import PostgresWorld
from tests.cutover import play
from tests.integration.proxy import Proxy, mongodb_proxy, postgresql_proxy
from tranship.connectors.errors import TransientError
from tranship.connectors.mongodb import connect as connect_source
from tranship.connectors.postgresql import connect_control, connect_progress, connections
from tranship.connectors.protocols import Feed, Position, Scope
from tranship.orchestrator.dataplane.run import Run
from tranship.orchestrator.failpoints import VARIABLE
from tranship.orchestrator.phases.cutover import routing
from tranship.orchestrator.phases.cutover.lift import LiftCutover
from tranship.orchestrator.sandbox import Servers
from tranship.orchestrator.sandbox.databases import fresh_source, fresh_target
from tranship.plans.streams import Column, Endpoint, LogicalType, Stream

RUN = "shop-1"
THINGS = Stream(
    "things",
    "things",
    "things",
    (Column("_id", ("_id",), LogicalType.TEXT, "text"),),
    (Column("number", ("number",), LogicalType.INT32, "int32"),),
)
KEY = b"\x01"
DEADLINE_S, SHORT_S, LIMIT_S = 60.0, 5.0, 60.0
LONG_S, RATE = 30.0, 60.0

START = multiprocessing.get_context("forkserver")
"""The children share no connection with the tests, and import what they need once for all."""
START.set_forkserver_preload([__name__])


@dataclass(frozen=True)
class Place:
    """Where both servers are, as a process is told."""

    source: Endpoint
    target: Endpoint


# --- what processes do ----------------------------------------------------------------------------------------------


@contextmanager
def orchestrator(place: Place) -> Iterator[Run]:
    """As much of a run as a cutover's swaps look at, under the newest epoch."""
    with (
        closing(connect_source(place.source, [THINGS])) as source,
        closing(connect_progress(place.target, [THINGS])) as progress,
        psycopg.connect(place.target.uri, autocommit=True) as session,
    ):
        statement = sql.SQL("SELECT epoch FROM {}.epoch WHERE run = {}")
        row = session.execute(statement.format(sql.Identifier(place.target.state_schema), sql.Literal(RUN))).fetchone()
        assert row is not None
        made = SimpleNamespace(
            id="1",
            scope=Scope(RUN, Feed.FORWARD, row[0]),
            source=source,
            progress=progress,
            schema=SimpleNamespace(identity=lambda: "the target"),
            plan=SimpleNamespace(name="shop", target=place.target, cutover=SimpleNamespace(fence="router")),
            patience=SimpleNamespace(call=lambda work, limit_s: work()),  # noqa: ARG005
            release_guard=lambda: None,
        )
        yield cast(Run, made)


def fence(run: Run, lasts_s: float = DEADLINE_S) -> None:
    routing.fence(run, run.source.records.now() + lasts_s)


def seal(run: Run) -> None:
    run.progress.seal(run.scope, 0, routing.opening(run))


def short_cutover(run: Run) -> None:
    """In one go, for its fence stands no longer than a process of its own may take to start."""
    fence(run, SHORT_S)
    seal(run)
    routing.hand_over(run, routing.fenced(run))


def lift(run: Run) -> None:
    list(LiftCutover().lift(run, needed=True))


def claim(run: Run) -> None:
    with closing(connect_control(run.plan.target)) as control:  # type: ignore[arg-type]  the endpoint itself
        assert control.claim(RUN, "holder") is not None


def change(run: Run) -> None:
    """Something comes from the source, which has to be applied."""
    run.progress.mark_dirty(run.scope, [(THINGS.name, KEY)])


def write(run: Run) -> None:
    """What an application writes to the target behind the switch."""
    endpoint = cast(Endpoint, run.plan.target)
    found = run.progress.records.read(run.id)
    assert found is not None
    with psycopg.connect(endpoint.uri) as session:
        session.execute("SELECT set_config('tranship.version', %s, true)", (str(found.version),))
        put = sql.SQL("INSERT INTO {} (_id, number) VALUES ('a', 1)")
        session.execute(put.format(sql.Identifier(endpoint.schema, THINGS.table)))


STEPS: Mapping[str, Callable[[Run], object]] = {
    "begin": routing.begin,
    "fence": fence,
    "short fence": lambda run: fence(run, SHORT_S),
    "seal": seal,
    "short cutover": short_cutover,
    "hand over": lambda run: routing.hand_over(run, routing.fenced(run)),
    "open": routing.open_target,
    "take back": lambda run: routing.take_back(run.source, run.id),
    "lift": lift,
    "claim": claim,
    "change": change,
    "write": write,
}


def act(place: Place, step: str) -> None:
    """A process of its own. The server waits ten seconds before it ends a session that is silent in its transaction;
    here it waits for one."""
    connections.CONTROL_IDLE_S = 1
    with orchestrator(place) as run:
        STEPS[step](run)


# --- the stage --------------------------------------------------------------------------------------------------------


@dataclass
class Stage:
    """Both sides, what leads to them directly, and a proxy before each."""

    direct: Place
    proxied: Place
    source_proxy: Proxy
    target_proxy: Proxy

    def go(self, *steps: str) -> None:
        """Steps of a process that lives; what stands in its way for a while it does again, as the engine would."""
        for step in steps:
            end = time.monotonic() + LIMIT_S
            while True:
                try:
                    with orchestrator(self.direct) as run:
                        STEPS[step](run)
                    break
                except TransientError:
                    assert time.monotonic() < end
                    time.sleep(0.05)

    def everything(self) -> dict[str, list[Any]]:
        """All documents of the source's database, all rows of the target's two schemas."""
        with pymongo.MongoClient[dict[str, Any]](self.direct.source.uri) as client:
            database = client[self.direct.source.database]
            found = {name: list(database[name].find().sort("_id")) for name in database.list_collection_names()}
        schemas = [self.direct.target.schema, self.direct.target.state_schema]
        with psycopg.connect(self.direct.target.uri) as session:
            names = session.execute(
                "SELECT schemaname, tablename FROM pg_tables WHERE schemaname = ANY(%s)", (schemas,)
            ).fetchall()
            for schema, name in names:
                # In the order of their texts: a row that was rewritten stands elsewhere.
                rows = sql.SQL("SELECT t::text, t.xmin::text FROM {} AS t ORDER BY 1").format(
                    sql.Identifier(schema, name)
                )
                found[name] = session.execute(rows).fetchall()
        assert found["route"], "there is something to be looked at"
        return found


@pytest.fixture(scope="module")
def target_database(servers: Servers) -> Iterator[str]:
    with fresh_target(servers) as uri:
        yield uri


@pytest.fixture
def stage(servers: Servers, target_database: str) -> Iterator[Stage]:
    """A run before its cutover: its tables are there, its lanes are open, all is applied."""
    with ExitStack() as stack:
        source = stack.enter_context(fresh_source(servers))
        postgres = PostgresWorld(target_database, stack)
        with closing(connect_control(postgres.endpoint)) as control:
            control.install()
            scope = Scope(RUN, Feed.FORWARD, postgres.take_over(RUN))
            assert control.try_acquire(RUN, "holder", 3600) is None
        postgres.schema().create_tables(scope, [THINGS])
        postgres.progress().start_capture(scope, Position(b"here"), 2)
        source_proxy, source_uri = stack.enter_context(mongodb_proxy(source.uri, holding=True))
        target_proxy, target_uri = stack.enter_context(postgresql_proxy(target_database, holding=True))
        direct = Place(Endpoint("mongodb", source.uri, source.name), postgres.endpoint)
        proxied = Place(replace(direct.source, uri=source_uri), replace(direct.target, uri=target_uri))
        yield Stage(direct, proxied, source_proxy, target_proxy)


# --- the source's record -------------------------------------------------------------------------------------------

BEGIN = rb"tranship_switches.*setOnInsert"
FENCE = rb"tranship_switches.*primary.*fenced"
HAND_OVER = rb"tranship_switches.*fenced.*handed_over"
TAKE_BACK = rb"tranship_switches.*fenced.*primary"

ANEW = ("lift", "fence", "seal")
SWITCHED = ("open", "write")

ON_SOURCE = {
    "the first record, and then a fence": ("begin", BEGIN, (), ("begin", "fence", "seal")),
    "a fence, which was lifted": ("fence", FENCE, ("begin",), ("lift",)),
    "a fence, behind which another one stands": ("fence", FENCE, ("begin",), ANEW),
    "a fence, which another process raised and switched": (
        "fence", FENCE, ("begin",), ("fence", "seal", "hand over", *SWITCHED),
    ),
    "a hand-over, behind which all was lifted": ("hand over", HAND_OVER, ("begin", "fence", "seal"), ("lift",)),
    "a hand-over, behind which another fence stands": ("hand over", HAND_OVER, ("begin", "fence", "seal"), ANEW),
    "a hand-over, which another process did": (
        "hand over", HAND_OVER, ("begin", "fence", "seal"), ("hand over", *SWITCHED),
    ),
    "a lift, which another process did": ("take back", TAKE_BACK, ("begin", "fence", "seal"), ("lift",)),
    "a lift, behind which another fence stands": ("take back", TAKE_BACK, ("begin", "fence", "seal"), ANEW),
    "a lift, which lost against the switch": (
        "take back", TAKE_BACK, ("begin", "fence", "seal"), ("hand over", *SWITCHED),
    ),
}  # fmt: skip
"""Which step, which of its messages is late, what was before it, and what others did meanwhile."""


@pytest.mark.parametrize("case", ON_SOURCE)
def test_a_late_swap_of_the_sources_record(stage: Stage, case: str) -> None:
    step, message, before, meanwhile = ON_SOURCE[case]
    stage.go(*before)
    hold = stage.source_proxy.hold(message)
    child = started(stage, step)
    assert hold.came.wait(LIMIT_S)
    killed(child)
    stage.go(*meanwhile)
    found = stage.everything()
    answer = bson.decode(hold.release()[21:])
    assert (answer["ok"], answer["nModified"]) == (1, 0), "the server has carried it out"
    assert stage.everything() == found


@pytest.mark.parametrize(
    ("step", "message"),
    [("short fence", FENCE), ("short cutover", HAND_OVER)],
    ids=["a fence", "a hand-over"],
)
def test_what_comes_behind_its_deadline_is_late_though_nobody_did_anything(
    stage: Stage, step: str, message: bytes
) -> None:
    stage.go("begin")
    hold = stage.source_proxy.hold(message)
    child = started(stage, step)
    assert hold.came.wait(LIMIT_S)
    killed(child)
    with orchestrator(stage.direct) as run:
        end = run.source.records.now() + SHORT_S
        while run.source.records.now() < end:
            time.sleep(0.05)
    found = stage.everything()
    answer = bson.decode(hold.release()[21:])
    assert (answer["ok"], answer["nModified"]) == (1, 0), "the server has carried it out"
    assert stage.everything() == found


# --- the target's record, its lanes, its epoch ------------------------------------------------------------------------

COMMIT = rb"^Q.*COMMIT"
ROUTE, FIRST_ROUTE = rb"UPDATE .*route SET", rb"INSERT INTO .*route"
LANE, EPOCH = rb"UPDATE .*lane SET.*sealed", rb"UPDATE .*epoch SET"
LOCK = rb"pg_advisory_xact_lock\("

TO_THE_END = ("lift", "fence", "seal", "hand over", *SWITCHED)
SEALED = ("begin", "fence", "seal")

ON_TARGET = {
    "the first record": ("begin", FIRST_ROUTE, (), ("begin", "fence", "seal")),
    "the closing for an attempt": ("fence", ROUTE, ("begin",), ("claim", *ANEW)),
    "a seal": ("seal", LANE, ("begin", "fence"), ("claim", "lift", "change")),
    "a seal, and another one": ("seal", LANE, ("begin", "fence"), ("claim", *TO_THE_END)),
    "the opening": ("open", ROUTE, (*SEALED, "hand over"), ("claim", *SWITCHED)),
    "the closing behind a lift": ("lift", ROUTE, SEALED, ("claim", *TO_THE_END)),
    "the unsealing": ("lift", LANE, SEALED, ("claim", *TO_THE_END)),
    "a claim": ("claim", EPOCH, SEALED, ("claim", "lift", "change")),
}


@pytest.mark.parametrize("case", ON_TARGET)
def test_a_late_commit_on_the_target(stage: Stage, case: str) -> None:
    step, statement, before, meanwhile = ON_TARGET[case]
    stage.go(*before)
    hold = stage.target_proxy.hold(statement, COMMIT)
    child = started(stage, step)
    assert hold.came.wait(LIMIT_S)
    killed(child)
    stage.go(*meanwhile)
    found = stage.everything()
    assert hold.release() == b"", "the server has ended that session before"
    assert stage.everything() == found


ALIVE = {
    "the closing for an attempt": ("fence", ("begin",), ("lift", "fence")),
    "the closing for an attempt, behind another seal": ("fence", ("begin",), ANEW),
    "the opening": ("open", (*SEALED, "hand over"), SWITCHED),
    "the closing behind a lift": ("lift", SEALED, ("claim", *TO_THE_END)),
    "a seal": ("seal", ("begin", "fence"), ("claim", *TO_THE_END)),
}


@pytest.mark.parametrize("case", ALIVE)
def test_a_transaction_that_goes_on_late(stage: Stage, case: str) -> None:
    """The process was slow, not dead: it sends all that it had to send."""
    step, before, meanwhile = ALIVE[case]
    stage.go(*before)
    hold = stage.target_proxy.hold(LOCK)
    child = started(stage, step)
    assert hold.came.wait(LIMIT_S)
    stage.go(*meanwhile)
    found = stage.everything()
    hold.release()
    child.join(LIMIT_S)
    assert child.exitcode is not None
    assert stage.everything() == found


# --- a whole run ------------------------------------------------------------------------------------------------------


def test_a_seal_and_a_pivot_of_a_whole_run_under_writers(servers: Servers, tmp_path: Path) -> None:
    """One process dies with its seal's COMMIT on the way, the next one with its hand-over; both arrive while the third
    one's fence stands."""
    limits, cutover = {"lease": "2s", "workers": 1}, {"fence": "router", "deadline": f"{LONG_S:g}s"}
    with play.stage(servers, tmp_path, limits=limits, cutover=cutover) as made:
        with (
            mongodb_proxy(made.source.uri, holding=True) as (source_proxy, source_uri),
            postgresql_proxy(made.target, holding=True) as (target_proxy, target_uri),
            made.session() as session,
            play.writers(made, 2, 2, RATE, 20) as done,
        ):
            holds = (target_proxy.hold(LANE, ROUTE, COMMIT), source_proxy.hold(HAND_OVER))
            for hold in holds:
                child = made.run(SOURCE_URI=source_uri, TARGET_URI=target_uri)
                play.approve_until(made, session, child, hold.came.is_set)
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
            child = made.run(**{VARIABLE: "fence.after_swap=stop"})
            play.approve_until(made, session, child, lambda: play.halted(child.pid))
            found = play.records(made)
            assert [state for state, _ in found] == ["fenced", "closed"]
            assert holds[0].release() == b"", "the takeover has ended that session"
            assert bson.decode(holds[1].release()[21:])["nModified"] == 0
            assert play.records(made) == found
            os.killpg(child.pid, signal.SIGCONT)
            play.approve_until(made, session, child, lambda: child.poll() is not None)
            assert child.returncode == 0
            assert [state for state, _ in play.records(made)] == ["handed_over", "primary"]
        verdict = play.judge(made, done)
    assert (verdict.failed, verdict.lost, verdict.both) == ([], [], 2)


def started(stage: Stage, step: str) -> multiprocessing.process.BaseProcess:
    child = START.Process(target=act, args=(stage.proxied, step), daemon=True)
    child.start()
    return child


def killed(child: multiprocessing.process.BaseProcess) -> None:
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert child.exitcode == -signal.SIGKILL
