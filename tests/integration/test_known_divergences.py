"""What is known to differ counts: nothing passes it, and only a look that finds it equal takes it off the record."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tests.integration.route import THINGS, Route, tamper, things, wait_until, written_to

FINISHED, DIFFERS, ROLLED_BACK, PAUSED = 0, 1, 4, 7
PAUSING = {"on_failure": "pause"}


def spoil_by(connection: psycopg.Connection[Any]) -> Callable[[int], None]:
    """Somebody who writes so often that no look finds the row as the one before it did."""
    connection.autocommit = True
    update = "update moved.things set name = %s where _id = 't00007'"
    return lambda number: tamper(connection, update, f"wrong {number}")


def test_rows_that_are_known_to_differ_are_not_switched_over(route: Route) -> None:
    route.documents().insert_many(things(50))
    plan = route.plan(THINGS)
    run = route.run_to_approval(plan)
    route.tamper("delete from moved.things where _id = 't00007'")
    code, said = route.tranship("reconcile", plan)
    assert (code, "t00007" in said) == (DIFFERS, True), said

    code, said = route.tranship("approve", plan)
    assert (code, "1 rows are known to differ" in said) == (DIFFERS, True), said
    still = route.await_status(plan, lambda status: bool(status.divergences), run)
    assert (still.waiting_for_approval, still.switched) == ("cutover", False)

    assert route.tranship("repair", plan)[0] == FINISHED
    route.await_status(plan, lambda status: not status.divergences, run)
    assert route.tranship("approve", plan)[0] == FINISHED
    assert run.wait() == FINISHED, run.output
    assert len(route.rows("things", "_id")) == 50


def test_what_was_found_while_nobody_worked_counts_for_the_next_run(route: Route) -> None:
    route.documents().insert_many(things(50))
    plan = route.plan(THINGS)
    run = route.run_to_approval(plan)
    assert route.tranship("pause", plan)[0] == FINISHED
    assert run.wait() == PAUSED
    route.tamper("update moved.things set name = 'wrong' where _id = 't00007'")
    assert route.tranship("reconcile", plan)[0] == DIFFERS
    route.run_to_approval(plan)
    code, said = route.tranship("approve", plan)
    assert (code, "1 rows are known to differ" in said) == (DIFFERS, True), said


def test_divergences_are_printed_a_few_at_a_time_and_as_they_are_typed(route: Route) -> None:
    route.documents().insert_many(things(50))
    plan = route.plan(THINGS, rollback=PAUSING)
    route.run_to_approval(plan)
    route.tamper("update moved.things set name = 'wrong' where _id < 't00030'")
    code, said = route.tranship("reconcile", plan)
    assert (code, said.count("different in name"), "and 10 more: --limit 0 prints all" in said) == (
        DIFFERS,
        20,
        True,
    ), said
    assert "\n  things t00000: different in name\n" in said, "no quotes of a programming language"
    code, said = route.tranship("status", plan, "--limit", "3")
    assert (said.count("divergence: things t000"), "and 27 more" in said) == (3, True), said
    assert route.tranship("status", plan, "--limit", "0")[1].count("divergence: things t000") == 30
    assert len(json.loads(route.tranship("status", plan, "--json")[1])["divergences"]) == 30
    assert code == FINISHED


def test_a_comparison_of_everything_at_the_cutover_finds_what_nobody_knew(route: Route) -> None:
    route.documents().insert_many(things(50))
    plan = route.plan(THINGS, cutover={"final": "full"}, rollback=PAUSING)
    run = route.run_to_approval(plan)
    route.tamper("delete from moved.things where _id = 't00007'")
    assert route.tranship("approve", plan)[0] == FINISHED
    assert run.wait() == PAUSED, run.output
    status = json.loads(route.tranship("status", plan, "--json")[1])
    assert [found["key"] for found in status["divergences"]] == [{"_id": "t00007"}]
    assert not status["switched"]


@pytest.mark.parametrize("final", ["touched", "full"])
def test_a_row_that_somebody_writes_to_in_the_target_is_not_switched_wrong(route: Route, final: str) -> None:
    """No event tells of it: the key moves without ever being applied."""
    route.documents().insert_many(things(50))
    plan = route.plan(THINGS, cutover={"final": final})

    run = route.run_to(plan, lambda status: status.phases["catch-up"] != "pending")
    with psycopg.connect(route.target_uri) as connection, written_to(spoil_by(connection), 0.02):
        asked = lambda status: status.waiting_for_approval == "cutover" and status.dirty_keys == 0  # noqa: E731
        facts = route.await_status(plan, asked, run).facts["reconcile"]
        assert (facts["moving"], facts["divergences"]) == (1, 0)
        wait_until(lambda: ("t00007", "name 7") not in route.rows("things", "_id", "name"), run)
    route.tamper("update moved.things set name = 'wrong at last' where _id = 't00007'")
    assert route.tranship("approve", plan)[0] == FINISHED
    assert run.wait() == ROLLED_BACK, run.output
