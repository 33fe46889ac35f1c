"""How a command that carried a run on has ended: one sentence, with what its exit code means and what to type next."""

from __future__ import annotations

from tranship.orchestrator.journal.state import RunStatus, State
from tranship.orchestrator.reports.advice import to_type
from tranship.orchestrator.reports.status import Status

EXIT_CODES = {
    RunStatus.FINISHED: 0,
    RunStatus.ROLLED_BACK: 4,
    RunStatus.HELD: 5,
    RunStatus.PAUSED: 7,
}


AT_WORK = 6


def standing(status: Status) -> int:
    """The exit code of how a run stands: as if a command had ended just now; 6 while an orchestrator is at work on it,
    7 where none is, because `run` goes on then."""
    working = status.status in (RunStatus.RUNNING, RunStatus.ROLLING_BACK)
    if working:
        return AT_WORK if status.at_work else EXIT_CODES[RunStatus.PAUSED]
    return EXIT_CODES[RunStatus(status.status)]


def ending(state: State, plan: str, code: int) -> str:
    """What a person has to know of a run that does not go on by itself. `plan`: the file, as it is typed; `code`: the
    command's exit code."""
    why = f": {to_type(state.reason, plan)}" if state.reason else ""
    text = f"run {state.run} {_HAS[state.status]}{why}"
    text = f"{text}{'' if text.endswith('.') else '.'} {_next(state, plan)}"
    return f"{text} (exit code {code})"


_HAS = {
    RunStatus.RUNNING: "is running",
    RunStatus.ROLLING_BACK: "is rolled back just now",
    RunStatus.FINISHED: "has finished",
    RunStatus.ROLLED_BACK: "was rolled back",
    RunStatus.HELD: "is held",
    RunStatus.PAUSED: "is paused",
}


def _next(state: State, plan: str) -> str:
    match state.status:
        case RunStatus.FINISHED:
            return "The target is the primary now; the source is as it was."
        case RunStatus.ROLLED_BACK:
            return f"Both sides are as they were found; `tranship run {plan}` starts a new run."
        case RunStatus.HELD:
            return f"Everything is kept. Look at what it says; `tranship resume {plan}` goes on then."
        case RunStatus.PAUSED:
            return f"Everything is kept; `tranship run {plan}` goes on."
        case _:
            return f"`tranship status {plan}` shows it."
