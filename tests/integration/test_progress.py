"""How far long phases are, as another process sees it: comparison, index builds, undo; and what `check --json` says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.integration.route import THINGS, Route, things
from tests.integration.terminal import SIZES, terminal
from tranship.orchestrator.reports.status import Status

FINISHED, BAD_PLAN, REFUSED, ROLLED_BACK, AT_WORK, PAUSED = 0, 2, 3, 4, 6, 7


@contextmanager
def held(route: Route, mode: str) -> Iterator[None]:
    """Somebody holds the table for the length of the block."""
    with psycopg.connect(route.target_uri) as connection:
        connection.execute(f"LOCK TABLE moved.things IN {mode} MODE".encode())
        yield


def filled(route: Route, **parts: Any) -> Path:
    route.documents().insert_many([{**thing, "filler": "x" * 400} for thing in things(1000)])
    return route.plan(THINGS, **parts)


def at(doing: str) -> Any:
    return lambda status: status.work is not None and status.work.doing == doing


def test_the_command_that_compares_says_how_far_it_is(route: Route) -> None:
    plan = filled(route, approval=[])
    assert route.tranship("run", plan)[0] == FINISHED
    with terminal(route, (80, 24), "reconcile", plan) as screen:
        with held(route, "ACCESS EXCLUSIVE"):  # long before the command has loaded what it needs
            screen.wait_for(lambda: "reconcile for" in screen.text and "spans (0 %)" in screen.text, "its progress")
        assert screen.wait() == FINISHED
        assert "reconcile for" not in screen.text
        assert "0 diverge" in screen.text


def test_a_comparison_says_how_far_it_is(route: Route) -> None:
    plan = filled(route, approval=["reconcile", "cutover"])
    run = route.run_to(plan, at("waiting for the approval of reconcile"))
    with held(route, "ACCESS EXCLUSIVE"):
        assert route.tranship("approve", plan)[0] == FINISHED
        comparing: Status = route.await_status(
            plan, lambda status: status.work is not None and status.work.unit == "spans", run
        )
        assert comparing.work is not None
        assert (comparing.work.doing, comparing.work.done, comparing.work.age_s < 5) == ("reconcile", 0, True)
        assert comparing.work.total >= 4
        assert comparing.work.parts["things"].total == comparing.work.total
        code, said = route.tranship("status", plan)
        assert f"0 of {comparing.work.total} spans (0 %)" in " ".join(said.split()), said
        assert route.tranship("status", plan, "--exit-code")[0] == AT_WORK
    route.await_status(plan, at("waiting for the approval of cutover"), run)
    code, said = route.tranship("status", plan)
    assert f"next: tranship approve {plan}" in " ".join(said.split()), said
    assert code == FINISHED
    assert route.tranship("pause", plan)[0] == FINISHED
    assert run.wait() == PAUSED
    assert route.status(plan).work is None, "nobody works, and nobody says that he does"
    assert route.tranship("status", plan, "--exit-code")[0] == PAUSED


@pytest.mark.parametrize("size", SIZES)
def test_the_live_view_of_a_comparison_and_of_an_undo(route: Route, size: tuple[int, int]) -> None:
    plan = filled(route, approval=["reconcile"])
    with terminal(route, size, "run", plan) as view:
        view.wait_for(lambda: "reconcile waits for an approval" in view.words, "the approval to be asked for")
        with held(route, "ACCESS EXCLUSIVE"):
            assert route.tranship("approve", plan)[0] == FINISHED
            view.wait_for(lambda: "spans (0 %)" in view.words, "the comparison to be shown")
            assert any(line.startswith("things 0/") for line in map(" ".join, map(str.split, view.screen)))
            route.start("rollback", plan)
            view.wait_for(lambda: "undoing" in view.words, "the undo to be shown")
        assert view.wait() == ROLLED_BACK, view.text


def test_an_index_build_is_seen_from_outside(route: Route) -> None:
    """A concurrent build waits for every older transaction: nobody knows else why it takes so long."""
    columns = {"name": {"type": "text", "unique": True}, "number": {"type": "int64", "bson": "int32"}}
    route.documents().insert_many(things(50))
    plan = route.plan({"things": {"key": {"_id": "text"}, "columns": columns}}, approval=["constrain", "cutover"])
    run = route.run_to(plan, at("waiting for the approval of constrain"))
    with psycopg.connect(route.target_uri) as reader:
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        reader.execute("SELECT 1")
        assert route.tranship("approve", plan)[0] == FINISHED
        # It goes through other steps before.
        wanted = [("moved.things", "waiting for old snapshots")]
        route.await_status(plan, lambda status: [(one.table, one.step) for one in status.builds] == wanted, run)
        assert "index on moved.things: waiting for old snapshots" in route.tranship("status", plan)[1]
    done = route.await_status(plan, at("waiting for the approval of cutover"), run)
    assert done.builds == ()


# --- check ------------------------------------------------------------------------------------------------------------


def checked(route: Route, plan: Path, **environment: str) -> tuple[int, dict[str, Any]]:
    code, said = route.tranship("check", plan, "--json", **environment)
    found: dict[str, Any] = json.loads(said)
    return code, found


def test_check_as_json_of_a_good_plan(route: Route) -> None:
    route.documents().insert_many(things(1))
    plan = route.plan(THINGS)
    code, found = checked(route, plan)
    (stream,) = found.pop("streams")
    sides = found.pop("source"), found.pop("target")
    assert (code, found) == (
        FINISHED,
        {"version": 1, "plan": str(plan), "can_run": True, "problems": [], "findings": []}
        # Of one document there is no pace.
        | {"seconds": None, "wait_s": None},
    )
    assert (stream["stream"], stream["documents"], stream["looked_at"]) == ("things", 1, 1)
    assert stream["bytes"] > 0
    assert all(name in side for name, side in zip((route.source.name, "/"), sides, strict=True))


def test_check_as_json_of_a_broken_plan(route: Route) -> None:
    plan = route.plan(THINGS)
    plan.write_text(plan.read_text(encoding="utf-8").replace("name: text", "name: txet"), encoding="utf-8")
    code, found = checked(route, plan)
    assert (code, found["can_run"], found["findings"]) == (BAD_PLAN, False, [])
    (problem,) = found["problems"]
    assert (problem["code"], problem["path"], problem["near"]) == ("P006", "streams.things.columns.name.type", "text")
    assert problem["line"] > 0
    missing = route.folder / "nowhere.yaml"
    code, found = checked(route, missing)
    assert (code, found["problems"][0]["code"]) == (BAD_PLAN, "P001")


def test_check_as_json_of_a_source_without_the_collection(route: Route) -> None:
    code, found = checked(route, route.plan(THINGS))
    assert (code, found["can_run"]) == (REFUSED, False)
    assert [one["code"] for one in found["findings"]] == ["source.missing"]
