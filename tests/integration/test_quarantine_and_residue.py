"""Documents that do not fit are kept beside the row, kept aside or refused, by the plan; never dropped or changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bson
import pytest
from bson import Int64, ObjectId
from bson.raw_bson import RawBSONDocument

from tests.integration.direct import FOLLOWING, direct
from tests.integration.route import SCHEMA, STATE, Route, wait_until
from tranship.connectors.errors import UnmappableError
from tranship.connectors.mongodb.mapper import Mapper
from tranship.connectors.protocols import Feed, Scope, Span
from tranship.orchestrator.engine.outcomes import Outcome, classify
from tranship.orchestrator.journal.records import Kind
from tranship.orchestrator.journal.state import PhaseStatus
from tranship.plans.strategies import Group, PhaseName

FINISHED, ROLLED_BACK, PAUSED = 0, 4, 7


def stream(rest: str) -> dict[str, Any]:
    """`{_id: "a", name: "…", number: 1}`, and what becomes of everything else."""
    columns = {"name": "text", "number": {"type": "int64", "bson": "int32"}}
    return {"things": {"key": {"_id": "text"}, "columns": columns, "rest": rest}}


GOOD: list[dict[str, Any]] = [{"_id": f"good {n}", "name": f"name {n}", "number": n} for n in range(20)]

ODD: list[dict[str, Any]] = [
    {"_id": "an unnamed field", "name": "n", "number": 1, "more": [1, {"x": None}]},
    {"_id": "another type", "name": 5, "number": 1},
    {"_id": "a wider type", "name": "n", "number": Int64(2)},
    {"_id": "null", "name": None, "number": 1},
    {"_id": "other order", "number": 1, "name": "n"},
    {"_id": "U+0000", "name": "a\0b", "number": 1},
]
"""Each differs from what the plan expects in one way."""

WRONG_KEY: list[dict[str, Any]] = [{"_id": 7, "name": "a number"}, {"_id": ObjectId(b"k" * 12), "name": "an ObjectId"}]


def quarantined(route: Route) -> list[tuple[str, bytes]]:
    """(path, document) of what is kept aside."""
    return route.query(f"select path, document from {STATE}.quarantine order by document")


def raw(route: Route) -> list[bytes]:
    """All documents of the source as they are."""
    options = bson.CodecOptions(document_class=RawBSONDocument)
    documents = route.documents().with_options(codec_options=options).find()
    return sorted(bytes(document.raw) for document in documents)


def test_residue_keeps_every_document_exactly(route: Route) -> None:
    route.documents().insert_many(GOOD + ODD + WRONG_KEY)
    plan = route.plan(stream("residue"), approval=[], cutover={"max_quarantined": 2})
    run = route.start("run", plan)
    assert run.wait() == FINISHED, run.output
    assert route.query(f"select _id from {SCHEMA}.things where _residue is not null order by _id") == sorted(
        (document["_id"],) for document in ODD
    )
    expected = [
        ("U+0000", None, 1),
        ("a wider type", "n", 2),
        ("an unnamed field", "n", 1),
        ("another type", None, 1),
        ("null", None, 1),
        ("other order", "n", 1),
    ]
    values = f'select _id, name, number from {SCHEMA}.things where _residue is not null order by _id collate "C"'
    assert route.query(values) == expected
    kept_aside = [document for _, document in quarantined(route)]
    assert sorted(kept_aside) == sorted(bson.encode(document) for document in WRONG_KEY)
    assert sorted(_rebuilt(route, plan) + kept_aside) == raw(route), "the source is the target and what is kept aside"


def _rebuilt(route: Route, plan: Path) -> list[bytes]:
    """The documents that the target's rows stand for."""
    with route.session(plan) as session:
        [moved] = session.streams
        name = session.latest() or ""
        state = session.state(name)
        target = session.connect.target(Scope(name, Feed.FORWARD, state.epoch))
        try:
            batches = list(target.read(moved, Span(None, None)))
        finally:
            target.close()
        return [document for batch in batches for document in Mapper(moved).documents(batch.rows)]


