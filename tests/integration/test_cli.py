"""Whole lives of runs at the command line: what each command does while a run works, waits, rests and has ended."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import psycopg
import pymongo
import yaml
from psycopg import sql

from tests.integration.private import private_mongo
from tests.integration.route import SCHEMA, STATE, THINGS, Child, Route, things, wait_until, written_to
from tranship.orchestrator.demo.fingerprint import differences as source_differences
from tranship.orchestrator.demo.fingerprint import fingerprint
from tranship.orchestrator.failpoints import VARIABLE
from tranship.orchestrator.journal.records import Kind
from tranship.orchestrator.journal.state import PhaseStatus, RunStatus
from tranship.plans.strategies import Group

FINISHED, DIVERGED, BAD_PLAN, REFUSED, ROLLED_BACK, HELD, LEASE, PAUSED = range(8)

KILLED = {VARIABLE: "drain.after_marker@5=kill"}
"""Right after the switch: capture, fence, drain and switch need a marker each, and so does the look behind it."""


def journal(route: Route, plan: Path) -> list[Kind]:
    """The kinds of all records of the plan's newest run."""
    with route.session(plan) as session:
        return [entry.record.kind for entry in session.control.journal(session.latest() or "")]


def equal(route: Route) -> bool:
    """Whether the target holds what the source does, by plain queries."""
    documents = route.documents().find().sort("_id")
    return route.rows("things", "_id", "name", "number") == [(d["_id"], d["name"], d["number"]) for d in documents]


def test_while_a_run_waits_and_after_it(route: Route) -> None:
    route.documents().insert_many(things(50))
    plan = route.plan(THINGS)
    run = route.run_to_approval(plan)

    code, said = route.tranship("status", plan)
    assert code == FINISHED
    assert "cutover waits for an approval" in said
    code, said = route.tranship("status", plan, "--json")
    assert (code, json.loads(said)["waiting_for_approval"]) == (FINISHED, "cutover")

    records = len(journal(route, plan))
    code, said = route.tranship("run", plan)
    assert code == LEASE, said
    assert "another orchestrator works on run small-1" in said
    assert len(journal(route, plan)) == records
    code, said = route.tranship("purge", plan, "--yes")
    assert (code, "has not ended" in said) == (BAD_PLAN, True), said

    _corrupt_and_repair(route, plan, run)

    increment = {"$inc": {"number": 1}}
    with written_to(lambda _: route.documents().update_one({"_id": "t00001"}, increment), 0.02):
        route.tranship("approve", plan)
        wait_until(lambda: Kind.APPROVAL_WITHDRAWN in journal(route, plan), run, "the cutover to be refused")
    assert "still written to" in route.status(plan).reason
    route.await_status(plan, lambda status: status.waiting_for_approval == Group.CUTOVER, run)
    route.tranship("approve", plan)
    assert run.wait() == FINISHED, run.output
    assert "run small-1 has finished. The target is the primary now" in run.output
    assert run.output.rstrip().endswith("(exit code 0)")
    assert equal(route)

    _after_the_end(route, plan)


def test_after_the_switch_only_resume_ends_a_held_run(route: Route) -> None:
    route.documents().insert_many(things(50))
    plan = route.plan(THINGS)
    run = route.run_to(plan, lambda status: status.waiting_for_approval == Group.CUTOVER, **KILLED)
    route.tranship("approve", plan)
    assert run.wait() == -signal.SIGKILL, run.output
    assert journal(route, plan)[-2:] == [Kind.PIVOTED, Kind.DONE]
    route.documents().update_one({"_id": "t00003"}, {"$set": {"name": "rogue"}})
    code, said = route.tranship("run", plan)
    assert code == HELD, said
    for command in ("repair", "reseed", "pause", "rollback"):
        records = journal(route, plan)
        code, said = route.tranship(command, plan)
        assert code in (HELD, BAD_PLAN), said
        assert journal(route, plan) == records, command
    assert ("t00003", "name 3", 3) in route.rows("things", "_id", "name", "number")
    assert route.tranship("resume", plan)[0] == FINISHED


def _corrupt_and_repair(route: Route, plan: Path, run: Child) -> None:
    assert route.tranship("reconcile", plan)[0] == FINISHED
    route.tamper(f"update {SCHEMA}.things set name = 'wrong' where _id = 't00007'")
    code, said = route.tranship("reconcile", plan, "--json")
    found = json.loads(said[said.index("{\n") :])
    assert code == DIVERGED, said
    assert found["divergences"] == [
        {"stream": "things", "key": {"_id": "t00007"}, "kind": "different", "columns": ["name"]}
    ]
    assert [d["key"] for d in route.status(plan).divergences] == [{"_id": "t00007"}]
    code, said = route.tranship("repair", plan)
    assert (code, "repair was left for the orchestrator" in said) == (0, True), said
    wait_until(lambda: equal(route), run, "the repair")
    assert route.tranship("reconcile", plan)[0] == FINISHED


