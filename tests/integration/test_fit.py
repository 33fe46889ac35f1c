"""Fit: a plan with a typo, a wrong type or another order of fields loses nothing, is said, and is not switched over."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from bson import Int64

from tests.integration.route import Route, things, wait_until
from tranship.orchestrator.reports.fit import StreamFit
from tranship.plans.strategies import Group

FINISHED, DIFFERS, PAUSED, KILLED = 0, 1, 7, -9
STRICT = {"misfit": "1%"}

Counts = Counter[tuple[str, str]]


def stream(**columns: Any) -> dict[str, Any]:
    """`{_id: "a", name: "…", number: 1}` with other columns."""
    declared = {"name": "text", "number": {"type": "int64", "bson": "int32"}}
    return {"things": {"key": {"_id": "text"}, "columns": declared | columns}}


def fit(route: Route, plan: Path) -> StreamFit:
    (found,) = route.status(plan).streams
    return found.fit


def kept(route: Route, plan: Path) -> Counts:
    """What `status --json` counts, by place and reason."""
    code, said = route.tranship("status", plan, "--json")
    assert code == FINISHED, said
    (found,) = json.loads(said)["streams"]
    return Counter({(one["place"], one["reason"]): one["count"] for one in found["fit"]["kept"]})


def test_a_misspelt_field_is_not_switched_over(route: Route) -> None:
    """As with the plan of a person who then finds NULL in every row; the file may be mended without a new run."""
    route.documents().insert_many(things(40))
    streams = stream(nmae="text")
    plan = route.plan(streams)
    run = route.run_to_approval(plan)
    refusal = "column things.nmae is NULL in all 40 rows: no document has filled it from nmae"
    code, said = route.tranship("approve", plan)
    assert (code, refusal in said) == (DIFFERS, True), said
    code, said = route.tranship("status", plan)
    assert ("filled by no document" in said, refusal in " ".join(said.split())) == (True, True), said
    assert route.tranship("pause", plan)[0] == FINISHED
    assert run.wait() == PAUSED

    streams["things"]["columns"]["nmae"] = {"type": "text", "filled": "optional"}
    run = route.run_to_approval(route.plan(streams))
    assert route.tranship("approve", plan)[0] == FINISHED
    assert run.wait() == FINISHED, run.output


def test_without_an_approval_the_cutover_refuses(route: Route) -> None:
    """Every number is of another type than planned: all of them are NULL, though as many rows as documents came."""
    route.documents().insert_many([{"_id": f"t{n}", "name": "n", "number": str(n)} for n in range(40)])
    plan = route.plan(stream(), approval=[], limits=STRICT)
    code, said = route.tranship("run", plan)
    assert code == PAUSED, said
    assert "column things.number is NULL in all 40 rows: of the documents 40 have type string" in said
    assert not route.status(plan).switched


def test_a_share_of_misfits_is_refused_and_can_be_allowed(route: Route) -> None:
    documents = things(100)
    for document in documents[:2]:
        document["number"] = "two"
    route.documents().insert_many(documents)
    plan = route.plan(stream(), approval=[], limits=STRICT)
    code, said = route.tranship("run", plan)
    assert (code, "2 of 100 values at number are NULL" in said) == (PAUSED, True), said
    route.plan(stream(), approval=[], limits={"misfit": "2%"})
    code, said = route.tranship("run", plan)
    assert code == FINISHED, said
    assert "NULL because it does not fit: 2 number (type string)" in said, "said again at the end"


def test_another_order_of_fields_is_told_with_the_line_to_write(route: Route) -> None:
    route.documents().insert_many([{"_id": f"t{n}", "number": n, "name": "n"} for n in range(40)])
    plan = route.plan(stream())
    route.run_to_approval(plan)
    assert fit(route, plan).order == ("_id", "number", "name")
    said = route.tranship("status", plan)[1]
    assert "order: [_id, number, name]" in " ".join(said.split()), said
    assert kept(route, plan) == {("name", "order"): 40}


def test_names_of_the_data_are_shown_on_request_only(route: Route) -> None:
    route.documents().insert_many([{**thing, "by": 1, "a@example.com": 2} for thing in things(20)])
    plan = route.plan(stream())
    run = route.run_to_approval(plan)
    for arguments in (("status", plan), ("status", plan, "--json")):
        assert "example.com" not in route.tranship(*arguments)[1]
    assert "example.com" not in run.output
    assert not [row for row in route.query("select * from tranship.fit") if "example.com" in str(row)]
    code, said = route.tranship("status", plan, "--names")
    assert (code, "a@example.com: 20" in said, "by: 20" in said) == (FINISHED, True, True), said
    found = json.loads(route.tranship("status", plan, "--names", "--json")[1])
    assert found == [{"stream": "things", "rows": 20, "names": {"by": 20, "a@example.com": 20}}]


# --- counts against a recount -----------------------------------------------------------------------------------------


def recount(route: Route) -> Counts:
    """By hand, of the source's documents as the driver decodes them; those in quarantine have no row."""
    counts = Counts()
    for document in route.documents().find():
        if not isinstance(document["_id"], str):
            continue
        name, number = document.get("name"), document.get("number")
        if name is None and "name" in document:
            counts["name", "null"] += 1
        if isinstance(name, int):
            counts["name", "type int32"] += 1
        if isinstance(number, Int64):
            counts["number", "representation"] += 1
        if isinstance(number, str):
            counts["number", "type string"] += 1
        counts["", "unmapped"] += len(document.keys() - {"_id", "name", "number"})
    return +counts


