"""`tranship reconcile` beside a run: it takes nothing over, is taken over by nobody, and leaves nothing behind."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.integration.route import THINGS, Route, things
from tranship.connectors.protocols import BatchTarget
from tranship.orchestrator.dataplane import reconcile
from tranship.orchestrator.dataplane.reconcile import Reconciled
from tranship.orchestrator.dataplane.run import Run
from tranship.orchestrator.dataplane.work import Work
from tranship.orchestrator.reports import inspection

FINISHED, REFUSED, ROLLED_BACK, PAUSED = 0, 3, 4, 7
MARKERS = "tranship_markers"


def test_an_epoch_that_has_moved_is_no_matter(route: Route) -> None:
    """Somebody waited for the lease of a run that ended meanwhile, took it over, and had nothing to do."""
    route.documents().insert_many(things(20))
    plan = route.plan(THINGS, approval=[])
    assert route.tranship("run", plan)[0] == FINISHED
    with route.session(plan) as session:
        session.engine().execute("small-1", "second")
    code, said = route.tranship("reconcile", plan)
    assert (code, "20 documents compared, 0 diverge" in said) == (FINISHED, True), said


def test_findings_that_cannot_be_kept_are_told(route: Route) -> None:
    """An orchestrator has taken the run over and ended before it could say so."""
    route.documents().insert_many(things(20))
    plan = route.plan(THINGS)
    run = route.run_to_approval(plan)
    assert route.tranship("pause", plan)[0] == FINISHED
    assert run.wait() == PAUSED
    with route.session(plan) as session:
        session.control.acquire("small-1", 30.0)
        session.control.claim("small-1")
        session.control.release("small-1")
    code, said = route.tranship("reconcile", plan)
    assert (code, "20 documents compared, 0 diverge" in said) == (FINISHED, True), said
    assert "not on the run's record" in said


def test_a_document_that_the_plan_refuses_is_told(route: Route) -> None:
    route.documents().insert_many(things(20))
    plan = route.plan({"things": {**THINGS["things"], "rest": "fail"}}, rollback={"on_failure": "pause"})
    run = route.run_to_approval(plan)
    route.documents().insert_one({"_id": "odd", "name": 5, "number": 1})
    assert run.wait() == PAUSED, run.output
    code, said = route.tranship("reconcile", plan)
    assert (code, "Traceback" in said) == (REFUSED, False), said
    assert "name" in said


def test_no_marker_stays_behind_a_run_that_ends_meanwhile(route: Route, monkeypatch: pytest.MonkeyPatch) -> None:
    route.documents().insert_many(things(20))
    plan = route.plan(THINGS)
    run = route.run_to_approval(plan)
    there: list[Any] = []

    def full(looking: Run, _: BatchTarget) -> Reconciled:
        assert route.tranship("rollback", plan)[0] == FINISHED
        assert run.wait() == ROLLED_BACK, run.output
        looking.source.put_marker(f"{looking.id}.too late")
        there.extend(route.client[route.source.name].list_collection_names())
        raise TimeoutError("waited for the marker")

    monkeypatch.setattr(reconcile, "full", full)
    with route.session(plan) as session, pytest.raises(TimeoutError):
        inspection.reconcile_now(session, "small-1", Work(time.monotonic))
    assert MARKERS in there
    assert MARKERS not in route.client[route.source.name].list_collection_names()
