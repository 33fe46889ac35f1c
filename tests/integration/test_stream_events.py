"""What a change stream can bring besides writes: each stops the run with its name, or does no harm; lost history."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pymongo
import pytest
from pymongo.database import Database

from tests.integration.direct import Direct, direct
from tests.integration.private import PrivateMongo, private_mongo
from tests.integration.route import THINGS, Route, things, wait_until
from tranship.connectors.errors import PositionLostError, SourceChangedError
from tranship.orchestrator.engine.outcomes import Outcome, classify
from tranship.orchestrator.journal.state import ServiceName
from tranship.plans.strategies import PhaseName

FINISHED, ROLLED_BACK, HELD, PAUSED = 0, 4, 5, 7

Source = Database[dict[str, Any]]
Deed = Callable[[Source], object]


def test_case_24_a_dropped_collection_holds_the_run_until_somebody_decides(route: Route) -> None:
    before = route.target()
    route.documents().insert_many(things(30))
    plan = route.plan(THINGS)
    run = route.run_to_approval(plan)
    copied = route.target()
    route.documents().drop()
    assert run.wait() == HELD, run.output
    status = route.status(plan)
    assert status.status == "held"
    assert "event drop of things" in status.reason
    assert route.target() == copied, "nothing is emptied because the source is"
    code, said = route.tranship("run", plan)
    assert (code, "event drop of things" in said) == (HELD, True), said
    code, said = route.tranship("rollback", plan)
    assert code == 0, said
    assert route.target() == before


# --- one event at a time, without a whole run ---------------------------------------------------------------------


@pytest.fixture
def work(route: Route) -> Iterator[Direct]:
    """Capture is at work on collection `things`; `others` is not migrated."""
    route.documents().insert_many(things(3))
    route.documents("others").insert_many(things(3))
    with direct(route, route.plan(THINGS)) as made:
        _capture(made)
        yield made


def _capture(work: Direct) -> None:
    for name in (PhaseName.PREFLIGHT, PhaseName.EXPAND, PhaseName.CAPTURE):
        work.done(name)


def write_out(source: Source) -> object:
    return list(source.others.aggregate([{"$out": "things"}]))


# A server may report what takes a collection's place as one rename or as a drop before it; both stop the run.
IMAGES = {"changeStreamPreAndPostImages": {"enabled": True}}

STOPS: dict[str, tuple[Deed, str]] = {
    "drop": (lambda source: source.things.drop(), "event drop of things"),
    "rename": (lambda source: source.things.rename("elsewhere"), "event rename of things and elsewhere"),
    "rename over": (
        lambda source: source.others.rename("things", dropTarget=True),
        "event (rename of others and|drop of) things",
    ),
    "$out": (write_out, "event (rename of .* and|drop of) things"),
    "collMod": (lambda source: source.command("collMod", "things", **IMAGES), "event modify of things"),
    "drop of the database": (lambda source: source.client.drop_database(source.name), "event drop of things"),
}


@pytest.mark.parametrize("name", list(STOPS))
def test_case_24_more_than_writes_stops_the_run(route: Route, work: Direct, name: str) -> None:
    deed, named = STOPS[name]
    deed(route.client[route.source.name])
    found = classify(work.failure())
    assert (type(found.error), found.outcome) == (SourceChangedError, Outcome.HOLD)
    assert re.search(named, found.reason), found.reason


HARMLESS: dict[str, Deed] = {
    "an index": lambda source: source.things.create_index("number"),
    "an index dropped": lambda source: source.things.drop_index("number_1"),
    "a new collection": lambda source: source.create_collection("new"),
    "another collection renamed": lambda source: source.others.rename("elsewhere"),
    "another collection dropped": lambda source: source.elsewhere.drop(),
    "a marker": lambda source: source.tranship_markers.insert_one({}),
    "the markers dropped": lambda source: source.tranship_markers.drop(),
}


def test_what_changes_no_migrated_document_does_not(route: Route, work: Direct) -> None:
    for deed in HARMLESS.values():
        deed(route.client[route.source.name])
    route.documents().update_one({"_id": "t00001"}, {"$set": {"name": "afterwards"}})
    work.run.source.put_marker("after all of it")
    work.run.wait(lambda: work.run.progress.marker_seen(work.run.scope, "after all of it"), 30, "the marker")
    assert work.run.progress.backlog(work.run.scope).dirty == 1


def test_merge_is_writes(route: Route, work: Direct) -> None:
    route.documents("others").insert_one({"_id": "merged"})
    list(route.documents("others").aggregate([{"$merge": "things"}]))
    work.run.wait(lambda: work.run.progress.backlog(work.run.scope).dirty >= 1, 30, "the merged documents")


def test_an_idle_source_advances_its_position(work: Direct) -> None:
    before = work.run.position()
    # A server that has nothing to say moves its clock every ten seconds.
    work.run.wait(lambda: work.run.position() != before, 30, "the position to advance")
    assert work.run.progress.backlog(work.run.scope).lag_s < 5


# --- a history that is too short ----------------------------------------------------------------------------------

HISTORY = 500
"""Entries that the server below remembers."""


@pytest.fixture
def forgetful(route: Route, tmp_path: Path) -> Iterator[PrivateMongo]:
    """A source that forgets quickly."""
    with private_mongo(tmp_path, "--oplog-max-entries", str(HISTORY)) as server:
        with pymongo.MongoClient[dict[str, Any]](server.uri) as client:
            client.shop.things.insert_many(things(50))
        route.environment["SOURCE_URI"] = server.uri
        yield server


def roll_over(server: PrivateMongo, database: str = "elsewhere") -> None:
    """Write more than the server remembers."""
    with pymongo.MongoClient[dict[str, Any]](server.uri) as client:
        for part in range(8):
            client[database].noise.insert_many({"part": part, "n": n} for n in range(HISTORY))


def test_lost_history_holds_the_run_and_reseed_makes_it_equal(route: Route, forgetful: PrivateMongo) -> None:
    plan = route.plan(THINGS, source={"database": "shop"})
    run = route.run_to_approval(plan)
    route.tranship("pause", plan)
    assert run.wait() == PAUSED, run.output
    with pymongo.MongoClient[dict[str, Any]](forgetful.uri) as client:
        shop = client.shop.things
        shop.update_one({"_id": "t00001"}, {"$set": {"name": "in the gap"}})
        shop.delete_one({"_id": "t00002"})
        shop.insert_one({"_id": "t00002b", "name": "new in the gap", "number": 0})
        roll_over(forgetful)
        code, said = route.tranship("run", plan)
        assert code == HELD, said
        assert "history no longer reaches back" in said
        assert "tranship reseed" in said
        assert ("t00001", "name 1", 1) in route.rows("things", "_id", "name", "number"), "nothing starts from now"

        again = route.start("reseed", plan)
        expected = [(d["_id"], d["name"], d["number"]) for d in shop.find().sort("_id")]
        wait_until(lambda: route.rows("things", "_id", "name", "number") == expected, again, "reseed to apply the gap")
        shop.update_one({"_id": "t00003"}, {"$set": {"name": "after the gap"}})
        after = ("t00003", "after the gap", 3)
        wait_until(lambda: after in route.rows("things", "_id", "name", "number"), again, "the run to follow again")
        route.tranship("approve", plan)
        assert again.wait() == FINISHED, again.output


def test_after_a_change_of_rules_reseed_goes_on(route: Route) -> None:
    route.documents().insert_many(things(50))
    plan = route.plan(THINGS)
    run = route.run_to_approval(plan)
    source = route.client[route.source.name]
    source.command("collMod", "things", validator={"number": {"$exists": True}})  # changes no document: it goes on
    route.documents().update_one({"_id": "t00002"}, {"$set": {"name": "valid"}})
    wait_until(lambda: ("t00002", "valid", 2) in route.rows("things", "_id", "name", "number"), run, "it to be applied")
    source.command("collMod", "things", **IMAGES)
    assert run.wait() == HELD, run.output
    assert "event modify of things" in run.output
    assert "tranship reseed" in run.output
    route.documents().update_one({"_id": "t00001"}, {"$set": {"name": "after the change"}})
    again = route.start("reseed", plan)
    after = ("t00001", "after the change", 1)
    wait_until(lambda: after in route.rows("things", "_id", "name", "number"), again, "the run to follow again")
    route.tranship("approve", plan)
    assert again.wait() == FINISHED, again.output


def test_an_idle_source_is_not_overtaken_by_the_writes_of_others(route: Route, forgetful: PrivateMongo) -> None:
    with direct(route, route.plan(THINGS, source={"database": "shop"})) as work:
        _capture(work)
        for _ in range(3):
            roll_over(forgetful)
            before = work.run.position()
            work.run.wait(lambda before=before: work.run.position() != before, 30, "the position")  # type: ignore[misc]
        work.supervisor.ensure(frozenset())
        work.supervisor.ensure(frozenset({ServiceName.CAPTURE}))
        position = work.run.position()
        work.run.wait(lambda: work.run.position() != position, 30, "capture to go on from its durable position")


def test_lost_history_is_an_error_of_its_own(route: Route, forgetful: PrivateMongo) -> None:
    with direct(route, route.plan(THINGS, source={"database": "shop"})) as work:
        _capture(work)
        work.supervisor.ensure(frozenset())
        roll_over(forgetful)
        work.supervisor.ensure(frozenset({ServiceName.CAPTURE}))
        found = classify(work.failure())
        assert (type(found.error), found.outcome) == (PositionLostError, Outcome.HOLD)
        assert "tranship reseed" in found.reason
