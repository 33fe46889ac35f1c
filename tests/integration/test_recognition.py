"""Servers that are not those a run knows any more, though their addresses are: restored, or made anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.route import SCHEMA, STATE, THINGS, Route, things

FINISHED, REFUSED, ROLLED_BACK, HELD, PAUSED = 0, 3, 4, 5, 7
SWITCHES = "tranship_switches"


def _switched(route: Route) -> Path:
    route.documents().insert_many(things(20))
    plan = route.plan(THINGS)
    run = route.run_to_approval(plan)
    route.tranship("approve", plan)
    assert run.wait() == FINISHED, run.output
    return plan


def _collections(route: Route) -> set[str]:
    return set(route.client[route.source.name].list_collection_names())


def test_a_target_that_lost_its_switch_is_found_by_the_note_on_the_source(route: Route) -> None:
    plan = _switched(route)
    route.query(f"drop schema {STATE} cascade; drop schema {SCHEMA} cascade")  # restored to before the run
    before = route.target()
    for command in ("check", "run"):
        code, said = route.tranship(command, plan)
        assert (code, "run small-1 has switched to this target" in said) == (REFUSED, True), said
    assert route.target() == before
    (note,) = route.documents(SWITCHES).find()
    assert f'deleteOne({{_id: "{note["_id"]}"}})' in said
    route.documents(SWITCHES).delete_one({"_id": note["_id"]})
    assert route.tranship("check", plan)[0] == FINISHED


def test_a_journal_that_lost_its_end_together_with_its_head_is_found(route: Route) -> None:
    """As after a failover to a standby that had not got the last records."""
    route.documents().insert_many(things(20))
    plan = route.plan(THINGS)
    run = route.run_to_approval(plan)
    tables = [name for (name,) in route.query("select tablename from pg_tables where schemaname = %s", STATE)]
    route.tranship("pause", plan)
    assert run.wait() == PAUSED
    for table in tables:
        route.query(f"create table public.{table} as select * from {STATE}.{table}")
    run = route.run_to_approval(plan)
    route.tranship("approve", plan)
    assert run.wait() == FINISHED, run.output
    for table in tables:
        route.query(f"delete from {STATE}.{table}")
    route.query(f"insert into {STATE}.run select * from public.run")
    for table in tables:
        if table != "run":
            route.query(f"insert into {STATE}.{table} select * from public.{table}")
    route.tamper(f"update {SCHEMA}.things set number = -1")  # by an application, after the switch
    for command in ("run", "resume", "rollback"):
        code, said = route.tranship(command, plan)
        assert (code, "run small-1 has switched to this target" in said) == (REFUSED, True), said
    assert set(route.rows("things", "number")) == {(-1,)}


def test_a_purge_removes_the_note(route: Route) -> None:
    plan = _switched(route)
    assert SWITCHES in _collections(route)
    assert route.tranship("purge", plan, "--yes")[0] == FINISHED
    assert SWITCHES not in _collections(route)
    route.query(f"drop schema {SCHEMA} cascade")
    assert route.tranship("check", plan)[0] == FINISHED


def test_a_source_without_the_newest_marker_is_held(route: Route) -> None:
    route.documents().insert_many(things(20))
    plan = route.plan(THINGS)
    run = route.run_to_approval(plan)
    route.tranship("pause", plan)
    assert run.wait() == PAUSED
    route.documents("tranship_markers").delete_many({})  # as on a source that was restored to before them
    route.documents().update_many({}, {"$set": {"number": -1}})
    before = route.rows("things", "_id", "number")
    for command in ("run", "resume"):
        code, said = route.tranship(command, plan)
        assert (code, "newest marker" in said) == (HELD, True), said
    assert route.rows("things", "_id", "number") == before
    assert route.tranship("rollback", plan)[0] == FINISHED
    assert _collections(route) == {"things"}


@pytest.mark.parametrize(
    "address", ["mongodb+srv://nowhere.invalid/", "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=500"]
)
def test_a_run_is_taken_back_and_purged_when_its_source_is_nowhere(route: Route, address: str) -> None:
    before = route.target()
    route.documents().insert_many(things(20))
    plan = route.plan(THINGS)
    run = route.run_to_approval(plan)
    route.tranship("pause", plan)
    assert run.wait() == PAUSED
    code, said = route.tranship("rollback", plan, SOURCE_URI=address)
    assert code == FINISHED, said
    assert route.tranship("purge", plan, "--yes", SOURCE_URI=address)[0] == FINISHED
    assert route.target() == before


def test_a_purge_without_the_source_says_that_the_note_stays(route: Route) -> None:
    plan = _switched(route)
    code, said = route.tranship("purge", plan, "--yes", SOURCE_URI="mongodb+srv://nowhere.invalid/")
    assert (code, "tranship_switches" in said) == (REFUSED, True), said
    assert not route.has_state()