def _after_the_end(route: Route, plan: Path) -> None:
    before = route.target()
    for command, expected in (("approve", BAD_PLAN), ("rollback", BAD_PLAN), ("resume", FINISHED)):
        code, said = route.tranship(command, plan)
        assert (code, "finished" in said) == (expected, True), said
    code, said = route.tranship("run", plan)
    assert (code, f"{SCHEMA}.things exists" in said) == (REFUSED, True), said
    assert "tranship_markers" not in route.client[route.source.name].list_collection_names()
    assert route.tranship("purge", plan, "--yes")[0] == FINISHED
    assert not route.has_state()
    assert route.target() == before


def test_what_may_come_between_a_pause_and_the_next_run(route: Route) -> None:
    route.documents().insert_many(things(50))
    before, source_before = route.target(), fingerprint(route.source.uri, route.source.name)
    plan = route.plan(THINGS)
    run = route.run_to_approval(plan)
    assert route.tranship("pause", plan)[0] == FINISHED
    assert run.wait() == PAUSED, run.output
    assert "small-1 is paused: asked by" in run.output
    assert route.status(plan).status == "paused"
    records = len(journal(route, plan))

    wider = {"things": {**THINGS["things"], "columns": {**THINGS["things"]["columns"], "more": "text"}}}
    code, said = route.tranship("run", route.plan(wider))
    assert code == REFUSED, said
    assert "was started with another meaning" in said
    assert "more" in said
    code, said = route.tranship("check", plan)
    assert (code, "plan.changed" in said, "more" in said) == (REFUSED, True, True), said
    code, said = route.tranship("approve", route.plan(THINGS), "reconcile")
    assert (code, "no phase waits for an approval" in said) == (BAD_PLAN, True), said

    route.plan(THINGS)
    code, said = route.tranship("run", route.plan(THINGS, name="other"))
    assert (code, "small-1" in said) == (REFUSED, True), said

    route.query(f"update {STATE}.run set version = 99")
    code, said = route.tranship("run", plan)
    assert (code, "written by a newer tranship" in said) == (REFUSED, True), said
    route.query(f"update {STATE}.run set version = 2")

    route.query(f"update {STATE}.journal set data = '[]' where seq = 5 and run = 'small-1'")
    code, said = route.tranship("status", plan)
    assert (code, "journal entry 5" in said) == (REFUSED, True), said
    route.query(f"delete from {STATE}.journal where seq = 5 and run = 'small-1'")
    code, said = route.tranship("run", plan)
    assert (code, "journal entry 5" in said) == (REFUSED, True), said
    assert len(route.query(f"select seq from {STATE}.journal where run = 'small-1'")) >= records - 1
    assert equal(route)
    assert not source_differences(source_before, _without_things_and_markers(route))
    assert before != route.target()


def _without_things_and_markers(route: Route) -> dict[str, Any]:
    found = fingerprint(route.source.uri, route.source.name)
    return {name: what for name, what in found.items() if name != "tranship_markers"}


def test_interrupted_and_gone_on_with_other_limits_then_rolled_back(route: Route) -> None:
    route.documents().insert_many(things(50))
    before = route.target()
    plan = route.plan(THINGS, limits={"workers": 3})
    run = route.run_to_approval(plan)
    run.process.send_signal(signal.SIGINT)
    assert run.wait() == PAUSED, run.output
    assert "interrupted" in run.output

    route.documents().insert_many(things(40, "while-paused"))
    route.plan(THINGS, limits={"workers": 1})
    run = route.run_to_approval(plan)
    wait_until(lambda: equal(route), run, "what was written meanwhile to be applied")

    code, said = route.tranship("rollback", plan)
    assert code == FINISHED, said
    assert run.wait() == ROLLED_BACK, run.output
    assert route.target() == before
    assert route.client[route.source.name].list_collection_names() == ["things"]
    assert set(route.status(plan).phases.values()) == {PhaseStatus.UNDONE, PhaseStatus.PENDING}


def test_rollback_when_nobody_is_at_work(route: Route) -> None:
    route.documents().insert_many(things(50))
    before = route.target()
    plan = route.plan(THINGS)
    run = route.run_to(plan, lambda status: status.phases["index"] == PhaseStatus.VERIFIED)
    run.kill()
    code, said = route.tranship("rollback", plan)
    assert (code, "was rolled back" in said) == (FINISHED, True), said
    assert route.target() == before
    assert route.client[route.source.name].list_collection_names() == ["things"]
    # A plan whose run was rolled back starts anew.
    run = route.run_to_approval(plan)
    assert route.status(plan).run == "small-2"
    assert equal(route)


