"""`tranship dry-run`, interrupted and killed: what it leaves is removed, and nothing of others."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from tests.integration.rehearsals import dumped, held, plan_of, shadows
from tests.integration.route import Route, wait_until, written_to
from tranship.orchestrator.cli.main import app
from tranship.orchestrator.engine.session import Session
from tranship.orchestrator.failpoints import SITES

FINISHED, REFUSED = 0, 3


@pytest.fixture
def plan(route: Route) -> Path:
    return plan_of(route)


def test_an_interruption_is_rolled_back(route: Route, plan: Path) -> None:
    before = dumped(route), held(route)
    child = route.start("dry-run", plan)
    wait_until(lambda: len(shadows(route)) == 2, child, "the shadow's tables")
    os.kill(child.process.pid, signal.SIGINT)
    assert child.wait() == REFUSED, child.output
    assert "against a run: interrupted" in child.output
    assert "the run may not start" in child.output
    assert (dumped(route), held(route)) == before


def test_an_interruption_before_anybody_leads_the_run_leaves_nothing(
    route: Route, plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state schema is there, and no signal is taken yet."""
    begin = Session.begin

    def interrupted(session: Session) -> str:
        begin(session)
        raise KeyboardInterrupt

    monkeypatch.setattr(Session, "begin", interrupted)
    before = dumped(route), held(route)
    result = CliRunner(env=route.environment).invoke(app, ["dry-run", str(plan)])
    assert result.exit_code == 130, result.output
    assert (dumped(route), held(route)) == before


KILLED = (
    "claim.after_lease",
    "claim.after_epoch",
    "journal.before_commit",
    "journal.after_append@4",
    "expand.after_tables",
    "capture.after_position",
    "keep.before_position",
    "keep.before_commit@2",
    "keep.after_commit",
    "backfill.after_plan",
    "chunk.after_read",
    "load.before_mark",
    "load.before_epoch@2",
    "load.before_commit",
    "index.after_create",
    "constrain.after_create",
    "reconcile.after_full",
    "drain.after_marker@2",
    "rehearsal.halfway@1",
    "rehearsal.halfway@5",
    "load.after_commit@2",
    "rehearsal.before_end",
    "lift.before_unseal",
    "lift.after_unseal",
    "undo.before",
    "undo.after@7",
    "rehearsal.before_removal",
)


UNDER_WRITES = (
    "replace.before_delete",
    "replace.before_mark",
    "replace.before_epoch",
    "replace.before_commit",
    "replace.after_commit",
)

NEVER_REACHED = {
    "fence.after_guard",
    "raise.after_register",
    "raise.after_command",
    "lower.after_register",
    "lower.after_command",
    "fence.after_swap",
    "open.after_swap",
    "guard.before_lift",
    "guard.after_lift",
    "cutover.after_quiet",
    "seal.before_commit",
    "seal.after_commit",
    "cutover.after_seal",
    "cutover.before_switch",
    "pivot.after_sent",
    "pivot.after_swap",
}
"""A dry run stops no writers and switches nothing."""


def test_a_dry_run_is_killed_at_every_site_that_it_reaches() -> None:
    assert {site.partition("@")[0] for site in (*KILLED, *UNDER_WRITES)} == set(SITES) - NEVER_REACHED


@pytest.mark.parametrize("site", UNDER_WRITES)
def test_what_one_leaves_that_is_killed_while_somebody_writes(route: Route, plan: Path, site: str) -> None:
    before = dumped(route), held(route)[:3]

    def write(number: int) -> None:
        route.documents().update_one({"_id": f"t{number % 300:05}"}, {"$set": {"name": f"changed {number}"}})

    with written_to(write, 0.01):
        child = route.start("dry-run", plan, TRANSHIP_FAILPOINT=f"{site}=kill")
        assert child.wait() == -signal.SIGKILL, child.output
    assert shadows(route) != []
    end_leases(route)
    code, said = removed(route, plan)
    assert code == FINISHED, said
    assert (dumped(route), held(route)[:3]) == before


@pytest.mark.parametrize("site", KILLED)
def test_what_a_killed_one_leaves_is_removed(route: Route, plan: Path, site: str) -> None:
    before = dumped(route), held(route)
    child = route.start("dry-run", plan, TRANSHIP_FAILPOINT=f"{site}=kill")
    assert child.wait() == -signal.SIGKILL, child.output
    assert shadows(route) != []
    end_leases(route)
    code, said = removed(route, plan)
    assert (code, "removed: the shadow" in said) == (FINISHED, True), said
    assert (dumped(route), held(route)) == before


def end_leases(route: Route) -> None:
    """As if the time of the dead one's lease had passed already: below and in other tests it really passes."""
    for schema in shadows(route):
        if route.query("select to_regclass(%s)", f'"{schema}".lease')[0][0] is not None:
            route.query(f'update "{schema}".lease set expires_at = clock_timestamp()')


def removed(route: Route, plan: Path) -> tuple[int, str]:
    """`purge --shadows`, once the killed one's lease is over."""
    said: list[tuple[int, str]] = []

    def gone() -> bool:
        said.append(route.tranship("purge", plan, "--shadows"))
        return said[-1][0] != REFUSED

    wait_until(gone, what="the lease of the killed one to end")
    return said[-1]


def test_the_next_one_removes_it_too_and_names_are_nothing(route: Route, plan: Path) -> None:
    """A schema of somebody else that only looks like a shadow stays."""
    route.query("create schema moved__dry_0123abcd; create table moved__dry_0123abcd.shadow (plan text)")
    route.query("create table moved__dry_0123abcd.owned (mine int)")
    before = dumped(route)
    child = route.start("dry-run", plan, TRANSHIP_FAILPOINT="index.after_create=kill")
    assert child.wait() == -signal.SIGKILL, child.output
    wait_until(lambda: removed_by_next(route, plan, before), what="the next one")
    route.query("drop schema moved__dry_0123abcd cascade")


def removed_by_next(route: Route, plan: Path, before: Any) -> bool:
    code, said = route.tranship("dry-run", plan)
    assert code == FINISHED, said
    return dumped(route) == before


def test_what_others_hung_on_a_shadow_is_not_dropped(route: Route, plan: Path) -> None:
    child = route.start("dry-run", plan, TRANSHIP_FAILPOINT="reconcile.after_full=kill")
    assert child.wait() == -signal.SIGKILL, child.output
    (schema, _) = shadows(route)
    with psycopg.connect(route.target_uri, autocommit=True) as connection:
        connection.execute(f'create view public.looked as select * from "{schema}".things'.encode())
    code, said = hung(route, plan)
    assert (code, "public.looked" in said) == (REFUSED, True), said
    route.query("drop view public.looked")
    assert removed(route, plan)[0] == FINISHED


def hung(route: Route, plan: Path) -> tuple[int, str]:
    said: list[tuple[int, str]] = []

    def told() -> bool:
        said.append(route.tranship("purge", plan, "--shadows"))
        return "in use" not in said[-1][1]

    wait_until(told, what="the lease of the killed one to end")
    return said[-1]
