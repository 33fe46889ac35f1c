"""The lease of a run on a real server: it is ours until somebody else holds it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.integration.route import THINGS, Route, wait_until
from tranship.orchestrator.journal.control import LeaseLostError
from tranship.orchestrator.journal.store import StoredControl

RUN = "small-1"


@pytest.fixture
def controls(route: Route) -> Iterator[tuple[StoredControl, StoredControl]]:
    """The control store of a run as two orchestrators have it open."""
    plan = route.plan(THINGS)
    with ExitStack() as stack:
        first, second = (stack.enter_context(route.session(plan)).control for _ in range(2))
        first.install()
        assert first.create_run("small", None) == RUN
        yield first, second


def test_a_lease_that_ended_and_that_nobody_took_is_still_ours(controls: tuple[StoredControl, StoredControl]) -> None:
    """As after an outage of the target that was longer than the lease."""
    ours, _ = controls
    ours.acquire(RUN, 0.1)
    first = ours.claim(RUN)
    wait_until(lambda: not ours.is_led(RUN))
    assert ours.claim(RUN) == first + 1
    ours.renew(RUN, 5.0)
    assert ours.is_led(RUN)


def test_a_lease_that_somebody_took_is_lost(controls: tuple[StoredControl, StoredControl]) -> None:
    ours, theirs = controls
    ours.acquire(RUN, 0.1)
    ours.claim(RUN)
    wait_until(lambda: not ours.is_led(RUN))
    theirs.acquire(RUN, 0.1)
    wait_until(lambda: not theirs.is_led(RUN))
    with pytest.raises(LeaseLostError):
        ours.claim(RUN)
    theirs.claim(RUN)
