"""What the crash tests are made of: a small shop on its way, and runs that die where a test says."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TypeAlias, cast

import psycopg

from tests.integration import forks
from tests.integration.forks import Forked
from tests.integration.route import STEADY_S
from tranship.orchestrator.demo.scene import Scene, run_name, state_now, wait_until
from tranship.orchestrator.engine.session import Session
from tranship.orchestrator.failpoints import VARIABLE
from tranship.orchestrator.journal.records import Entry, Kind
from tranship.orchestrator.journal.state import State
from tranship.plans.strategies import Group, PhaseName

LEASE_S = 2.0
"""The shortest that a plan may ask for: each kill costs the next run this much waiting."""

RATE = 60.0
LIMIT_S = 120.0
"""For anything that a run of a small shop does; a machine that is busy with other things takes its time."""

LIMITS = {"lease": f"{LEASE_S:g}s", "chunk": "64KiB"}
CUTOVER = {"quiet": "1500ms", "max_lag": "3s"}
SCHEMA = "shop"
FINISHED, ROLLED_BACK, LEASE, PAUSED = 0, 4, 6, 7


Process: TypeAlias = "subprocess.Popen[bytes] | Forked"


@dataclass(frozen=True)
class Play:
    """A scene with its plan, and the plan's control store."""

    stage: Scene
    plan: Path
    session: Session
    quick: bool = False
    """Whether commands begin as forks, with a short wait for a steady lag, and a dead one's lease is over at once:
    for tests whose question is neither of them."""
    forks: list[Forked] = field(default_factory=list)

    def start(self, command: str = "run", *, at: str = "", action: str = "kill") -> Process:
        """Start a process; `at` is the site (`name` or `name@n`) where it dies or stops."""
        words = f"{command} --yes" if command == "rollback" else command
        armed = {VARIABLE: f"{at}={action}"} if at else {}
        if not self.quick:
            return self.stage.run(self.plan, words, **armed)
        environment = {**self.stage.environment, **armed, forks.STEADY: STEADY_S}
        child = forks.start([*words.split(), str(self.plan)], environment, cast(IO[bytes], self.stage.stderr))
        self.forks.append(child)
        return child

    def kill_at(self, site: str, command: str = "run") -> None:
        """Start a process and see it die at a site. Nobody else kills it, so SIGKILL proves that it was reached."""
        child = self.start(command, at=site)
        self.assert_killed(child, site)

    def assert_killed(self, child: Process, site: str) -> None:
        """See a process die at its site, and the end of its lease."""
        assert ended(child, f"it reached {site}") == -signal.SIGKILL, f"ended before it reached {site}"
        if self.quick:
            with psycopg.connect(self.stage.target_uri) as connection:
                connection.execute("update tranship.lease set expires_at = clock_timestamp()")

    def finish(self, child: Process) -> None:
        """Approve the cutover and see the run to its end. The writers have stopped."""
        self.stage.approve(self.session)
        assert ended(child, "it finished") == FINISHED

    def assert_nothing_lost(self) -> None:
        """What the writers were told is what PostgreSQL has."""
        verdict = self.stage.judge(SCHEMA)
        assert (verdict.lost, verdict.wrong) == (0, 0), verdict.examples
        assert verdict.documents > 0

    # --- looking ------------------------------------------------------------------------------------------------------

    def wait(self, condition: Callable[[], bool], what: str, child: Process) -> None:
        """Wait for something while a process runs."""
        wait_until(condition, LIMIT_S, what, child)

    def wait_for_approval(self, child: Process) -> None:
        """Wait until the run asks for approval of its cutover."""
        self.wait(lambda: self.state.asked is Group.CUTOVER, "it asked for approval", child)

    def wait_for_intent(self, phase: PhaseName, child: Process) -> None:
        """Wait until a phase has begun."""

        def begun() -> bool:
            return any(e.record.kind is Kind.INTENT and e.record.phase is phase for e in self.journal)

        self.wait(begun, f"{phase} began", child)

    @property
    def state(self) -> State:
        """The newest run's folded state."""
        return state_now(self.session) or State()

    @property
    def journal(self) -> list[Entry]:
        """The newest run's journal; none before there is a run."""
        name = self.session.latest()
        return self.session.control.journal(name) if name is not None else []

    @property
    def run(self) -> str:
        """The newest run."""
        return run_name(self.session)

    def claims(self) -> list[int]:
        """The epochs that were noted in the journal so far."""
        return [entry.epoch for entry in self.journal if entry.record.kind is Kind.CLAIMED]


@contextmanager
def play(stage: Scene, cutover: Mapping[str, str] = CUTOVER) -> Iterator[Play]:
    """The plan of a stage's shop, and its control store."""
    plan = stage.write_plan(target={"schema": SCHEMA}, limits=LIMITS, cutover=dict(cutover))
    with stage.session(plan) as session:
        made = Play(stage, plan, session)
        try:
            yield made
        finally:
            for child in made.forks:
                if child.poll() is None:
                    os.killpg(child.pid, signal.SIGKILL)
                    child.wait()


def ended(child: Process, what: str) -> int:
    """A process's exit code."""
    try:
        return child.wait(LIMIT_S)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"waited {LIMIT_S:g} s until {what}") from None