def test_quarantine_keeps_aside_and_the_cutover_counts(route: Route) -> None:
    route.documents().insert_many(GOOD + ODD + WRONG_KEY)
    aside = len(ODD) + len(WRONG_KEY)
    plan = route.plan(stream("quarantine"))
    run = route.run_to_approval(plan)
    assert [s.quarantined for s in route.status(plan).streams] == [aside]
    assert sorted(document for _, document in quarantined(route)) == sorted(map(bson.encode, ODD + WRONG_KEY))
    assert len(route.rows("things", "_id")) == len(GOOD)
    assert route.query(f"select count(*) from {SCHEMA}.things where _residue is not null") == [(0,)]

    things = route.documents()
    things.update_one({"_id": "good 1"}, {"$set": {"name": 1}})  # a good one turns bad: its row goes
    things.replace_one({"_id": "null"}, {"name": "now a text", "number": 3})  # a bad one turns good: its row comes
    things.delete_one({"_id": "another type"})
    things.replace_one({"_id": "other order"}, {"name": 1.5})  # a bad one turns bad in another way
    wait_until(lambda: len(quarantined(route)) == aside - 1, run, "quarantine to follow")
    wait_until(lambda: ("null", "now a text", 3) in route.rows("things", "_id", "name", "number"), run, "the row")
    assert "good 1" not in {row[0] for row in route.rows("things", "_id")}

    route.tranship("approve", plan)
    withdrawn = lambda: Kind.APPROVAL_WITHDRAWN in _kinds(route, plan)  # noqa: E731
    wait_until(withdrawn, run, "the cutover to be refused")
    reason = route.status(plan).reason
    assert f"{aside - 1} documents are in quarantine and cutover.max_quarantined allows 0" in reason

    things.delete_many({"_id": {"$in": [document["_id"] for document in ODD + WRONG_KEY]}})
    things.update_one({"_id": "good 1"}, {"$set": {"name": "good again"}})
    wait_until(lambda: quarantined(route) == [], run, "quarantine to be empty")
    route.await_status(plan, lambda status: status.waiting_for_approval == Group.CUTOVER, run)
    route.tranship("approve", plan)
    assert run.wait() == FINISHED, run.output
    assert len(route.rows("things", "_id")) == things.count_documents({})


def _kinds(route: Route, plan: Path) -> list[Kind]:
    with route.session(plan) as session:
        return [entry.record.kind for entry in session.control.journal(session.latest() or "")]


@pytest.mark.parametrize(("policy", "code"), [("rollback", ROLLED_BACK), ("pause", PAUSED)])
def test_fail_stops_as_the_plan_says(route: Route, policy: str, code: int) -> None:
    route.documents().insert_many(GOOD + ODD)
    before = route.target()
    plan = route.plan(stream("fail"), rollback={"on_failure": policy})
    run = route.start("run", plan)
    assert run.wait() == code, run.output
    assert "a document does not fit the plan at" in run.output
    status = route.status(plan)
    if policy == "rollback":
        assert route.target() == before
    else:
        assert status.phases["backfill"] == PhaseStatus.DOING
        assert route.rows("things", "_id") == [], "the chunk is loaded whole or not at all"


def test_a_document_that_fails_later_stops_the_applier(route: Route) -> None:
    route.documents().insert_many(GOOD)
    with direct(route, route.plan(stream("fail"))) as work:
        for name in (PhaseName.PREFLIGHT, PhaseName.EXPAND, PhaseName.CAPTURE, PhaseName.BACKFILL):
            work.done(name)
        route.documents().insert_one(ODD[1])
        work.supervisor.ensure(FOLLOWING)
        failure = classify(work.failure())
    assert (type(failure.error), failure.outcome) == (UnmappableError, Outcome.POLICY)
    assert "a document does not fit the plan at name" in failure.reason
    assert len(route.rows("things", "_id")) == len(GOOD)
