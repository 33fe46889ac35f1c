"""Documents that fit the plan and that PostgreSQL cannot hold: neither a chunk nor a lane stops at them."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from tests.integration.route import SCHEMA, Route, wait_until

FINISHED, DIVERGED, ROLLED_BACK = 0, 1, 4

WIDTH = 1_100
"""So many columns of eight bytes do not fit into a page of 8 KiB."""


def _document(key: str, fields: int) -> dict[str, Any]:
    return {"_id": key, **{f"c{number}": 1.5 for number in range(fields)}}


def _plan(route: Route, **parts: Any) -> Path:
    streams = {
        "wide": {
            "key": {"_id": "text"},
            "columns": {f"c{number}": {"type": "float64", "filled": "optional"} for number in range(WIDTH)},
            **parts.pop("stream", {}),
        }
    }
    return route.plan(streams, **parts)


def _quarantined(route: Route, plan: Path) -> int:
    return sum(stream.quarantined for stream in route.status(plan).streams)


def test_rows_too_wide_for_a_page_are_kept_aside_in_copy_and_changes(route: Route) -> None:
    wide = route.documents("wide")
    wide.insert_many(_document(f"d{number:02}", WIDTH if number in (3, 7) else 5) for number in range(20))
    plan = _plan(route, cutover={"max_quarantined": 10})
    child = route.run_to_approval(plan)
    assert _quarantined(route, plan) == 2
    code, said = route.tranship("quarantine", "list", plan)
    assert (code, said.count("row is too big"), "d03" in said, "d07" in said) == (0, 2, True, True), said
    wide.replace_one({"_id": "d03"}, _document("d03", 6))
    wide.replace_one({"_id": "d09"}, _document("d09", WIDTH))
    wide.insert_one(_document("new", WIDTH))
    wide.update_many({"_id": {"$lt": "d02"}}, {"$set": {"c0": 9.0}})
    wait_until(lambda: _quarantined(route, plan) == 3, child, "three to be kept aside")
    wait_until(lambda: len(route.rows("wide", "_id")) == 18, child, "eighteen rows")
    wait_until(lambda: route.query(f"select count(*) from {SCHEMA}.wide where c0 = 9") == [(2,)], child, "the others")
    code, said = route.tranship("reconcile", plan)
    assert code == FINISHED, said
    wide.update_one({"_id": "new"}, {"$set": {"c1": 2.5}})  # as wide as before, with another value
    wait_until(lambda: route.tranship("reconcile", plan)[0] == FINISHED, child, "the entry to be as the document")
    assert route.tranship("approve", plan)[0] == FINISHED
    assert child.wait() == FINISHED, child.output


def test_an_entry_of_another_document_is_a_divergence(route: Route) -> None:
    route.documents("wide").insert_many([_document("a", WIDTH), _document("b", 5)])
    plan = _plan(route, cutover={"max_quarantined": 10})
    child = route.run_to_approval(plan)
    route.query("update tranship.quarantine set document = document || 'x'::bytea")
    code, said = route.tranship("reconcile", plan)
    assert (code, "quarantine" in said) == (DIVERGED, True), said
    child.kill()


def test_a_rule_that_somebody_set_on_the_table_keeps_aside_what_it_forbids(route: Route) -> None:
    wide = route.documents("wide")
    wide.insert_many(_document(f"d{number:02}", 5) for number in range(5))
    plan = _plan(route, cutover={"max_quarantined": 10})
    child = route.run_to_approval(plan)
    route.query(f"alter table {SCHEMA}.wide add constraint positive check (c1 > 0)")
    wide.update_many({}, {"$set": {"c0": 7.0}})
    wide.update_one({"_id": "d02"}, {"$set": {"c1": -1.0}})
    wait_until(lambda: _quarantined(route, plan) == 1, child, "one to be kept aside")
    wait_until(lambda: route.query(f"select count(*) from {SCHEMA}.wide where c0 = 7") == [(4,)], child, "the others")
    assert "positive" in route.tranship("quarantine", "list", plan)[1]
    child.kill()


def test_by_policy_a_run_fails_at_such_a_document_and_names_it(route: Route) -> None:
    route.documents("wide").insert_many([_document("a", 5), _document("b", WIDTH)])
    plan = _plan(route, stream={"rest": "fail"})
    child = route.start("run", plan)
    assert child.wait() == ROLLED_BACK, child.output
    (named,) = route.status(plan).divergences
    assert (named["key"], named["kind"]) == ({"_id": "b"}, "unfit")


def test_values_too_long_for_an_index_stop_neither_the_copy_nor_the_changes(route: Route) -> None:
    """Random text, because an index holds longer values that compress well."""
    long = [secrets.token_hex(4_000) for _ in range(3)]
    notes = route.documents("notes")
    notes.insert_many([{"_id": "a", "text": long[0], "code": "x"}, {"_id": "b", "text": "short", "code": long[1]}])
    streams = {
        "notes": {
            "key": {"_id": "text"},
            "columns": {"text": "text", "code": {"type": "text", "unique": True}},
            "indexes": [{"columns": ["text"]}],
        }
    }
    plan = route.plan(streams)
    child = route.run_to_approval(plan)
    notes.insert_one({"_id": "c", "text": long[2], "code": long[2]})
    notes.update_one({"_id": "a"}, {"$set": {"code": "y"}})
    wanted = {("a", None, "y"), ("b", "short", None), ("c", None, None)}
    wait_until(lambda: set(route.rows("notes", "_id", "text", "code")) == wanted, child, "the changes to be applied")
    assert route.rebuilt(plan)["notes"] == route.raw("notes")
    assert route.tranship("approve", plan)[0] == FINISHED
    assert child.wait() == FINISHED, child.output
