"""The one table that decides what follows from a failure."""

from __future__ import annotations

import pytest

from tranship.connectors import errors
from tranship.orchestrator.dataplane import TooManyApartError
from tranship.orchestrator.engine.outcomes import Outcome, classify
from tranship.orchestrator.journal.control import LeaseLostError
from tranship.orchestrator.journal.state import ServiceName
from tranship.orchestrator.phases import PreflightError, RefusedToActError
from tranship.orchestrator.services import ServiceFailedError

UNIQUE = errors.UniqueConflictError("twice", stream="s", constraint="c", claimants=(), owners=())

CASES: list[tuple[Exception, Outcome]] = [
    (errors.TransientError("away"), Outcome.PAUSE),
    (errors.RefusedError("no"), Outcome.PAUSE),
    (errors.NotOursError("theirs"), Outcome.PAUSE),
    (errors.AmbiguousCommitError("?"), Outcome.PAUSE),
    (errors.PositionLostError("gone."), Outcome.HOLD),
    (errors.SourceChangedError("dropped"), Outcome.HOLD),
    (errors.EpochMovedError("over"), Outcome.LEAVE),
    (errors.UnmappableError("bad"), Outcome.POLICY),
    (UNIQUE, Outcome.POLICY),
    (LeaseLostError("lost"), Outcome.LEAVE),
    (PreflightError([]), Outcome.REFUSE),
    (RefusedToActError("not now"), Outcome.ASK_AGAIN),
    (TooManyApartError("all"), Outcome.PAUSE),
    (TimeoutError("late"), Outcome.PAUSE),
]


@pytest.mark.parametrize(("error", "outcome"), CASES, ids=lambda case: type(case).__name__)
def test_known_failures(error: Exception, outcome: Outcome) -> None:
    failure = classify(error)
    assert (failure.outcome, failure.is_bug, failure.error) == (outcome, False, error)
    inside = classify(ServiceFailedError(ServiceName.CAPTURE, error))
    assert (inside.outcome, inside.error) == (outcome, error)
    assert inside.reason == f"service capture: {failure.reason}"


def test_a_bug_pauses_and_is_called_one() -> None:
    failure = classify(KeyError("x"))
    assert (failure.outcome, failure.is_bug) == (Outcome.PAUSE, True)


def test_lost_history_offers_the_reseed() -> None:
    assert "`tranship reseed`" in classify(errors.PositionLostError("the oplog has moved on.")).reason


def test_the_more_special_class_stands_first() -> None:
    """A class that is listed after one of its bases would never be found."""
    from tranship.orchestrator.engine.outcomes import OUTCOMES

    listed = [kind for kind, _ in OUTCOMES]
    for place, kind in enumerate(listed):
        assert not any(issubclass(later, kind) for later in listed[place + 1 :]), kind
