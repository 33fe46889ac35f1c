"""Connections that break in every long phase: the run goes on by itself; a server that stays away pauses it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner

from tests.integration.proxy import Proxy, mongodb_proxy, postgresql_proxy
from tests.integration.route import SCHEMA, THINGS, Child, Route, things, wait_until, written_to
from tranship.orchestrator.cli import main as cli
from tranship.orchestrator.journal.state import PhaseStatus
from tranship.orchestrator.reports.status import Status
from tranship.plans.strategies import Group, PhaseName

FINISHED, ROLLED_BACK, PAUSED = 0, 4, 7

COUNT = 6000

LONG = (PhaseName.BACKFILL, PhaseName.CATCH_UP, PhaseName.RECONCILE)


@pytest.fixture
def plan(route: Route) -> Path:
    route.documents().insert_many([{**thing, "name": "x" * 200} for thing in things(COUNT)])
    return route.plan(THINGS, limits={"workers": 2})


def equal(route: Route) -> bool:
    documents = route.documents().find().sort("_id")
    return route.rows("things", "_id", "name", "number") == [(d["_id"], d["name"], d["number"]) for d in documents]


def at_work(name: PhaseName) -> Callable[[Status], bool]:
    """Whether a phase has begun; a backfill is half done."""

    def begun(status: Status) -> bool:
        loaded = name is not PhaseName.BACKFILL or any(stream.loaded for stream in status.streams)
        return status.phases[name] != PhaseStatus.PENDING and loaded

    return begun


def busy(route: Route) -> AbstractContextManager[None]:
    """Somebody writes, so that there is always something to apply."""
    increment = {"$inc": {"number": 1}}
    return written_to(lambda n: route.documents().update_one({"_id": f"t{n * 37 % COUNT:05}"}, increment), 0.01)


def disturbed(route: Route, plan: Path, disturb: Callable[[], int], **environment: str) -> Child:
    """A run that is disturbed in every long phase and at its approval, three times each; nobody helps it."""
    run = route.start("run", plan, **environment)
    with busy(route):
        for name in LONG:
            route.await_status(plan, at_work(name), run)
            _three_times(disturb, run)
        route.await_status(plan, lambda status: status.waiting_for_approval == Group.CUTOVER, run)
        _three_times(disturb, run)
    return run


def _three_times(disturb: Callable[[], int], run: Child) -> None:
    for _ in range(3):
        wait_until(lambda: disturb() > 0, run, "a connection to break")


def finish(route: Route, plan: Path, run: Child) -> None:
    wait_until(lambda: equal(route), run, "the target to be equal")
    route.tranship("approve", plan)
    assert run.wait() == FINISHED, run.output
    assert equal(route)
    assert "Traceback" not in run.output


def test_sessions_of_postgresql_are_ended_in_every_phase(route: Route, plan: Path) -> None:
    terminate = (
        "select count(pg_terminate_backend(pid)) from pg_stat_activity "
        "where datname = current_database() and application_name like 'tranship %%'"
    )
    run = disturbed(route, plan, lambda: int(route.query(terminate)[0][0]))
    finish(route, plan, run)


def test_a_session_is_ended_while_it_copies(route: Route, plan: Path) -> None:
    terminate = (
        "select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = current_database() "
        "and query ilike 'copy %%' and wait_event_type = 'Lock'"
    )
    run = route.run_to(plan, lambda status: status.phases["expand"] == PhaseStatus.VERIFIED)
    with psycopg.connect(route.target_uri) as connection:
        connection.execute(f"lock table {SCHEMA}.things in share mode".encode())  # a COPY waits for it
        wait_until(lambda: route.query(terminate)[0][0] > 0, run, "a COPY")
    route.await_status(plan, lambda status: status.waiting_for_approval == Group.CUTOVER, run)
    finish(route, plan, run)


def test_connections_of_mongodb_are_cut_in_every_phase(route: Route, plan: Path) -> None:
    with mongodb_proxy(route.source.uri) as (proxy, uri):
        run = disturbed(route, plan, proxy.cut, SOURCE_URI=uri)
        finish(route, plan, run)


# --- a server that stays away -------------------------------------------------------------------------------------


SOON = "&serverSelectionTimeoutMS=1000"
"""For a MongoDB's URI: that a server is away is met so soon, where how soon is not the question."""


def run_here(route: Route, plan: Path, environment: Mapping[str, str], beside: Callable[[], None]) -> int:
    """`tranship run` in this process, with something that happens beside it; its exit code."""
    thread = threading.Thread(target=beside)
    thread.start()
    result = CliRunner().invoke(cli.app, ["run", str(plan)], env={**route.environment, **environment})
    thread.join()
    return result.exit_code


