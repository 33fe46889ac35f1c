"""`make torture`: migrations that are killed ten times and more at random moments, under writers; nothing may be lost.

The writers are never stopped: through their router they go on in the cutover, which is killed too, or its guard, or
both at once, and behind it on the target. The ledger judges both sides.

    python -m tests.torture --seeds 5      five new seeds
    python -m tests.torture --seed 1234    that one again: the same shop, killed at the same moments

A moment is a place in a run's life and a delay after it, not a time on a clock, so that it comes again in a replay, as
far as two processes and two servers ever do the same twice. Each seed ends with the oracle. Exit code 0 only if every
seed passed.
"""

from __future__ import annotations

import argparse
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import pymongo

from tests.crash.play import FINISHED, SCHEMA, Play, Process, play
from tranship.orchestrator.demo.ledger import read
from tranship.orchestrator.demo.scene import Scene, SceneError, run_name, scene, status_now, wait_until
from tranship.orchestrator.demo.shop import Shop
from tranship.orchestrator.journal.control import RequestKind
from tranship.orchestrator.journal.records import Kind
from tranship.orchestrator.journal.state import PhaseStatus, RunStatus
from tranship.orchestrator.sandbox import Servers, sandbox
from tranship.plans.strategies import Group, PhaseName

DOCUMENTS = 3_000
RATE = 100.0
KILLS = 10
STARTS = 2
"""How many of them come soon after a start: while it waits for the lease, takes over or looks around."""

CUTOVER_KILLS = 3
"""Of attempts at the cutover, one after the other, as long as none has got through."""

BY_ROUTER = {"fence": "router", "deadline": "10s"}
BEHIND_S = 1.0
"""For how long the writers go on behind the end of the run."""
WRITERS_S = 1800.0
FINISH_S = 300.0
"""On a busy machine some attempts come too late for their deadline, or more is written than can be compared."""
GUARD = b"orchestrator.services.guard"

START_S = 5.0
WAITING = "waiting"
TAKEOVER = "takeover"


@dataclass(frozen=True)
class Place:
    """A part of a run's life: how often moments fall into it, and how long after its beginning they may come."""

    name: str
    weight: int
    span_s: float


LIFE = (
    Place(PhaseName.CAPTURE, 1, 0.5),
    Place(PhaseName.BACKFILL, 4, 0.2),
    Place(PhaseName.INDEX, 1, 0.2),
    Place(PhaseName.CATCH_UP, 4, 3.0),
    Place(PhaseName.CONSTRAIN, 2, 0.5),
    Place(PhaseName.RECONCILE, 4, 4.0),
    Place(WAITING, 3, 3.0),
)
"""In the order in which they come. In the backfill it is not time that decides, but how much is loaded."""

CUTOVER = Place(Group.CUTOVER, 1, 2.0)
"""It begins before its fence: a guard takes a second or two to start."""

FENCED = Place("behind the fence", 2, 0.3)
ATTEMPT = (CUTOVER, FENCED)
"""The last moments of each seed fall here. When the cutover is faster than one of them, there are fewer kills."""


class Victim(StrEnum):
    """Who dies."""

    RUN = "run"
    GUARD = "guard"
    """Of the fence; whoever carries the run out goes on."""
    BOTH = "run and guard"


@dataclass(frozen=True)
class Moment:
    """When to kill: a place is reached (of a backfill: a part of it loaded), and then a delay. Without a place: from
    the start of the process."""

    place: Place | None
    part: float
    delay_s: float
    victim: Victim = Victim.RUN


def moments(rng: random.Random) -> list[Moment]:
    """Moments in the order in which a run comes to them; those after a start stand anywhere between."""
    places = rng.choices(LIFE, [place.weight for place in LIFE], k=KILLS - STARTS)
    drawn = [_within(rng, place) for place in places]
    # Of two in one place the earlier one first: what is loaded stays loaded.
    drawn.sort(key=lambda moment: (LIFE.index(moment.place), moment.part))
    for _ in range(STARTS):
        drawn.insert(rng.randrange(len(drawn) + 1), Moment(None, 0.0, rng.uniform(0.0, START_S)))
    last = [_within(rng, place) for place in rng.choices(ATTEMPT, [place.weight for place in ATTEMPT], k=CUTOVER_KILLS)]
    return [*drawn, *(replace(moment, victim=rng.choice(list(Victim))) for moment in last)]


