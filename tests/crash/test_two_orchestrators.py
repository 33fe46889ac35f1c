"""Two orchestrators on one run: only one acts, and one that was asleep past its lease changes nothing when it wakes.

A process that is stopped (not killed) inside a transaction is the hard case: it holds locks while it sleeps, and it
believes in its lease and its epoch when it goes on.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from tests.crash.play import LEASE, LEASE_S, RATE, Play, ended
from tranship.orchestrator.journal.records import Entry

START_S = 15.0
"""To start a process, to find the lease expired and to end the sleeper's sessions, on a busy machine."""

STOPPED = {
    "a load": ("load.before_epoch", "load.before_commit"),
    "a replace": ("replace.before_epoch", "replace.before_commit"),
    "capture and the journal": ("keep.before_commit", "journal.before_commit@3"),
}
"""Before the epoch check the sleeper holds row locks; after it, also the epoch's row, which the takeover needs."""


@pytest.mark.parametrize("kind", STOPPED)
def test_stopped_past_its_lease_and_continued(on_stage: Play, kind: str) -> None:
    first, *others = STOPPED[kind]
    takeovers: list[tuple[int, int]] = []
    with on_stage.stage.writers(RATE):
        sleeper = _asleep_at(on_stage, first)
        for site in others:
            following = on_stage.start(at=site, action="stop")
            takeovers.append(_taken_over(on_stage, following))
            _wakes_to_nothing(sleeper)
            _wait_until_stopped(on_stage, following, site)
            sleeper = following
        last = on_stage.start()
        takeovers.append(_taken_over(on_stage, last))
        on_stage.wait_for_approval(last)
        _wakes_to_nothing(sleeper)  # the last one wakes late, while its successor waits
    on_stage.finish(last)
    for old, new in takeovers:
        _assert_silent_since(on_stage.journal, old, new)
    on_stage.assert_nothing_lost()


def test_a_second_one_beside_a_living_one_is_refused_at_once(on_stage: Play) -> None:
    with on_stage.stage.writers(RATE):
        child = on_stage.start()
        on_stage.wait_for_approval(child)
        before = on_stage.journal
        began = time.monotonic()
        assert ended(on_stage.start(), "it was refused") == LEASE
        assert time.monotonic() - began < LEASE_S + START_S
        assert on_stage.journal == before
        assert child.poll() is None
    on_stage.finish(child)
    on_stage.assert_nothing_lost()


def test_two_that_start_at_the_same_moment_share_one_run(on_stage: Play) -> None:
    with on_stage.stage.writers(RATE) as writers:
        one, other = on_stage.start(), on_stage.start()
        on_stage.wait(lambda: {one.poll(), other.poll()} != {None}, "one of them left", writers)
        works, left = (one, other) if one.returncode is None else (other, one)
        assert left.returncode == LEASE
        on_stage.wait_for_approval(works)
    on_stage.finish(works)
    assert on_stage.session.control.runs("shop") == ["shop-1"]
    on_stage.assert_nothing_lost()


def test_stopped_between_lease_and_claim_it_ends_nobody(on_stage: Play) -> None:
    with on_stage.stage.writers(RATE):
        sleeper = _asleep_at(on_stage, "claim.after_lease")
        works = on_stage.start()
        on_stage.wait_for_approval(works)
        claims = on_stage.claims()
        _wakes_to_nothing(sleeper)
    on_stage.finish(works)
    assert claims == on_stage.claims()[: len(claims)]
    assert {entry.epoch for entry in on_stage.journal} == set(on_stage.claims())
    on_stage.assert_nothing_lost()


def _asleep_at(on_stage: Play, site: str) -> subprocess.Popen[bytes]:
    """A process that has stopped itself, with its workers, at a site."""
    child = on_stage.start(at=site, action="stop")
    _wait_until_stopped(on_stage, child, site)
    return child


def _wait_until_stopped(on_stage: Play, child: subprocess.Popen[bytes], site: str) -> None:
    def stopped() -> bool:
        return os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is not None

    on_stage.wait(stopped, f"it stopped at {site}", child)


def _taken_over(on_stage: Play, child: subprocess.Popen[bytes]) -> tuple[int, int]:
    """Wait until a process that has just been started has the epoch; returns the sleeper's and its own."""
    began, before = time.monotonic(), on_stage.claims()
    on_stage.wait(lambda: len(on_stage.claims()) > len(before), "it took over", child)
    assert time.monotonic() - began < LEASE_S + START_S, "the sleeper held the takeover up"
    return before[-1], on_stage.claims()[-1]


def _wakes_to_nothing(sleeper: subprocess.Popen[bytes]) -> None:
    """Let a sleeper go on: it learns that its time is over, and leaves."""
    os.killpg(sleeper.pid, signal.SIGCONT)
    assert ended(sleeper, "the sleeper left") == LEASE


def _assert_silent_since(journal: list[Entry], old: int, new: int) -> None:
    """No entry of an epoch comes after the first one of the next."""
    taken = next(entry.seq for entry in journal if entry.epoch == new)
    late = [(entry.seq, entry.record.kind) for entry in journal if entry.epoch <= old and entry.seq > taken]
    assert not late
