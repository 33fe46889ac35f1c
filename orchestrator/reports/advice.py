"""Who waits for whom, and what a person types next: said by `status`, decided by nobody."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from tranship.orchestrator.journal.state import ENDED, RunStatus, State


def waits(state: State, *, at_work: bool, parked: Mapping[str, int]) -> Iterator[str]:
    """Sentences; none of a run that has ended, or in which all that can be done is done."""
    if state.status in ENDED:
        return
    if state.status is RunStatus.HELD:
        yield "the run waits for a person who sees to what it says"
    elif state.status is RunStatus.PAUSED:
        yield "the run waits for somebody who goes on with it"
    elif not at_work:
        yield "the run waits for an orchestrator: none is at work on it"
    elif state.asked is not None:
        yield f"{state.asked} waits for an approval"
    for holder, count in parked.items():
        yield f"{count} keys wait for rows of {holder}, which hold theirs by a foreign key"


def next_command(state: State, plan: str, *, at_work: bool) -> str | None:
    """What goes on with a run; None where there is nothing to type. `plan`: the file, as it is typed."""
    if state.status is RunStatus.FINISHED:
        return None
    if state.status is RunStatus.HELD:
        return f"tranship resume {plan}"
    if state.status is RunStatus.ROLLED_BACK or state.status is RunStatus.PAUSED or not at_work:
        return f"tranship run {plan}"
    return f"tranship approve {plan}" if state.asked is not None else None


_COMMAND = re.compile(r"`tranship (run|resume|status|repair|reconcile|reseed|rollback|quarantine list|history)(?=[ `])")


def to_type(text: str, plan: str) -> str:
    """A text in which commands stand, such as a run's reason, with the plan's file in each: as somebody can type it.
    Reasons are kept without it, because the file may lie elsewhere for whoever reads them later. `plan`: as
    it is typed."""
    return _COMMAND.sub(lambda found: f"{found[0]} {plan}", text)
