"""`tranship quarantine`, and a `rest` that becomes more lenient: what is kept aside is seen, saved and brought in."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import bson
import pytest

from tests.integration.route import SCHEMA, STATE, Child, Route, wait_until
from tests.integration.test_quarantine_and_residue import GOOD, ODD, raw, stream
from tranship.connectors.keys import from_typed
from tranship.connectors.protocols import NAMELESS
from tranship.orchestrator.journal.records import Kind
from tranship.plans.strategies import Group
from tranship.plans.streams import LogicalType

FINISHED, BAD, REFUSED, ROLLED_BACK, PAUSED = 0, 2, 3, 4, 7


def records(route: Route, plan: Path, kind: Kind) -> list[Mapping[str, Any]]:
    with route.session(plan) as session:
        entries = session.control.journal(session.latest() or "")
    return [entry.record.data for entry in entries if entry.record.kind is kind]


def aside(route: Route) -> int:
    return int(route.query(f"select count(*) from {STATE}.quarantine")[0][0])


def listed(route: Route, plan: Path, *options: str) -> list[dict[str, Any]]:
    code, said = route.tranship("quarantine", "list", plan, "--json", *options)
    assert code == 0, said
    return [json.loads(line) for line in said.splitlines()]


def pause(route: Route, plan: Path, run: Child) -> None:
    assert route.tranship("pause", plan)[0] == 0
    assert run.wait() == PAUSED, run.output


def approve(route: Route, plan: Path, run: Child) -> None:
    route.await_status(plan, lambda status: status.waiting_for_approval == Group.CUTOVER, run)
    assert route.tranship("approve", plan)[0] == 0
    assert run.wait() == FINISHED, run.output


def test_a_plan_fix_brings_quarantine_in(route: Route) -> None:
    route.documents().insert_many(GOOD + ODD)
    plan = route.plan(stream("quarantine"))
    run = route.run_to_approval(plan)
    code, said = route.tranship("status", plan)
    assert (code, "26 documents = 20 rows + 6 quarantined" in " ".join(said.split())) == (0, True), said
    _list_show_export(route, plan)

    route.tranship("approve", plan)
    wait_until(lambda: bool(records(route, plan, Kind.APPROVAL_WITHDRAWN)), run, "the cutover to be refused")
    assert "`tranship quarantine list PLAN` names them" in route.status(plan).reason
    pause(route, plan, run)

    code, said = route.tranship("run", route.plan(stream("fail")))
    assert (code, "`rest` may become more lenient" in said) == (REFUSED, True), said
    route.plan(stream("residue"))
    code, said = route.tranship("reconcile", plan)
    assert (code, "a plan of another meaning" in said) == (REFUSED, True), said
    assert aside(route) == len(ODD), "only `run` takes a plan on"

    run = route.start("run", plan)
    wait_until(lambda: aside(route) == 0, run, "quarantine to move in")
    [amended] = records(route, plan, Kind.AMENDED)
    assert amended["changed"] == ["streams.things.rest: removed"]
    assert route.tranship("reconcile", plan)[0] == 0
    approve(route, plan, run)
    assert "things: 26 documents = 26 rows + 0 quarantined; 0 in quarantine now" in run.output, "the newest comparison"
    with_residue = f"select _id from {SCHEMA}.things where _residue is not null order by _id"
    assert route.query(with_residue) == sorted((document["_id"],) for document in ODD)
    assert sorted(route.rebuilt(plan)["things"]) == raw(route)


def _list_show_export(route: Route, plan: Path) -> None:
    found = listed(route, plan)
    assert [one["key"] for one in found] == [{"_id": key} for key in sorted(document["_id"] for document in ODD)]
    assert {one["name"]: one["bytes"] for one in found} == {d["_id"]: len(bson.encode(d)) for d in ODD}
    assert listed(route, plan, "--stream", "things") == found
    code, said = route.tranship("quarantine", "list", plan)
    assert (code, "things  another type  name: " in said, "6 in quarantine" in said) == (0, True, True), said
    code, said = route.tranship("quarantine", "list", plan, "--limit", "2")
    assert (said.count("things  "), "and 4 more: --limit 0 prints all" in said, "6 in quarantine" in said) == (
        2,
        True,
        True,
    )

    code, said = route.tranship("quarantine", "show", plan, "things", "U+0000")
    assert code == 0, said
    assert json.loads(said[said.index("{") :]) == {"_id": "U+0000", "name": "a\0b", "number": {"$numberInt": "1"}}
    for arguments in (("things", "good 1"), ("nothing", "x")):
        code, said = route.tranship("quarantine", "show", plan, *arguments)
        assert (code, "nothing in quarantine with the key" in said or "has no stream" in said) == (BAD, True), said

    saved = route.folder / "aside.jsonl"
    assert route.tranship("quarantine", "export", plan, "--to", saved)[0] == 0
    head, *rest = map(json.loads, saved.read_text().splitlines())
    assert head["run"] == "small-1"
    assert sorted(base64.b64decode(one["document"]) for one in rest) == sorted(map(bson.encode, ODD))
    code, said = route.tranship("quarantine", "export", plan, "--to", saved)
    assert (code, "exists already" in said) == (BAD, True), said
    outputs = "".join(child.output for child in route.children if "quarantine" not in child.log.name)
    assert "a\\u0000b" not in outputs, "documents are shown only to who asks for them"


def test_a_retry_by_an_edited_plan_says_who_goes_by_which(route: Route) -> None:
    """The orchestrator at work would read all of it by its own plan, and nothing would come in."""
    route.documents().insert_many(GOOD + ODD)
    plan = route.plan(stream("quarantine"))
    run = route.run_to_approval(plan)
    route.plan(stream("residue"))
    code, said = route.tranship("quarantine", "retry", plan)
    assert (code, "goes by another plan than" in said, "streams.things.rest: removed" in said) == (BAD, True, True), (
        said
    )
    assert f"`tranship pause {plan}`, then `tranship run {plan}`" in said
    assert not records(route, plan, Kind.RETRY)
    pause(route, plan, run)
    run = route.start("quarantine", "retry", plan)
    wait_until(lambda: aside(route) == 0, run, "quarantine to move in by the edited plan")
    approve(route, plan, run)


@pytest.mark.parametrize(("rest", "left"), [("quarantine", len(ODD)), ("residue", 0)])
def test_a_run_that_failed_on_a_document_goes_on_with_a_more_lenient_plan(route: Route, rest: str, left: int) -> None:
    route.documents().insert_many(GOOD + ODD)
    options: dict[str, Any] = {"rollback": {"on_failure": "pause"}, "approval": [], "cutover": {"max_quarantined": 10}}
    plan = route.plan(stream("fail"), **options)
    run = route.start("run", plan)
    assert run.wait() == PAUSED, run.output
    run = route.start("run", route.plan(stream(rest), **options))
    assert run.wait() == FINISHED, run.output
    assert (aside(route), len(route.rows("things", "_id"))) == (left, 26 - left)
    said = f"26 documents = {26 - left} rows + {left} quarantined; {left} in quarantine now"
    assert said in run.output


def keep_aside(route: Route, key: bytes, document: bytes) -> None:
    """Put an entry into quarantine behind tranship's back."""
    route.query(
        f"insert into {STATE}.quarantine (run, feed, stream, digest, key, path, reason, document) "
        "values ('small-1', 'forward', 'things', %s, %s, 'name', 'a reason of old', %s)",
        hashlib.sha256(key).digest(),
        key,
        document,
    )