def _await_approval(route: Route, plan: Path) -> None:
    def waits() -> bool:
        with route.session(plan) as session:
            return session.latest() is not None and bool(route.status(plan).waiting_for_approval)

    wait_until(waits, what="the question for approval")


@pytest.mark.parametrize(
    ("side", "ending"),
    [("mongodb", "SIGTERM"), ("postgresql", "SIGTERM"), ("mongodb", "rollback")],  # the target keeps the requests
)
def test_a_person_is_heard_while_a_server_is_away(route: Route, side: str, ending: str) -> None:
    """A run with patience waits for the servers, not a person for the run."""
    route.documents().insert_many(things(50))
    plan = route.plan(THINGS, limits={"patience": "forever"})
    proxied = mongodb_proxy(route.source.uri) if side == "mongodb" else postgresql_proxy(route.target_uri)
    with proxied as (away, uri):
        soon = SOON if ending == "rollback" else ""  # which meets it again and again
        run = route.run_to(plan, _waits, **{"SOURCE_URI" if side == "mongodb" else "TARGET_URI": uri + soon})
        away.close()
        wait_until(lambda: "retrying" in run.output, run, "the outage to be met")
        if ending == "SIGTERM":
            run.process.terminate()
            assert run.wait(30) == PAUSED, run.output
        else:
            route.tranship("rollback", plan)
            assert run.wait(120) == ROLLED_BACK, run.output


def _waits(status: Status) -> bool:
    return status.waiting_for_approval == Group.CUTOVER


@pytest.mark.parametrize("side", ["mongodb", "postgresql"])
def test_a_server_that_stays_away_pauses_the_run(route: Route, side: str) -> None:
    route.documents().insert_many(things(50))
    plan = route.plan(THINGS, limits={"workers": 2, "patience": "1s"})
    with (
        mongodb_proxy(route.source.uri) as (mongodb, source),
        postgresql_proxy(route.target_uri) as (postgresql, target),
    ):
        addresses = {"SOURCE_URI": source + SOON, "TARGET_URI": target}
        away: Proxy = {"mongodb": mongodb, "postgresql": postgresql}[side]

        def go_away() -> None:
            _await_approval(route, plan)
            away.close()

        assert run_here(route, plan, addresses, go_away) == PAUSED
        route.documents().update_one({"_id": "t00001"}, {"$set": {"number": -1}})
        away.open()

        def approve() -> None:
            wait_until(lambda: equal(route), what="the run to go on")
            _await_approval(route, plan)
            route.tranship("approve", plan)

        assert run_here(route, plan, addresses, approve) == FINISHED
    assert equal(route)


def test_an_outage_longer_than_the_lease_is_waited_for(route: Route) -> None:
    route.documents().insert_many(things(50))
    plan = route.plan(THINGS, limits={"workers": 2})
    with postgresql_proxy(route.target_uri) as (postgresql, target):
        run = route.start("run", plan, TARGET_URI=target)
        route.await_status(plan, lambda status: status.waiting_for_approval == Group.CUTOVER, run)
        postgresql.close()
        expired = "select 1 from tranship.lease where expires_at < clock_timestamp() - interval '2 s'"
        wait_until(lambda: bool(route.query(expired)), run, "the lease to end")
        route.documents().update_one({"_id": "t00001"}, {"$set": {"number": -1}})
        postgresql.open()
        finish(route, plan, run)


def test_addresses_in_files_are_read_for_each_connection(route: Route) -> None:
    """As after a rotation of passwords: what is opened from then on is opened by the new ones."""
    route.documents().insert_many(things(50))
    files = {name: route.folder / name for name in ("source", "target")}
    plan = route.plan(
        THINGS,
        source={"mongodb": "${file:source}", "database": route.source.name},
        target={"postgresql": "${file:target}", "schema": SCHEMA},
    )
    with ExitStack() as old, ExitStack() as new:

        def point(stack: ExitStack) -> list[Proxy]:
            source, source_uri = stack.enter_context(mongodb_proxy(route.source.uri))
            target, target_uri = stack.enter_context(postgresql_proxy(route.target_uri))
            files["source"].write_text(source_uri)
            files["target"].write_text(target_uri)
            return [source, target]

        before = point(old)
        run = route.run_to_approval(plan)
        point(new)
        for proxy in before:
            proxy.close()
        route.documents().update_many({}, {"$set": {"number": -1}})
        wait_until(lambda: set(route.rows("things", "number")) == {(-1,)}, run, "the changes to be applied")
        assert route.tranship("approve", plan)[0] == FINISHED
        assert run.wait() == FINISHED, run.output
