"""A run that begins by a dry run's report: which reports let it, and what the journal keeps of one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.route import THINGS, Route, things

FINISHED, BAD, REFUSED, PAUSED = 0, 2, 3, 7


@pytest.fixture
def plan(route: Route) -> Path:
    route.documents().insert_many(things(20))
    return route.plan(THINGS, approval=[], require={"dry_run": "1h"}, limits={"misfit": "2%", "lease": "3s"})


@pytest.fixture
def report(route: Route, plan: Path) -> Path:
    file = route.folder / "report.json"
    code, said = route.tranship("dry-run", plan, "-o", file)
    assert code == FINISHED, said
    return file


def begun(route: Route, plan: Path, *options: str | Path) -> tuple[int, str]:
    code, said = route.tranship("run", plan, *options)
    if code != FINISHED:
        assert not route.has_state(), "nothing was changed"
        assert "Nothing was changed" in said
    return code, said


def test_a_plan_may_demand_one_and_the_journal_keeps_which(route: Route, plan: Path, report: Path) -> None:
    code, said = begun(route, plan)
    assert (code, "require.dry_run" in said, f"tranship run {plan} --dry-run-report" in said) == (REFUSED, True, True)
    code, said = begun(route, plan, "--dry-run-report", report)
    assert code == FINISHED, said
    digest = hashlib.sha256(report.read_bytes()).hexdigest()
    ((data,),) = route.query("select data->>'rehearsed' from tranship.journal where kind = 'created'")
    assert data == digest
    code, said = route.tranship("history", plan)
    assert (code, f"rehearsed (report with SHA-256 {digest[:16]}" in said) == (FINISHED, True), said


OTHER: tuple[tuple[dict[str, Any], str], ...] = (
    ({"may_start": False}, "may not start"),
    ({"source": "mongodb:another/shop"}, "of another source"),
    ({"target": "another/postgres"}, "of another target"),
    ({"meaning": "0" * 64}, "of a plan with another meaning"),
    ({"thresholds": {"limits.misfit": 0.5}}, "limits.misfit of 0.5"),
    ({"thresholds": None}, "limits.misfit of None"),
    ({"thresholds": {}}, "cutover.max_quarantined of None"),
    ({"taken_at": "2020-01-01T00:00:00Z"}, "old, and may be 1 h"),
    ({"taken_at": "2099-01-01T00:00:00Z"}, "from the future"),
    ({"taken_at": "yesterday"}, "when it was taken"),
    ({"version": 0}, "no report of a dry run of this version"),
)
"""What a report of something else says, and what it is told of."""


def test_a_report_of_something_else(route: Route, plan: Path, report: Path) -> None:
    whole = json.loads(report.read_text(encoding="utf-8"))
    for changes, named in OTHER:
        report.write_text(json.dumps({**whole, **changes}), encoding="utf-8")
        code, said = begun(route, plan, "--dry-run-report", report)
        assert (code, named in said) == (REFUSED, True), (changes, said)


def test_a_file_that_is_none(route: Route, plan: Path) -> None:
    file = route.folder / "odd.json"
    code, said = begun(route, plan, "--dry-run-report", file)
    assert (code, "cannot be read" in said) == (REFUSED, True), said
    for content in ("no json", "[]", "{}"):
        file.write_text(content, encoding="utf-8")
        code, said = begun(route, plan, "--dry-run-report", file)
        assert (code, "no report of a dry run" in said) == (REFUSED, True), said
    code, said = route.tranship("run", plan, "--dry-run-report", file, "--max-age", "soon")
    assert (code, "--max-age soon" in said) == (BAD, True), said


def test_the_lesser_age_counts_and_a_run_that_has_begun_asks_for_none(route: Route, plan: Path, report: Path) -> None:
    code, said = begun(route, plan, "--dry-run-report", report, "--max-age", "1ms")
    assert (code, "old, and may be" in said) == (REFUSED, True), said
    asking = route.plan(THINGS, approval=["expand"], require={"dry_run": "1h"}, limits={"misfit": "2%", "lease": "3s"})
    child = route.start("run", asking, "--dry-run-report", report)
    route.await_status(asking, lambda status: status.waiting_for_approval == "expand", child)
    assert route.tranship("pause", asking)[0] == FINISHED
    assert child.wait() == PAUSED, child.output
    again = route.run_to(asking, lambda status: status.at_work and status.waiting_for_approval == "expand")
    assert route.tranship("approve", asking, "expand")[0] == FINISHED
    assert again.wait() == FINISHED, again.output
