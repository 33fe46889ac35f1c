"""Figures say when and on what they were taken; what is not known is not shown as if it were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.integration.route import THINGS, Route, things
from tranship.orchestrator.journal.state import RunStatus
from tranship.plans.strategies import PhaseName

FINISHED, BAD_PLAN, ROLLED_BACK, PAUSED = 0, 2, 4, 7


def status(route: Route, plan: Path) -> dict[str, Any]:
    code, said = route.tranship("status", plan, "--json")
    assert code == 0, said
    found: dict[str, Any] = json.loads(said)
    return found


def test_a_comparison_of_a_rolled_back_run_is_refused(route: Route) -> None:
    """Nothing is left on the target, and it is no fault: neither equal nor different would be an answer."""
    route.documents().insert_many(things(20))
    plan = route.plan(THINGS)
    run = route.run_to_approval(plan)
    route.tranship("rollback", plan)
    assert run.wait() == ROLLED_BACK, run.output
    code, said = route.tranship("reconcile", plan)
    assert (code, "nothing to compare" in said, "documents" in said) == (ROLLED_BACK, True, False), said


def test_a_comparison_before_anything_is_loaded_is_refused(route: Route) -> None:
    route.documents().insert_many(things(20))
    plan = route.plan(THINGS, approval=["backfill"])
    run = route.run_to(plan, lambda found: found.waiting_for_approval == PhaseName.BACKFILL)
    code, said = route.tranship("reconcile", plan)
    assert (code, "nothing is loaded yet" in said) == (BAD_PLAN, True), said
    run.kill()


def test_status_shows_the_newest_comparison_and_when_it_was(route: Route) -> None:
    """Not for ever that of the reconcile phase."""
    route.documents().insert_many(things(20))
    plan = route.plan(THINGS)
    route.run_to_approval(plan)
    first = status(route, plan)
    assert first["streams"][0]["compared"] == {"documents": 20, "rows": 20, "quarantined": 0}
    route.documents().delete_many({"number": {"$lt": 5}})
    code, said = route.tranship("reconcile", plan)
    assert code == FINISHED, said
    later = status(route, plan)
    assert later["streams"][0]["compared"] == {"documents": 15, "rows": 15, "quarantined": 0}
    assert first["compared_at"] <= later["compared_at"] <= later["taken_at"]
    code, said = route.tranship("status", plan)
    assert later["compared_at"] in said


def test_a_finished_run_lags_behind_nothing(route: Route) -> None:
    """Documents that are deleted in the source after the switch are nobody's concern, and no lag grows."""
    route.documents().insert_many(things(20))
    plan = route.plan(THINGS, approval=[])
    code, said = route.tranship("run", plan)
    assert code == FINISHED, said
    found = status(route, plan)
    assert (found["status"], found["lag_s"], found["dirty_keys"]) == (RunStatus.FINISHED, None, None)
    assert f"compared at {found['compared_at']}" in said, "the equation says when it held"
    code, said = route.tranship("status", plan)
    assert "lag" not in said
