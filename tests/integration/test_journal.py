"""The journal on a real server: what was removed from it is found, whoever asks."""

from __future__ import annotations

import pytest

from tests.integration.route import THINGS, Route, things, wait_until

FINISHED, BAD_REQUEST, REFUSED = 0, 2, 3


@pytest.mark.parametrize("command", ["run", "status", "resume", "rollback", "reconcile"])
def test_a_finished_run_whose_last_records_are_gone_is_not_taken_up_again(route: Route, command: str) -> None:
    """Else the applier would go on over rows that applications write."""
    route.documents().insert_many(things(20))
    plan = route.plan(THINGS, approval=[])
    assert route.tranship("run", plan)[0] == FINISHED
    before = "select max(seq) from tranship.journal where kind = 'intent' and phase = 'fence'"
    route.query(f"delete from tranship.journal where seq > ({before})")
    route.tamper("update moved.things set name = 'of the application' where _id = 't00003'")
    code, said = route.tranship(command, plan)
    assert (code, "its end was removed" in said) == (REFUSED, True), said
    assert ("t00003", "of the application") in route.rows("things", "_id", "name")


def test_nobody_is_asked_where_nobody_works(route: Route) -> None:
    route.documents().insert_many(things(20))
    plan = route.plan(THINGS)
    run = route.run_to_approval(plan)
    run.kill()
    with route.session(plan) as session:
        wait_until(lambda: not session.control.is_led("small-1"), None, "the lease to end")
    code, said = route.tranship("approve", plan)
    assert (code, "no orchestrator works on run small-1" in said) == (BAD_REQUEST, True), said
    run = route.start("run", plan)

    def over() -> bool:
        # Until the new orchestrator has said so, the question of the old one stands in the journal.
        route.tranship("approve", plan)
        return run.process.poll() is not None

    wait_until(over, None, "the run to ask anew and to end")
    assert run.wait() == FINISHED, run.output
