"""What follows from a failure, by its class: the one table that decides."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tranship.connectors import errors
from tranship.connectors.protocols import Mismatch
from tranship.orchestrator.dataplane import TooManyApartError
from tranship.orchestrator.journal.control import LeaseHeldError, LeaseLostError
from tranship.orchestrator.phases import DivergedError, PreflightError, RefusedToActError
from tranship.orchestrator.services import ServiceFailedError


class Outcome(StrEnum):
    """What the engine does about a failure."""

    PAUSE = "pause"
    """Stop with the state kept; `tranship run` goes on."""
    HOLD = "hold"
    """Stop until a person has looked and says how to go on."""
    POLICY = "policy"
    """Roll back or pause, as the plan's `rollback` says."""
    REFUSE = "refuse"
    """Nothing was changed: report and close."""
    ASK_AGAIN = "ask-again"
    """The phase did nothing; it waits for a new approval, or pauses when none is asked for."""
    LEAVE = "leave"
    """Somebody else acts: write nothing more."""


OUTCOMES: tuple[tuple[type[BaseException], Outcome], ...] = (
    (LeaseLostError, Outcome.LEAVE),
    (LeaseHeldError, Outcome.LEAVE),
    (errors.EpochMovedError, Outcome.LEAVE),
    (PreflightError, Outcome.REFUSE),
    (RefusedToActError, Outcome.ASK_AGAIN),
    (DivergedError, Outcome.POLICY),
    (errors.TiedError, Outcome.HOLD),
    (errors.UniqueConflictError, Outcome.POLICY),  # the source holds a value twice that the plan calls unique
    (errors.UnmappableError, Outcome.POLICY),
    (errors.PositionLostError, Outcome.HOLD),
    (errors.SourceChangedError, Outcome.HOLD),
    (errors.AmbiguousCommitError, Outcome.PAUSE),  # after all retries, as the next
    (errors.TransientError, Outcome.PAUSE),
    (errors.ConnectorError, Outcome.PAUSE),
    (TooManyApartError, Outcome.PAUSE),
    (TimeoutError, Outcome.PAUSE),  # what was waited for did not come
)
"""First match wins. What is not listed is a bug: the run pauses with its state kept."""


@dataclass(frozen=True)
class Failure:
    """A failure and what follows. `error` is the cause when a service failed."""

    error: BaseException
    outcome: Outcome
    reason: str
    is_bug: bool


def classify(error: BaseException) -> Failure:
    """Look a failure up; a service's failure counts as its cause."""
    if isinstance(error, ServiceFailedError):
        inner = classify(error.cause)
        return Failure(inner.error, inner.outcome, f"service {error.service}: {inner.reason}", inner.is_bug)
    for kind, outcome in OUTCOMES:
        if isinstance(error, kind):
            return Failure(error, outcome, _advice(error), is_bug=False)
    return Failure(error, Outcome.PAUSE, f"unexpected {type(error).__name__}: {error}", is_bug=True)


MOST_NAMED = 1000


def named_rows(error: BaseException) -> list[Mismatch]:
    """The documents at which a run stopped, for its record of what differs; none for most failures."""
    if isinstance(error, errors.UniqueConflictError):
        keys = sorted({*error.claimants, *error.owners})[:MOST_NAMED]
        return [Mismatch(error.stream, key, "duplicate", error.columns or (error.constraint,)) for key in keys]
    if isinstance(error, errors.UnmappableError) and error.key:
        return [Mismatch(error.stream, error.key, "unfit", (error.path,))]
    return []


def _advice(error: BaseException) -> str:
    if named_rows(error):
        return f"{error}; `tranship status` names the documents"
    if isinstance(error, errors.PositionLostError):
        return (
            f"{error} Changes may have been missed, so tranship does not go on from now by itself: `tranship reseed` "
            "takes a new position and compares every row; `tranship rollback` undoes the run."
        )
    if isinstance(error, errors.SourceChangedError):
        return (
            f"{error}. `tranship rollback` undoes the run. If the collection still is what the plan means (its "
            "TTL or another option was changed, say), `tranship reseed` takes a new position and compares every row."
        )
    return str(error)
