"""`tranship runs` and `tranship history` of real runs: one that was taken back, and one that finished."""

from __future__ import annotations

import getpass
import json
import re

from tests.integration.route import STATE, THINGS, Route, things

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


def test_runs_and_histories(route: Route) -> None:
    route.documents().insert_many(things(20))
    plan = route.plan(THINGS)
    code, said = route.tranship("runs", plan)
    assert (code, said.strip()) == (0, "there is no run in the state schema")
    assert not route.has_state()
    code, said = route.tranship("history", plan)
    assert (code, "has no run on this target yet" in said) == (2, True), said

    first = route.run_to_approval(plan)
    [working] = json.loads(route.tranship("runs", plan, "--json")[1])
    assert (working["status"], working["at_work"], working["ended"]) == ("running", True, False)
    assert route.tranship("rollback", plan, "--wait")[0] == 0
    assert first.wait() == 4
    second = route.run_to_approval(plan)
    assert route.tranship("approve", plan)[0] == 0
    assert second.wait() == 0, second.output

    _runs(route)
    code, said = route.tranship("history", plan)
    assert code == 0, said
    heading, *lines = said.splitlines()
    assert heading == "run small-2"
    assert all(re.fullmatch(rf"{TIME}  \S.*", line) for line in lines), said
    told = [line.split("  ", 1)[1] for line in lines]
    assert told[0] == "run small-2 begins"
    assert f"cutover was approved by {getpass.getuser()}" in told
    assert told[-1] == "finished"
    code, said = route.tranship("history", plan, "--run", "small-1", "--json")
    events = json.loads(said)["events"]
    assert [event["number"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["kind"] == "rolled-back"
    assert any(f"asked by {getpass.getuser()}" in event["text"] for event in events)
    code, said = route.tranship("history", plan, "--run", "small-3")
    assert (code, "no run small-3, but small-1, small-2" in said) == (2, True), said


def _runs(route: Route) -> None:
    """Both runs, found by the target's address alone."""
    code, said = route.tranship("runs", "--target", "env:TARGET_URI")
    lines = said.splitlines()
    assert code == 0, said
    assert re.fullmatch(rf"small-1  rolled back  {TIME} to {TIME} \(.+\)", lines[0]), said
    assert re.fullmatch(rf"small-2  finished     {TIME} to {TIME} \(.+\)", lines[-1]), said
    code, same = route.tranship("runs", "--target", "${env:TARGET_URI}", "--state-schema", STATE)
    assert (code, same) == (0, said)
    code, said = route.tranship("runs", "--target", "env:TARGET_URI", "--state-schema", "elsewhere")
    assert (code, said.strip()) == (0, "there is no run in the state schema")


def test_what_is_no_address_is_said(route: Route) -> None:
    plan = route.plan(THINGS)
    for arguments, why in (
        (("runs",), "give either a plan, or --target"),
        (("runs", plan, "--target", "env:TARGET_URI"), "give either a plan, or --target"),
        (("runs", plan, "--state-schema", "s"), "give either a plan, or --target"),
        (("runs", "--target", "env:NOWHERE"), "the environment variable NOWHERE is not set"),
        (("runs", "--target", "env:SOURCE_URI"), "the URI must start with postgresql://"),
        (("runs", "--target", "postgresql://me:hunter2@localhost/x"), "a literal password in the URI"),
    ):
        code, said = route.tranship(*arguments)
        assert (code, why in said) == (2, True), said
        assert "hunter2" not in said
    code, said = route.tranship("runs", "--target", "postgresql://me@127.0.0.1:1/x")
    assert (code, "cannot be reached" in said) == (3, True), said