def odd(n: int) -> dict[str, Any]:
    """One of several documents, most of which fit in some other way."""
    forms: list[dict[str, Any]] = [
        {"name": "n", "number": 1},
        {"name": 5, "number": 1},
        {"name": None, "number": Int64(n)},
        {"name": "n", "number": "one"},
        {"name": "n", "number": 1, "more": n, "and": "more"},
        {},
    ]
    return forms[n % len(forms)]


def test_counts_are_those_of_a_recount(route: Route) -> None:
    """After kills in the backfill, changes, a row that others changed, a repair and a reseed."""
    source = route.documents()
    source.insert_many([{"_id": f"{n:05}", **odd(n), "filler": "x" * 500} for n in range(900)])
    source.insert_many([{"_id": n, "name": "a number as its key"} for n in range(3)])
    plan = route.plan(stream(), cutover={"max_quarantined": 3})
    for site in ("load.before_commit@2=kill", "load.after_commit@3=kill"):
        killed = route.start("run", plan, TRANSHIP_FAILPOINT=site)
        assert killed.wait() == KILLED, killed.output
    run = route.run_to_approval(plan)
    assert kept(route, plan) == recount(route)

    for n in range(0, 900, 7):
        source.replace_one({"_id": f"{n:05}"}, odd(n + 1))
    source.delete_many({"_id": {"$gt": "00850"}})
    source.insert_many([{"_id": f"new {n}", **odd(n)} for n in range(60)])
    _applied(route, plan)
    assert kept(route, plan) == recount(route)

    route.tamper("update moved.things set name = 'changed by hand' where _id = '00018'")
    assert route.tranship("reconcile", plan)[0] == DIFFERS
    assert route.tranship("repair", plan)[0] == FINISHED
    route.await_status(plan, lambda status: not status.divergences, run)
    assert kept(route, plan) == recount(route)

    assert route.tranship("pause", plan)[0] == FINISHED
    assert run.wait() == PAUSED
    source.update_many({"_id": {"$lt": "00100"}}, {"$set": {"number": "none"}})
    source.delete_many({"_id": {"$gt": "00800", "$lt": "00820"}})
    again = route.start("reseed", plan)
    route.await_status(plan, lambda status: status.waiting_for_approval == Group.CUTOVER, again)
    _applied(route, plan)
    assert kept(route, plan) == recount(route)
    code, said = route.tranship("reconcile", plan)
    assert code == FINISHED, said
    names = {(one.table, one.column): (one.values, one.rows) for one in fit(route, plan).filled}
    rows = source.count_documents({"_id": {"$type": "string"}})
    texts = source.count_documents({"_id": {"$type": "string"}, "name": {"$type": "string"}})
    assert names["things", "name"] == (texts, rows), "recounted by a comparison of everything"
    assert fit(route, plan).filled_at is not None


def _applied(route: Route, plan: Path) -> None:
    """Wait until all that was written is on the target: by the rows themselves."""
    source = route.documents()

    def equal() -> bool:
        rows = {row[0]: row[1] for row in route.rows("things", "_id", "number")}
        there = {d["_id"]: d.get("number") for d in source.find({"_id": {"$type": "string"}})}
        wanted = {key: number if isinstance(number, int) else None for key, number in there.items()}
        return rows == wanted and not route.status(plan).dirty_keys

    wait_until(equal, None, "the changes to be applied")
