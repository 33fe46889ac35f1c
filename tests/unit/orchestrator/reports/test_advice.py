"""Who waits for whom, what to type next, and the exit code of how a run stands."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.orchestrator.reports.test_status import status
from tranship.orchestrator.journal.state import RunStatus, State
from tranship.orchestrator.reports.advice import next_command, to_type, waits
from tranship.orchestrator.reports.endings import standing
from tranship.plans.strategies import Group

RUNNING = State(status=RunStatus.RUNNING)
ASKING = RUNNING.in_round(replace(RUNNING.latest, asked={Group.CUTOVER: 7}))


@pytest.mark.parametrize(
    ("state", "at_work", "sentences", "command"),
    [
        pytest.param(RUNNING, True, [], None, id="works"),
        pytest.param(
            RUNNING, False, ["the run waits for an orchestrator: none is at work on it"], "run", id="nobody works"
        ),
        pytest.param(ASKING, True, ["cutover waits for an approval"], "approve", id="asks"),
        pytest.param(
            ASKING,
            False,
            ["the run waits for an orchestrator: none is at work on it"],
            "run",
            id="asked, and nobody works: an approval would be acted on by nobody",
        ),
        pytest.param(
            State(status=RunStatus.PAUSED),
            False,
            ["the run waits for somebody who goes on with it"],
            "run",
            id="paused",
        ),
        pytest.param(
            State(status=RunStatus.HELD),
            False,
            ["the run waits for a person who sees to what it says"],
            "resume",
            id="held",
        ),
        pytest.param(State(status=RunStatus.ROLLED_BACK), False, [], "run", id="rolled back"),
        pytest.param(State(status=RunStatus.FINISHED), False, [], None, id="finished"),
    ],
)
def test_what_is_waited_for_and_what_to_type(
    state: State,
    at_work: bool,
    sentences: list[str],
    command: str | None,
) -> None:
    assert list(waits(state, at_work=at_work, parked={})) == sentences
    assert next_command(state, "p.yaml", at_work=at_work) == (command and f"tranship {command} p.yaml")


def test_keys_that_wait_for_rows_of_others() -> None:
    (sentence,) = waits(RUNNING, at_work=True, parked={"app.orders": 3})
    assert sentence == "3 keys wait for rows of app.orders, which hold theirs by a foreign key"


@pytest.mark.parametrize(
    ("stands", "at_work", "code"),
    [
        ("running", True, 6),
        ("rolling back", True, 6),
        ("running", False, 7),
        ("rolling back", False, 7),
        ("finished", False, 0),
        ("rolled back", False, 4),
        ("held", False, 5),
        ("paused", False, 7),
    ],
)
def test_the_exit_code_of_how_a_run_stands(stands: str, at_work: bool, code: int) -> None:
    assert RunStatus(stands)
    assert standing(replace(status(), status=stands, at_work=at_work)) == code


@pytest.mark.parametrize(
    ("text", "typed"),
    [
        ("3 rows; `tranship status` names them", "3 rows; `tranship status 'my plan.yaml'` names them"),
        ("`tranship status --names` shows some", "`tranship status 'my plan.yaml' --names` shows some"),
        ("`tranship quarantine list` names them", "`tranship quarantine list 'my plan.yaml'` names them"),
        ("`tranship_switches` is not `tranship runs`", "`tranship_switches` is not `tranship runs`"),
    ],
)
def test_commands_in_a_reason_name_the_plan(text: str, typed: str) -> None:
    assert to_type(text, "'my plan.yaml'") == typed
