"""Connections that break in every long phase: the run goes on by itself; a server that stays away pauses it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner

from tests.integration.proxy import Proxy, mongodb_proxy, postgresql_proxy
from tests.integration.route import SCHEMA, THINGS, Child, Route, things, wait_until, written_to
from tranship.orchestrator import retry
from tranship.orchestrator.cli import main as cli
from tranship.orchestrator.journal.state import PhaseStatus
from tranship.orchestrator.reports.status import Status
from tranship.plans.strategies import PhaseName

FINISHED, PAUSED = 0, 7

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
        route.await_status(plan, lambda status: status.waiting_for_approval == PhaseName.CUTOVER, run)
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
    route.await_status(plan, lambda status: status.waiting_for_approval == PhaseName.CUTOVER, run)
    finish(route, plan, run)


def test_connections_of_mongodb_are_cut_in_every_phase(route: Route, plan: Path) -> None:
    with mongodb_proxy(route.source.uri) as (proxy, uri):
        run = disturbed(route, plan, proxy.cut, SOURCE_URI=uri)
        finish(route, plan, run)


# --- a server that stays away -------------------------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run gives up after a moment."""
    monkeypatch.setattr(retry, "GIVE_UP_AFTER_S", 1.0)


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


@pytest.mark.parametrize("side", ["mongodb", "postgresql"])
@pytest.mark.usefixtures("impatient")
def test_a_server_that_stays_away_pauses_the_run(route: Route, plan: Path, side: str) -> None:
    with (
        mongodb_proxy(route.source.uri) as (mongodb, source),
        postgresql_proxy(route.target_uri) as (postgresql, target),
    ):
        addresses = {"SOURCE_URI": source, "TARGET_URI": target}
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


def test_an_outage_longer_than_the_lease_is_waited_for(route: Route, plan: Path) -> None:
    with postgresql_proxy(route.target_uri) as (postgresql, target):
        run = route.start("run", plan, TARGET_URI=target)
        route.await_status(plan, lambda status: status.waiting_for_approval == PhaseName.CUTOVER, run)
        postgresql.close()
        expired = "select 1 from tranship.lease where expires_at < clock_timestamp() - interval '2 s'"
        wait_until(lambda: bool(route.query(expired)), run, "the lease to end")
        route.documents().update_one({"_id": "t00001"}, {"$set": {"number": -1}})
        postgresql.open()
        finish(route, plan, run)
