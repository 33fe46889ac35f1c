"""The one retry policy: what is repeated, for how long, and what stops it."""

from __future__ import annotations

import threading
import time

import pytest

from tranship.connectors.errors import AmbiguousCommitError, RefusedError, TransientError
from tranship.orchestrator import retry
from tranship.orchestrator.retry import Patience


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_PAUSE_S", 0.001)


class Failing:
    """Raises the given errors one after the other, then returns how often it was called."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> int:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return self.calls


def test_transient_errors_are_repeated_until_it_works() -> None:
    assert Patience(0.1).call(Failing(TransientError("away"), TransientError("still away"))) == 3


@pytest.mark.parametrize("error", [RefusedError("no"), AmbiguousCommitError("?"), ValueError("a bug")])
def test_other_errors_are_raised_at_once(error: Exception) -> None:
    action = Failing(error)
    with pytest.raises(type(error)) as caught:
        Patience(0.1).call(action)
    assert (caught.value, action.calls) == (error, 1)


def test_it_gives_up_with_the_last_error() -> None:
    action = Failing(*(TransientError(f"attempt {n}") for n in range(1, 10_000)))
    began = time.monotonic()
    with pytest.raises(TransientError) as caught:
        Patience(0.1).call(action)
    assert str(caught.value) == f"attempt {action.calls}"
    assert action.calls > 1
    assert time.monotonic() - began < 10


def test_an_attempt_that_is_long_in_failing_is_not_the_last() -> None:
    failing = Failing(TransientError("at last"))

    def slowly() -> int:
        began = time.monotonic()
        while time.monotonic() < began + 0.005:
            pass
        return failing()

    assert Patience(0.001).call(slowly) == 2


def test_outages_are_too_many_only_when_they_come_close_together() -> None:
    outages = retry.Outages()
    assert [outages.bear(float(n)) for n in range(retry.MOST_OUTAGES + 1)] == [*[True] * retry.MOST_OUTAGES, False]
    assert outages.bear(2 * retry.CALM_S)
    seldom = retry.Outages()
    assert all(seldom.bear(n * 1.1 * retry.CALM_S) for n in range(100))


def test_outages_of_a_step_that_came_to_its_end_are_forgotten() -> None:
    outages = retry.Outages()
    for n in range(100):
        assert outages.bear(float(n))
        outages.forget()


def test_a_stop_ends_the_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_PAUSE_S", 3600.0)
    monkeypatch.setattr(retry, "LONGEST_PAUSE_S", 3600.0)
    stop = threading.Event()

    def away() -> None:
        stop.set()
        raise TransientError("away")

    with pytest.raises(TransientError):
        Patience(3600.0).call(away, stop)
