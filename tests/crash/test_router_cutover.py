"""A cutover behind routers is killed at each of its sites, and so is its guard, while writers go on all the time.

Whatever dies, no write fails and none is lost: the guard lifts the fence behind its deadline, or the next process does;
and once the source has handed over, the writers go on without anybody.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pymongo
import pytest

from tests.cutover.play import SCHEMA, Cutover, await_state, judge, stage, writers
from tranship.orchestrator.engine.session import Session
from tranship.orchestrator.failpoints import VARIABLE
from tranship.orchestrator.journal.state import State
from tranship.orchestrator.sandbox import Servers
from tranship.plans.strategies import Group

DEADLINE_S = 5.0
RATE = 60.0
LIMIT_S = 240.0
LONGEST_S = 25.0
"""No write waits longer: a deadline, the guard's look, and a machine that is busy with other things."""

LIFTED = (
    "fence.after_guard",
    "fence.after_swap",
    "cutover.after_quiet",
    "drain.after_marker",
    "seal.after_commit",
    "cutover.before_switch",
    "pivot.after_sent",
)
"""Behind each of them the guard, or the next process, brings the writers back to the source."""

SWITCHED = ("pivot.after_swap", "open.after_swap")
"""Behind each of them the writers go on on the target, before anybody looks after the run."""

GUARD = ("guard.before_lift", "guard.after_lift")
"""Where the guard itself is killed; the next process lifts."""


@pytest.fixture
def made(servers: Servers, tmp_path: Path) -> Iterator[Cutover]:
    """A run that has come to its approval once."""
    limits = {"lease": "2s", "workers": 1}
    cutover = {"fence": "router", "deadline": f"{DEADLINE_S:g}s"}
    try:
        with stage(servers, tmp_path, limits=limits, cutover=cutover) as cutover_made:
            yield cutover_made
    finally:
        sys.stdout.write((tmp_path / "output.log").read_text(errors="replace"))


def asks(state: State) -> bool:
    return state.asked is Group.CUTOVER


def killed(made: Cutover, session: Session, site: str) -> None:
    """A process that asks for its approval, gets it, and dies at a site."""
    child = made.run(**{VARIABLE: f"{site}=kill"})
    assert ended(made, session, child) == -signal.SIGKILL, f"it ended before it reached {site}"


def record(made: Cutover) -> dict[str, object]:
    with pymongo.MongoClient[dict[str, object]](made.source.uri) as client:
        return client[made.source.name]["tranship_switches"].find_one() or {}


def await_record(made: Cutover, states: set[str], limit_s: float) -> None:
    end = time.monotonic() + limit_s
    while record(made).get("state") not in states:
        assert time.monotonic() < end, f"the record says {record(made)}, and not {states}"
        time.sleep(0.05)


def ended(made: Cutover, session: Session, child: subprocess.Popen[bytes]) -> int:
    """The exit code of a process that gets its approval whenever it asks for it: on a busy machine routers may not have
    acknowledged within so short a deadline."""
    answered, end = set[int](), time.monotonic() + LIMIT_S
    while child.poll() is None:
        assert time.monotonic() < end, "it neither ended nor died"
        run = session.latest()
        state = session.state(run) if run is not None else State()
        if state.asking is not None and state.asking not in answered:
            answered.add(state.asking)
            made.approve(session, state.run)
        time.sleep(0.05)
    return child.returncode


def test_killed_before_the_pivot_the_guard_lifts(made: Cutover) -> None:
    with made.session() as session, writers(made, 2, 2, RATE, 20) as done:
        for site in LIFTED:
            killed(made, session, site)
            await_record(made, {"primary"}, 3 * DEADLINE_S + 5)
        assert ended(made, session, made.run()) == 0
        time.sleep(0.5)
    nothing_lost(made, done, LONGEST_S)


def test_killed_behind_the_pivot_the_writers_go_on(made: Cutover) -> None:
    with made.session() as session, writers(made, 2, 2, RATE, 20) as done:
        killed(made, session, SWITCHED[0])
        assert record(made)["state"] == "handed_over"
        time.sleep(1.0)
        killed(made, session, SWITCHED[1])
        assert ended(made, session, made.run()) == 0
    nothing_lost(made, done, LONGEST_S)


@pytest.mark.parametrize("site", GUARD)
def test_killed_with_its_guard_the_next_process_lifts(made: Cutover, site: str) -> None:
    """The orchestrator is stopped behind its fence, its guard dies as it lifts, then the orchestrator dies."""
    with made.session() as session, writers(made, 2, 2, RATE, 20) as done:
        child = made.run(**{VARIABLE: f"fence.after_swap=stop,{site}=kill"})
        state = await_state(session, child, "it asks", asks)
        made.approve(session, state.run)
        await_record(made, {"fenced"}, LIMIT_S)
        time.sleep(DEADLINE_S + 1)
        assert record(made)["state"] == ("fenced" if site == "guard.before_lift" else "primary")
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        assert ended(made, session, made.run()) == 0
    nothing_lost(made, done, LONGEST_S + DEADLINE_S)


def nothing_lost(made: Cutover, done: list, longest_s: float) -> None:  # type: ignore[type-arg]
    verdict = judge(made, done)
    assert (verdict.failed, verdict.lost) == ([], [])
    assert verdict.both == 2, f"writes on both sides, in {SCHEMA} as well"
    assert verdict.longest_s < longest_s