def take_from_the_rows(route: Route, identity: str) -> None:
    """A document is kept aside that fits, as if it had not when it was read."""
    route.tamper(f"delete from {SCHEMA}.things where _id = %s", identity)
    keep_aside(route, from_typed(LogicalType.TEXT, identity), b"old bytes")


def test_retry_reads_quarantine_anew(route: Route) -> None:
    route.documents().insert_many(GOOD + ODD)
    plan = route.plan(stream("quarantine"), cutover={"max_quarantined": 10})
    code, said = route.tranship("quarantine", "retry", plan)
    assert (code, "has no run on this target yet" in said) == (BAD, True), said
    run = route.run_to_approval(plan)
    take_from_the_rows(route, "good 1")
    nameless = NAMELESS + hashlib.sha256(b"\1").digest()
    keep_aside(route, nameless, bson.encode({"_id": "x", "name": "a"})[:-2])
    code, said = route.tranship("reconcile", plan, "--json")
    kinds = [one["kind"] for one in json.loads(said[said.index("{\n") :])["divergences"]]
    assert (code, kinds) == (1, ["quarantine", "quarantine"]), said

    code, said = route.tranship("quarantine", "retry", plan, "--stream", "things")
    assert (code, "retry was left for the orchestrator" in said) == (0, True), said
    assert "1 without a readable key stay" in said
    wait_until(lambda: ("good 1",) in route.rows("things", "_id"), run, "the document to come in")
    wait_until(lambda: aside(route) == len(ODD) + 1, run, "quarantine to be right")
    [retried] = records(route, plan, Kind.RETRY)
    assert (retried["keys"], retried["nameless"]) == (len(ODD) + 1, 1)
    code, said = route.tranship("quarantine", "show", plan, "things", f"canonical:{nameless.hex()}")
    assert (code, "not well formed BSON" in said, "00000000  " in said) == (0, True, True), said
    route.query(f"delete from {STATE}.quarantine where key = %s", nameless)

    pause(route, plan, run)
    take_from_the_rows(route, "good 2")
    run = route.start("quarantine", "retry", plan)  # nobody is at work, so it carries the run on
    wait_until(lambda: ("good 2",) in route.rows("things", "_id"), run, "the document to come in")
    # The nameless entry was put on record; no look at single keys finds such a one again.
    route.await_status(plan, lambda status: status.waiting_for_approval == Group.CUTOVER, run)
    assert route.tranship("approve", plan)[0] == 1
    assert route.tranship("reconcile", plan)[0] == 0
    approve(route, plan, run)
    code, said = route.tranship("quarantine", "retry", plan)
    assert (code, "after the switch nothing is applied any more" in said) == (BAD, True), said
    assert len(listed(route, plan)) == len(ODD), "what stayed aside can still be seen"
