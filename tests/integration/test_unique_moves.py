"""Unique values that move between documents break a constraint for a moment; values that are held twice break it."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pymongo import UpdateOne

from tests.integration.direct import Direct, direct, phases_before
from tests.integration.route import Route, wait_until
from tranship.connectors.errors import UniqueConflictError
from tranship.connectors.keys import from_typed
from tranship.connectors.postgresql import indexes
from tranship.orchestrator.engine.outcomes import Outcome, classify, named_rows
from tranship.orchestrator.phases import catch_up
from tranship.plans.strategies import PhaseName
from tranship.plans.streams import LogicalType

SEATS: dict[str, Any] = {
    "seats": {"key": {"_id": "text"}, "columns": {"guest": {"type": "text", "unique": True}, "moved": "text"}}
}
COUNT = 24
FINISHED, ROLLED_BACK, PAUSED = 0, 4, 7


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catch_up, "STEADY_S", 0.2)


@pytest.fixture
def plan(route: Route) -> Path:
    route.documents("seats").insert_many({"_id": f"s{n:02}", "guest": f"g{n}"} for n in range(COUNT))
    return route.plan(SEATS, limits={"workers": 3})


@pytest.fixture
def work(route: Route, plan: Path) -> Iterator[Direct]:
    """The constraint is there; three lanes apply."""
    with direct(route, plan) as made:
        for name in (*phases_before(PhaseName.CONSTRAIN), PhaseName.CONSTRAIN):
            made.done(name)
        yield made


def put(route: Route, seat: int, guest: str | None, moved: str = "") -> None:
    change: dict[str, Any] = {"$set": {"moved": moved}}
    change |= {"$unset": {"guest": ""}} if guest is None else {}
    if guest is not None:
        change["$set"]["guest"] = guest
    route.documents("seats").update_one({"_id": f"s{seat:02}"}, change)


def equal(route: Route) -> bool:
    documents = list(route.documents("seats").find().sort("_id"))
    return sorted(route.rows("seats", "_id", "guest"), key=str) == sorted(
        [(d["_id"], d.get("guest")) for d in documents], key=str
    )


def rotate(route: Route, seats: list[int]) -> None:
    """Each guest goes one seat on, the last one to the first; no value is held twice at any moment."""
    guests = [route.documents("seats").find_one({"_id": f"s{seat:02}"})["guest"] for seat in seats]  # type: ignore[index]
    put(route, seats[0], None)
    for place in range(len(seats) - 1, 0, -1):
        put(route, seats[place], f"{guests[place]} steps aside")
        put(route, seats[place], guests[place - 1])
    put(route, seats[0], guests[-1])


def test_a_swap(route: Route, work: Direct) -> None:
    rotate(route, [0, 1])
    work.follow()
    assert equal(route)
    assert ("s00", "g1") in route.rows("seats", "_id", "guest")


def test_a_cycle_over_all(route: Route, work: Direct) -> None:
    rotate(route, list(range(COUNT)))
    work.follow()
    assert equal(route)
    assert ("s00", f"g{COUNT - 1}") in route.rows("seats", "_id", "guest")


def test_a_chain_whose_end_is_free(route: Route, work: Direct) -> None:
    route.documents("seats").delete_one({"_id": f"s{COUNT - 1:02}"})
    for seat in range(COUNT - 2, 0, -1):
        guest = f"g{seat - 1}"
        put(route, seat - 1, None)
        put(route, seat, guest)
    work.follow()
    assert equal(route)


def test_a_value_that_goes_to_a_new_document(route: Route, work: Direct) -> None:
    put(route, 3, None)
    route.documents("seats").insert_one({"_id": "new", "guest": "g3"})
    route.documents("seats").delete_one({"_id": "s04"})
    route.documents("seats").insert_one({"_id": "s04", "guest": "g3 junior"})
    work.follow()
    assert equal(route)


@contextmanager
def musical_chairs(route: Route, seed: int) -> Iterator[None]:
    """Guests change seats all the time, in several threads, each with seats of its own and one common aisle."""
    stop = threading.Event()

    def play(thread: int) -> None:
        rng = random.Random(seed + thread)
        mine = list(range(thread, COUNT, 3))
        while not stop.is_set():
            rotate(route, rng.sample(mine, rng.randint(2, 5)))

    threads = [threading.Thread(target=play, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_moves_under_load_are_followed(route: Route, work: Direct) -> None:
    with musical_chairs(route, seed=3):
        begun = _applied(work)
        work.run.wait(lambda: _applied(work) > begun + 20, 60, "the applier to be busy")
    work.follow()
    assert equal(route)


def _applied(work: Direct) -> int:
    """How many batches all lanes have applied."""
    return sum(mark.seq for mark in work.run.progress.lane_marks(work.run.scope))


def test_the_constraint_is_built_while_values_move(route: Route, plan: Path) -> None:
    with direct(route, plan) as work:
        for name in phases_before(PhaseName.CONSTRAIN):
            work.done(name)
        with musical_chairs(route, seed=5):
            work.done(PhaseName.CONSTRAIN)
        work.follow()
        assert equal(route)


# --- several columns, and a part of the rows --------------------------------------------------------------------------

HALLS: dict[str, Any] = {
    "bookings": {
        "key": {"_id": "text"},
        "columns": {"hall": "text", "seat": "int32", "gone": "bool", "moved": "text"},
        "indexes": [
            {"columns": ["hall", "seat"], "unique": True, "where": {"gone": "absent"}},
            {"columns": ["hall", {"seat": "desc"}]},
            {"columns": ["moved"], "where": {"seat": {"gt": 3}}},
        ],
    }
}


def _reseat(route: Route, rng: random.Random, mine: list[str]) -> None:
    """Give up the seats of some bookings, then take these seats with others; no seat is taken twice at any moment."""
    bookings = route.documents("bookings")
    taken = {
        d["_id"]: (d["hall"], d["seat"]) for d in bookings.find({"_id": {"$in": mine}, "gone": {"$exists": False}})
    }
    leaving = rng.sample(sorted(taken), min(len(taken), rng.randint(1, 4)))
    for key in leaving:
        bookings.update_one({"_id": key}, {"$set": {"gone": True}})
    free = [taken[key] for key in leaving]
    rng.shuffle(free)
    coming = rng.sample(sorted(set(mine) - set(taken)) + leaving, len(free))
    for key, (hall, seat) in zip(coming, free, strict=True):
        bookings.update_one({"_id": key}, {"$set": {"hall": hall, "seat": seat}, "$unset": {"gone": ""}})


def test_seats_of_halls_pass_between_bookings_that_come_and_go(route: Route) -> None:
    """Two columns together, among the rows that meet a condition; under load, before and behind the constraint."""
    documents = [
        {"_id": f"b{n:02}", "hall": "red" if n % 2 else "blue", "seat": n % COUNT // 2} for n in range(2 * COUNT)
    ]
    route.documents("bookings").insert_many(
        [d | ({"gone": True} if n >= COUNT else {}) for n, d in enumerate(documents)]
    )
    with direct(route, route.plan(HALLS, limits={"workers": 3})) as work:
        for name in phases_before(PhaseName.CONSTRAIN):
            work.done(name)
        stop = threading.Event()

        def play(thread: int) -> None:
            rng = random.Random(11 + thread)
            mine = [d["_id"] for n, d in enumerate(documents) if n % 3 == thread]
            while not stop.is_set():
                _reseat(route, rng, mine)

        threads = [threading.Thread(target=play, args=(n,)) for n in range(3)]
        for thread in threads:
            thread.start()
        try:
            work.done(PhaseName.CONSTRAIN)
            begun = _applied(work)
            work.run.wait(lambda: _applied(work) > begun + 20, 60, "the applier to be busy")
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        work.follow()
        rows = set(route.rows("bookings", "_id", "hall", "seat", "gone"))
        assert rows == {(d["_id"], d["hall"], d["seat"], d.get("gone")) for d in route.documents("bookings").find()}

        route.documents("bookings").insert_one({"_id": "late", "hall": "red", "seat": _taken(route)})
        failure = classify(work.failure())
        assert (type(failure.error), failure.outcome) == (UniqueConflictError, Outcome.POLICY)
        (named, *others) = named_rows(failure.error)
        assert (named.columns, len(others)) == (("hall", "seat"), 1)


def _taken(route: Route) -> int:
    found = route.documents("bookings").find_one({"hall": "red", "gone": {"$exists": False}})
    assert found is not None
    return int(found["seat"])


# --- data that is not unique --------------------------------------------------------------------------------------


def test_a_duplicate_that_comes_later_is_a_clear_failure(route: Route, work: Direct) -> None:
    put(route, 1, "g0")
    failure = classify(work.failure())
    assert (type(failure.error), failure.outcome) == (UniqueConflictError, Outcome.POLICY)
    assert "seats__guest__key" in failure.reason
    assert ("s00", "g0") in route.rows("seats", "_id", "guest"), "the row that was there first stays"


def test_a_duplicate_that_was_there_is_left_to_the_plans_policy(
    route: Route, plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexes, "UNIQUE_WAIT_S", 0.5)
    monkeypatch.setattr(indexes, "BUILD_TRIES", 2)
    before = route.target()
    put(route, 1, "g0")
    with direct(route, plan) as work:
        for name in phases_before(PhaseName.CONSTRAIN):
            work.done(name)
        with pytest.raises(UniqueConflictError, match=r"seats \(guest\).* held by several rows") as caught:
            work.do(PhaseName.CONSTRAIN)
        assert classify(caught.value).outcome is Outcome.POLICY
        for name in (PhaseName.CONSTRAIN, *reversed(phases_before(PhaseName.CONSTRAIN))):
            work.undo(name)
    assert route.target() == before


# --- many documents at once -------------------------------------------------------------------------------------------

RANKS: dict[str, Any] = {
    "ranks": {"key": {"_id": "text"}, "columns": {"rank": {"type": "int32", "unique": True}, "name": "text"}}
}


def _shift(route: Route) -> None:
    """Every rank becomes the next one, in two passes: at no moment is one held twice."""
    ranks = route.documents("ranks")
    ranks.update_many({}, {"$inc": {"rank": 1_000_000}})
    ranks.update_many({}, {"$inc": {"rank": -999_999}})


def _shuffle(route: Route, seed: int) -> None:
    ranks = route.documents("ranks")
    keys = [document["_id"] for document in ranks.find({}, {"_id": 1})]
    ranks.update_many({}, {"$inc": {"rank": 1_000_000}})
    order = random.Random(seed).sample(range(len(keys)), len(keys))
    ranks.bulk_write(
        [UpdateOne({"_id": key}, {"$set": {"rank": place}}) for key, place in zip(keys, order, strict=True)]
    )


def _ranks(route: Route) -> tuple[set[tuple[Any, ...]], set[tuple[Any, ...]]]:
    documents = {(one["_id"], one["rank"]) for one in route.documents("ranks").find()}
    return documents, set(route.rows("ranks", "_id", "rank"))


def _filled(route: Route, count: int) -> Path:
    route.documents("ranks").insert_many({"_id": f"r{n:05}", "rank": n, "name": "a"} for n in range(count))
    return route.plan(RANKS, limits={"workers": 3})


@pytest.mark.parametrize("paused", [False, True])
def test_thousands_of_values_move_on_by_one(route: Route, paused: bool) -> None:
    plan = _filled(route, 5_000)
    child = route.run_to_approval(plan)
    if paused:
        route.tranship("pause", plan)
        assert child.wait() == PAUSED
    _shift(route)
    if paused:
        child = route.run_to_approval(plan)
    wait_until(lambda: len(set.intersection(*_ranks(route))) == 5_000, child, "all ranks to be applied")
    assert route.tranship("approve", plan)[0] == FINISHED
    assert child.wait() == FINISHED, child.output
    documents, rows = _ranks(route)
    assert rows == documents


def test_values_are_dealt_anew_at_random(route: Route) -> None:
    plan = _filled(route, 1_500)
    child = route.run_to_approval(plan)
    for seed in range(3):
        _shuffle(route, seed)
    wait_until(lambda: len(set.intersection(*_ranks(route))) == 1_500, child, "all ranks to be applied")
    child.kill()


def test_documents_that_hold_a_value_twice_are_named(route: Route) -> None:
    """By the journal, the place; by the record, the documents."""
    plan = _filled(route, 50)
    child = route.run_to_approval(plan)
    route.documents("ranks").update_one({"_id": "r00003"}, {"$set": {"rank": 4}})
    assert child.wait() == ROLLED_BACK, child.output
    status = route.status(plan)
    assert "ranks__rank__key" in status.reason
    assert "`tranship status PLAN` names the documents" in status.reason
    named = sorted((d["key"]["_id"], d["kind"], d["columns"]) for d in status.divergences)
    assert named == [("r00003", "duplicate", ["rank"]), ("r00004", "duplicate", ["rank"])]


def test_duplicates_that_were_there_before_the_run_are_named(route: Route, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexes, "UNIQUE_WAIT_S", 0.5)
    monkeypatch.setattr(indexes, "BUILD_TRIES", 2)
    plan = _filled(route, 50)
    route.documents("ranks").update_one({"_id": "r00003"}, {"$set": {"rank": 4}})
    with direct(route, plan) as work:
        for name in phases_before(PhaseName.CONSTRAIN):
            work.done(name)
        with pytest.raises(UniqueConflictError) as caught:
            work.do(PhaseName.CONSTRAIN)
    assert [(one.stream, one.key, one.columns) for one in named_rows(caught.value)] == [
        ("ranks", from_typed(LogicalType.TEXT, "r00003"), ("rank",)),
        ("ranks", from_typed(LogicalType.TEXT, "r00004"), ("rank",)),
    ]


def test_a_document_that_does_not_fit_and_fails_the_run_is_named(route: Route) -> None:
    route.documents("ranks").insert_many([{"_id": "r1", "rank": 1}, {"_id": "r2", "rank": 2, "extra": True}])
    streams = {"ranks": {**RANKS["ranks"], "rest": "fail"}}
    plan = route.plan(streams)
    child = route.start("run", plan)
    assert child.wait() == ROLLED_BACK, child.output
    (named,) = route.status(plan).divergences
    assert (named["key"], named["kind"], named["columns"]) == ({"_id": "r2"}, "unfit", ["extra"])
