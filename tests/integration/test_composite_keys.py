"""Composite keys on a real server: what one index holds of all parts is loaded, what it does not is kept aside."""

from __future__ import annotations

import random
import string

import pytest

from tests.integration.route import Route, wait_until

FINISHED = 0
DRAW = random.Random(2704)


@pytest.mark.parametrize(
    ("names", "arriving"), [("abc", [1, 400, 700]), ("cab", [1, 400, 700, 900])], ids=["long at last", "long at first"]
)
def test_what_stands_before_a_long_part_shares_an_index_with_its_beginning(
    route: Route, names: str, arriving: list[int]
) -> None:
    """The index that serves reading in key order holds it; that of the primary key only its digest."""
    key = {name: {"path": f"_id.{name}", "type": "text", "long": name == "c"} for name in names}
    things = route.documents()
    ids = [({name: (words(n) | {"c": wide(2000)})[name] for name in names}, n) for n in (1, 400, 700, 900)]
    things.insert_many([{"_id": identity, "n": n} for identity, n in ids[:2]])
    plan = route.plan({"things": {"key": key, "columns": {"n": "int32"}}}, cutover={"max_quarantined": 1})
    run = route.run_to_approval(plan)
    things.insert_many([{"_id": identity, "n": n} for identity, n in ids[2:]])
    wait_until(lambda: sorted(route.rows("things", "n")) == [(n,) for n in arriving], run, "what fits to arrive")
    aside = "select count(*) from tranship.quarantine"
    wait_until(lambda: route.query(aside) == [(4 - len(arriving),)], run, "what does not fit to be kept aside")
    assert route.tranship("approve", plan)[0] == FINISHED
    assert run.wait() == FINISHED, run.output


def wide(size: int) -> str:
    """Characters of four bytes each."""
    return "".join(chr(DRAW.randrange(0x10000, 0x110000)) for _ in range(size))


def words(size: int) -> dict[str, str]:
    return {name: "".join(DRAW.choices(string.ascii_letters, k=size)) for name in "abc"}


@pytest.mark.parametrize("children", [False, True], ids=["alone", "with child tables"])
def test_long_composite_ids_arrive_or_are_kept_aside(route: Route, children: bool) -> None:
    stream = {"key": {name: {"path": f"_id.{name}", "type": "text"} for name in "abc"}, "columns": {"n": "int32"}}
    rows = {
        "path": "rows",
        "columns": {"x": "int32"},
        "children": {"deep": {"path": "deep", "columns": {"y": "int32"}}},
    }
    if children:
        stream["children"] = {"rows": rows}
    things = route.documents()
    many = [{"x": 1, "deep": [{"y": 2}]}] if children else []
    things.insert_many([{"_id": words(size), "n": size, "rows": many} for size in (1, 400, 820, 826)])
    plan = route.plan({"things": stream}, cutover={"max_quarantined": 3})
    run = route.run_to_approval(plan)
    assert route.rows("things", "n") == [(1,), (400,), (820,), (826,)]
    things.insert_many([{"_id": words(size), "n": size, "rows": many} for size in (825, 827, 950, 1001)])
    wait_until(lambda: (825,) in route.rows("things", "n"), run)
    aside = "select count(*) from tranship.quarantine"
    wait_until(lambda: route.query(aside) == [(3,)], run, "what does not fit to be kept aside")
    assert route.tranship("approve", plan)[0] == FINISHED
    assert run.wait() == FINISHED, run.output