def _within(rng: random.Random, place: Place) -> Moment:
    return Moment(place, rng.random(), rng.uniform(0.0, place.span_s))


@dataclass
class Outcome:
    """What became of one seed."""

    seed: int
    kills: Counter[str] = field(default_factory=Counter)
    documents: int = 0
    acknowledged: int = 0
    lost: int = 0
    wrong: int = 0
    refused: int = 0
    unanswered: int = 0
    """Writes whose outcome their writers do not know, or that waited for longer than they may."""
    on_target: int = 0
    longest_s: float = 0.0
    seconds: float = 0.0
    failure: str = ""

    @property
    def passed(self) -> bool:
        """Whether every promise held."""
        return not self.failure and self.lost == self.wrong == self.refused == self.unanswered == 0

    def line(self) -> str:
        """What is printed."""
        fell = ", ".join(f"{place} {count}" for place, count in self.kills.items())
        return (
            f"seed {self.seed}: {'passed' if self.passed else 'FAILED'}, {self.kills.total()} kills ({fell}), "
            f"{self.documents:,} documents, {self.acknowledged:,} acknowledged writes, {self.on_target:,} of them on "
            f"the target, {self.refused} refused, {self.unanswered} unanswered, longest wait {self.longest_s:.1f} s, "
            f"{self.lost} lost, {self.wrong} wrong, {self.seconds:.0f} s{self.failure and f': {self.failure}'}"
        )


def torture(servers: Servers, folder: Path, seed: int) -> Outcome:
    """Play one seed. Its output is in `folder`, `output.log`."""
    outcome, began = Outcome(seed), time.monotonic()
    with (folder / "output.log").open("ab") as log:
        try:
            with scene(servers, folder, Shop(seed, DOCUMENTS), log) as stage, play(stage, BY_ROUTER) as made:
                _migrate(made, moments(random.Random(seed)), outcome)
                _judge(stage, outcome)
        except (AssertionError, SceneError) as error:
            outcome.failure = str(error)
        except Exception as error:  # noqa: BLE001  one seed that fails must not hide what the others do
            outcome.failure = f"{type(error).__name__}: {error}"
            log.write(traceback.format_exc().encode())
    outcome.seconds = time.monotonic() - began
    return outcome


@dataclass
class Approver:
    """Approves whatever the run asks for, once each; and looks whether a fence stands."""

    made: Play
    client: pymongo.MongoClient[dict[str, Any]]
    answered: set[int] = field(default_factory=set)

    def look(self) -> None:
        """An attempt that was lifted is asked about anew."""
        state = self.made.state
        if state.asked is Group.CUTOVER and state.asking is not None and state.asking not in self.answered:
            self.answered.add(state.asking)
            self.made.session.control.request(run_name(self.made.session), RequestKind.APPROVE, state.asking)

    def fenced(self) -> bool:
        """By the source's record."""
        records = self.client[self.made.stage.source.name]["tranship_switches"]
        return records.find_one({"state": "fenced"}) is not None


def _migrate(made: Play, schedule: Sequence[Moment], outcome: Outcome) -> None:
    with (
        pymongo.MongoClient[dict[str, Any]](made.stage.source.uri) as client,
        made.stage.writers(RATE, max_s=WRITERS_S),
    ):
        approver = Approver(made, client)
        child = made.start()
        for moment in schedule:
            if child.poll() is not None:
                child = made.start()
            if fell := _kill(made, child, moment, approver):
                outcome.kills[fell] += 1
            if child.poll() == FINISHED or _is_over(made):
                break
        if not _is_over(made):
            _finish(made, child, approver)
        time.sleep(BEHIND_S)


def _is_over(made: Play) -> bool:
    """Whether the run has ended: one that was killed behind that only had to say so, and another one would begin."""
    return made.state.status is RunStatus.FINISHED


def _finish(made: Play, child: Process, approver: Approver) -> None:
    """See the run to its end."""

    def over() -> bool:
        approver.look()
        return child.poll() is not None

    if child.poll() not in (None, FINISHED):
        child = made.start()
    wait_until(over, FINISH_S, "it finished", child)
    if child.poll() != FINISHED:
        raise SceneError(f"it ended with exit code {child.returncode}")


