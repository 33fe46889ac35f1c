"""The reader of a run's log goes away: the run does not."""

from __future__ import annotations

import subprocess

import pytest

from tests.integration.forks import COMMAND
from tests.integration.route import THINGS, Route, things, wait_until
from tranship.plans.strategies import Group

FINISHED, ROLLED_BACK = 0, 4


@pytest.mark.parametrize(("command", "code"), [("approve", FINISHED), ("rollback", ROLLED_BACK)])
def test_a_run_outlives_the_reader_of_its_log(route: Route, command: str, code: int) -> None:
    route.documents().insert_many(things(200))
    plan = route.plan(THINGS)
    process = subprocess.Popen(
        [*COMMAND, "run", str(plan)], env=route.environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        assert process.stderr is not None
        assert process.stderr.readline()
        process.stderr.close()
        wait_until(lambda: _asks(route, plan), what="the approval to be asked for")
        assert route.tranship(command, plan)[0] == FINISHED
        assert process.wait(60) == code
    finally:
        process.kill()
        process.wait()
    assert route.status(plan).status == ("finished" if code == FINISHED else "rolled back")


def _asks(route: Route, plan: object) -> bool:
    with route.session(plan) as session:  # type: ignore[arg-type]
        run = session.latest()
        return run is not None and session.state(run).asked is Group.CUTOVER