def test_a_check_writes_nothing_on_either_side(route: Route) -> None:
    route.documents().insert_many(things(20))
    plan = route.plan(THINGS)
    before = route.target(), route.has_state()
    collections = sorted(route.client[route.source.name].list_collection_names())
    with route.client[route.source.name].watch(max_await_time_ms=500) as events:
        code, said = route.tranship("check", plan, "--junit", route.folder / "check.xml")
        assert (code, "the plan can run" in said) == (FINISHED, True), said
        assert events.try_next() is None, "no write has come to the source"
    assert (route.target(), route.has_state()) == before
    assert sorted(route.client[route.source.name].list_collection_names()) == collections
    assert "things: about 20 documents" in said
    suite = ElementTree.parse(route.folder / "check.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("2", "0")


def test_a_check_fails_from_the_severity_on_that_is_asked_for(route: Route) -> None:
    route.documents().insert_many(things(20))
    route.query("create publication every for all tables")
    plan = route.plan(THINGS)
    assert route.tranship("check", plan)[0] == FINISHED
    assert route.tranship("check", plan, "--fail-on", "warning")[0] == REFUSED
    code, said = route.tranship("check", plan, "--fail-on", "warning", "--json")
    assert (code, json.loads(said)["can_run"]) == (REFUSED, True)
    broken = route.folder / "broken.yaml"
    broken.write_text("version: 1\n", encoding="utf-8")
    code, said = route.tranship("check", broken, "--junit", route.folder / "broken.xml")
    suite = ElementTree.parse(route.folder / "broken.xml").getroot()
    assert (code, "P004" in said) == (BAD_PLAN, True)
    assert [one.get("type") for one in suite.iter("failure")] == ["P004"] * 4
    assert all("key is missing" in str(one.get("message")) for one in suite.iter("failure"))


PASSWORDS = ("open-sesame", "swordfish")


def test_no_secret_is_ever_shown_or_kept(route: Route, tmp_path: Path) -> None:
    with private_mongo(tmp_path) as server:
        with pymongo.MongoClient[dict[str, Any]](server.uri) as client:
            client.shop.things.insert_many(things(20))
            role = {"role": "readWrite", "db": "shop"}
            client.admin.command("createUser", "mover", pwd=PASSWORDS[0], roles=[role])
        server.stop()
        server.start("--auth")
        route.environment["SOURCE_URI"] = server.uri.replace("//", f"//mover:{PASSWORDS[0]}@")
        user, _, rest = route.target_uri.partition("@")
        route.environment["TARGET_URI"] = f"{user}:{PASSWORDS[1]}@{rest}"
        plan = route.plan(THINGS, source={"database": "shop"}, approval=[])
        assert yaml.safe_load(plan.read_text())["source"]["mongodb"] == "${env:SOURCE_URI}"
        code, _ = route.tranship("run", plan)
        assert code == FINISHED
        route.tranship("status", plan, "--json")
        server.stop()
        code, said = route.tranship("check", plan)
        assert (code, "no suitable MongoDB server" in said) == (REFUSED, True), said
    said = "".join(child.output for child in route.children) + "".join(_kept(route))
    assert "small-1" in said
    assert [secret for secret in PASSWORDS if secret in said] == []


def _kept(route: Route) -> Iterator[str]:
    """Everything in the state schema, as text."""
    with psycopg.connect(route.target_uri) as connection:
        tables = connection.execute("select tablename from pg_tables where schemaname = %s", (STATE,)).fetchall()
        for (table,) in tables:
            rows = connection.execute(sql.SQL("select t::text from {} t").format(sql.Identifier(STATE, table)))
            yield from (row[0] for row in rows)


def test_a_rollback_that_another_process_carries_out_is_waited_for(route: Route) -> None:
    route.documents().insert_many(things(20))
    plan = route.plan(THINGS)
    run = route.run_to_approval(plan)
    code, said = route.tranship("rollback", plan, "--wait")
    assert (code, "was rolled back" in said) == (FINISHED, True), said
    assert route.status(plan).status == RunStatus.ROLLED_BACK, "it has ended when the command does"
    assert run.wait() == ROLLED_BACK, run.output


def test_a_retry_that_another_process_carries_out_is_waited_for(route: Route) -> None:
    route.documents().insert_many(things(20))
    plan = route.plan(THINGS)
    route.run_to_approval(plan)
    code, said = route.tranship("quarantine", "retry", plan, "--wait")
    assert (code, said.rstrip().endswith("it is answered")) == (FINISHED, True), said
    with route.session(plan) as session:
        assert session.control.requests(route.status(plan).run) == []