def _kill(made: Play, child: Process, moment: Moment, approver: Approver) -> str:
    """Let a process come to a moment, and kill it, or its guard; returns where it was.

    Empty when a cutover was over before its moment came, or has no guard then.
    """
    seen = len(made.journal)
    made.wait(lambda: _reached(made, moment, seen, approver), f"it came to {moment}", child)
    try:
        code = child.wait(moment.delay_s)
    except subprocess.TimeoutExpired:
        return _strike(made, child, moment, seen)
    if code != FINISHED or moment.place not in ATTEMPT:
        raise SceneError(f"it ended with exit code {code} before it could be killed at {moment}")
    return ""


def _strike(made: Play, child: Process, moment: Moment, seen: int) -> str:
    killed = []
    if moment.victim is not Victim.RUN:
        guards = _guards(child.pid)
        for pid in guards:
            os.kill(pid, signal.SIGKILL)
        killed += [f"its guard in {_where(made, seen)}"] if guards else []
    if moment.victim is not Victim.GUARD:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        killed.append(_where(made, seen))
    return " with ".join(reversed(killed))


def _guards(parent: int) -> list[int]:
    """The guards that a process has started, and that live."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                words = (folder / "cmdline").read_bytes()
                ppid = (folder / "stat").read_text().rpartition(")")[2].split()[1]
                if int(ppid) == parent and GUARD in words:
                    found.append(int(folder.name))
    return found


def _reached(made: Play, moment: Moment, seen: int, approver: Approver) -> bool:
    """Whether the process that writes after the first `seen` entries has come to a moment's place, or is past it."""
    if moment.place is None:
        return True
    new = made.journal[seen:]
    state = made.state
    if moment.place in ATTEMPT:
        approver.look()
        begun = any(e.record.kind is Kind.INTENT and e.record.phase is PhaseName.FENCE for e in new)
        return state.switched or (begun and (moment.place is CUTOVER or approver.fenced()))
    if not new:
        return False
    if moment.place.name == WAITING:
        return state.asked is Group.CUTOVER
    phase = PhaseName(moment.place.name)
    begun = any(e.record.kind is Kind.INTENT and e.record.phase is phase for e in new)
    if phase is PhaseName.BACKFILL and begun:
        return _loaded(made) >= moment.part
    return begun or state.of(phase) is PhaseStatus.VERIFIED


def _loaded(made: Play) -> float:
    """The part of the chunks that is loaded; nothing as long as not all streams are planned."""
    streams = status_now(made.session).streams
    return sum(s.loaded for s in streams) / sum(s.chunks for s in streams) if all(s.chunks for s in streams) else 0.0


def _where(made: Play, seen: int) -> str:
    """Where a process was when it was killed."""
    state = made.state
    if len(made.journal) == seen:
        return TAKEOVER
    if state.asked is Group.CUTOVER:
        return WAITING
    return str(state.current or "the end")


def _judge(stage: Scene, outcome: Outcome) -> None:
    verdict = stage.judge(SCHEMA)
    outcome.documents, outcome.lost, outcome.wrong = verdict.documents, verdict.lost, verdict.wrong
    outcome.acknowledged = sum("ack" in record for record in read(stage.ledger))
    outcome.on_target = sum(record.get("on") == "target" for record in read(stage.ledger))
    said = stage.written[-1]
    outcome.refused, outcome.unanswered = said["failed"], said["unknown"] + said["waited"]
    outcome.longest_s = said["longest_s"]
    outcome.failure = "; ".join(verdict.examples)
    if not outcome.on_target:
        outcome.failure = outcome.failure or "nothing was written behind the cutover"


# --- the command --------------------------------------------------------------------------------------------------


def main() -> int:
    """Play the seeds, print a line for each and a summary; 0 if all passed."""
    parser = argparse.ArgumentParser(prog="torture", description=__doc__.splitlines()[0] if __doc__ else None)
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--seeds", type=int, default=5, help="so many new seeds")
    chosen.add_argument("--seed", type=int, action="append", help="this seed again; may be given several times")
    arguments = parser.parse_args()
    seeds = arguments.seed or [secrets.randbelow(2**31) for _ in range(arguments.seeds)]
    folder = Path(tempfile.mkdtemp(prefix="tranship-torture-"))
    failed = 0
    with sandbox(folder / "servers") as servers:
        for seed in seeds:
            own = folder / str(seed)
            own.mkdir()
            outcome = torture(servers, own, seed)
            failed += not outcome.passed
            _say(outcome.line() if outcome.passed else f"{outcome.line()}; see {own}")
    if not failed:
        shutil.rmtree(folder)
    _say(f"{len(seeds) - failed} passed, {failed} failed")
    return 1 if failed else 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
