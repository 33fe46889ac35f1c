"""The demo: a plan that `init` makes, a migration that survives two kills, one that is corrupted and takes itself back.

Nothing in it is staged for the demo: the runs are the `tranship run` that everybody uses, the judge is the oracle, and
the exit code is 0 only if every promise held.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from tranship.connectors.protocols import Feed, Scope
from tranship.orchestrator.demo import corruption, designed, fingerprint, targets
from tranship.orchestrator.demo.ledger import read
from tranship.orchestrator.demo.scene import (
    POLL_S,
    Scene,
    SceneError,
    run_name,
    scene,
    state_now,
    status_now,
    wait_until,
    writes_arrive,
)
from tranship.orchestrator.demo.shop import Shop
from tranship.orchestrator.engine.session import Session
from tranship.orchestrator.journal.records import Kind
from tranship.orchestrator.journal.state import PhaseStatus
from tranship.orchestrator.sandbox import Servers
from tranship.plans.strategies import Group, PhaseName

RATE = 300.0
CALM_RATE = 60.0
"""Of the second migration: a row that is written after it was corrupted is made equal again, and proves nothing."""
PHASE_LIMIT_S = 240.0
ROLLED_BACK = 4
FIRST_SCHEMA, SECOND_SCHEMA = "shop", "shop_again"


Say: TypeAlias = Callable[[str], None]


@dataclass(frozen=True)
class Size:
    """How big a demo is."""

    documents: int
    approval_wait_s: float
    corruptions: int
    chunk: str


FULL = Size(documents=40_000, approval_wait_s=20.0, corruptions=12, chunk="1MiB")
SHORT = Size(documents=4_000, approval_wait_s=5.0, corruptions=6, chunk="64KiB")
KILL_POLL_S = 0.01
MAX_LAG_S = 2.0
MAX_WAIT_S = 1.0
"""Of a write, by a cutover."""
BEHIND_S = 3.0
"""For how long the writers go on behind the cutover."""
MOST_RESIDUE = 0.02
"""Residue is for what is rare: more of it would mean that the plan does not fit the data."""
MOST_DESIGNED = 0.01
"""The same for the plan that `init` makes."""
RECENT_RECORDS = 6_000
"""Ledger records of about ten seconds: writes that may not have reached the target yet."""


@dataclass
class Result:
    """What `demo-result.json` holds."""

    documents: int = 0
    rows: int = 0
    seconds: float = 0.0
    rows_per_second: float = 0.0
    kills_survived: int = 0
    lost_writes: int = 0
    wrong_rows: int = 0
    failed_writes: int = 0
    longest_write_wait_s: float = 0.0
    max_lag_s_at_approval: float = 0.0
    corruptions_planted: int = 0
    corruptions_found: int = 0
    corruptions_healed: int = 0
    """Written by the shop before the comparison looked, hence equal again."""
    rolled_back: bool = False
    source_untouched: bool = False
    acknowledged_writes: int = 0
    residue_rows: int = 0
    residue_rows_expected: int = 0
    quarantined: int = 0
    designed_documents: int = 0
    designed_rows: int = 0
    designed_residue_share: float = 0.0
    hazards_left_out: list[str] = field(default_factory=list)
    seed: int = 0
    failures: list[str] = field(default_factory=list)

    def check(self, held: bool, promise: str) -> None:
        """Note a promise that was broken."""
        if not held:
            self.failures.append(promise)


def play(servers: Servers, folder: Path, size: Size, seed: int, say: Say) -> Result:
    """Play both migrations and return what was found; promises that did not hold are in `failures`."""
    result, began = Result(seed=seed), time.monotonic()
    say(f"seeding a shop of {size.documents:,} documents (seed {seed})")
    with scene(servers, folder, Shop(seed, size.documents), sys.stderr.fileno()) as stage:
        rng = random.Random(seed)
        result.hazards_left_out = sorted(stage.shop.without)
        if result.hazards_left_out:
            say(f"left out, because this server does not keep them: {'; '.join(result.hazards_left_out)}")
        _design(stage, result, say)
        _migrate(stage, size, rng, result, say)
        _corrupt(stage, size, rng, result, say)
        result.acknowledged_writes = sum("ack" in record for record in read(stage.ledger))
    result.seconds = round(time.monotonic() - began, 1)
    return result


def _limits(size: Size) -> dict[str, Any]:
    return {"chunk": size.chunk, "lease": "3s"}


# --- a plan that nobody wrote ------------------------------------------------------------------------------------


def _design(stage: Scene, result: Result, say: Say) -> None:
    say("init writes a plan for the shop; check, dry-run, run: carried out up to its approval, and taken back")
    made = designed.act(stage)
    result.designed_documents, result.designed_rows = made.documents, made.rows
    result.designed_residue_share = round(made.share, 5)
    say(f"{made.documents:,} documents = {made.rows:,} rows; {made.share:.2%} of all rows have a residue")
    result.check(made.code == 0, f"taking the designed plan back ended with exit code {made.code}")
    result.check(
        made.documents == made.rows, f"{made.documents} documents became {made.rows} rows by the designed plan"
    )
    result.check(made.divergences == 0, f"{made.divergences} rows differ by the designed plan")
    result.check(made.share < MOST_DESIGNED, f"{made.share:.2%} of the rows have residue by the designed plan")


# --- the first migration: two kills ------------------------------------------------------------------------------


def _migrate(stage: Scene, size: Size, rng: random.Random, result: Result, say: Say) -> None:
    plan = stage.write_plan(target={"schema": FIRST_SCHEMA}, limits=_limits(size), cutover={"fence": "router"})
    with stage.session(plan) as session:
        with stage.writers(RATE):
            say(f"8 writers at {RATE:.0f} writes/s; the migration starts, and is killed in backfill and in catch-up")
            for phase in (PhaseName.BACKFILL, PhaseName.CATCH_UP):
                _kill_in(stage, session, plan, phase, rng)
                result.kills_survived += 1
                say(f"killed with SIGKILL in {phase}")
            child = stage.run(plan)
            wait_until(lambda: _asks(session), PHASE_LIMIT_S, "it asked for approval", child)
            say(f"waiting {size.approval_wait_s:.0f} s at the approval, under writes")
            result.max_lag_s_at_approval = _watch_lag(session, size.approval_wait_s)
            say("approved; the writers go on, through the cutover and on PostgreSQL")
            stage.approve(session)
            code = child.wait(PHASE_LIMIT_S)
            time.sleep(BEHIND_S)
        said = stage.written[-1]
        failed = {how: said[how] for how in ("failed", "unknown", "waited")}
        result.failed_writes = sum(failed.values())
        result.longest_write_wait_s = said["longest_s"]
        say(f"switched: {result.failed_writes} writes failed, the longest waited {result.longest_write_wait_s:.3f} s")
        result.check(code == 0, f"the first migration ended with exit code {code}, not 0")
        verdict = stage.judge(FIRST_SCHEMA)
        result.documents, result.rows = verdict.documents, verdict.rows
        result.lost_writes, result.wrong_rows = verdict.lost, verdict.wrong
        result.rows_per_second = _backfill_rate(session)
        result.residue_rows, result.residue_rows_expected = verdict.residue, verdict.residue_expected
        result.quarantined = sum(stream.quarantined for stream in status_now(session).streams)
    result.check(result.failed_writes == 0, f"{result.failed_writes} writes failed: {failed}")
    result.check(result.longest_write_wait_s < MAX_WAIT_S, f"a write waited {result.longest_write_wait_s} s")
    written_there = sum(record.get("on") == "target" for record in read(stage.ledger))
    result.check(written_there > 0, "nothing was written to PostgreSQL behind the cutover")
    result.check(verdict.equal, f"not equal to the ledger: {verdict.examples}")
    result.check(result.quarantined == 0, f"{result.quarantined} documents are in quarantine")
    share = result.residue_rows / max(1, result.rows)
    result.check(share < MOST_RESIDUE, f"{share:.1%} of the rows have residue")
    result.check(result.max_lag_s_at_approval < MAX_LAG_S, f"the lag rose to {result.max_lag_s_at_approval} s")


def _kill_in(stage: Scene, session: Session, plan: Path, phase: PhaseName, rng: random.Random) -> None:
    """Run until a random moment of a phase, then SIGKILL."""
    child = stage.run(plan)
    wait_until(lambda: _doing(session, phase), PHASE_LIMIT_S, f"{phase} began", child)
    if phase is PhaseName.BACKFILL:
        _await_loaded(session, rng.uniform(0.1, 0.4), child)
    else:
        time.sleep(rng.uniform(0.0, 0.5))
    if not _doing(session, phase):
        raise SceneError(f"{phase} was over before it could be killed")
    stage.kill(child)


def _doing(session: Session, phase: PhaseName) -> bool:
    state = state_now(session)
    return state is not None and state.of(phase) is PhaseStatus.DOING


def _await_loaded(session: Session, part: float, child: subprocess.Popen[bytes]) -> None:
    """Wait until this part of the planned chunks is loaded, all streams having been planned.

    It looks often and asks for nothing else, because the rest of a small shop is loaded in less than a second.
    """
    run = run_name(session)
    scope = Scope(run, Feed.FORWARD, 0)
    with closing(session.connect.progress()) as progress:

        def reached() -> bool:
            chunks = [progress.chunks(scope, stream) for stream in session.streams]
            found = [chunk.state == "loaded" for planned in chunks for chunk in planned]
            return all(chunks) and sum(found) >= part * len(found)

        wait_until(reached, PHASE_LIMIT_S, "part of the chunks was loaded", child, poll_s=KILL_POLL_S)


def _asks(session: Session) -> bool:
    state = state_now(session)
    return state is not None and state.asked is Group.CUTOVER


def _watch_lag(session: Session, seconds: float) -> float:
    highest, end = 0.0, time.monotonic() + seconds
    while time.monotonic() < end:
        highest = max(highest, status_now(session).lag_s or 0.0)
        time.sleep(POLL_S)
    return round(highest, 3)


def _backfill_rate(session: Session) -> float:
    """Rows per second between the first intent and the end of the backfill, the kill and its recovery included."""
    entries = [e for e in session.control.journal(run_name(session)) if e.record.phase is PhaseName.BACKFILL]
    start = next(e.at for e in entries if e.record.kind is Kind.INTENT)
    end = next(e.at for e in entries if e.record.kind is Kind.DONE)
    rows = sum(stream.rows for stream in status_now(session).streams)
    return round(rows / (end - start), 1)


# --- the second migration: corrupted, and taken back -------------------------------------------------------------


def _corrupt(stage: Scene, size: Size, rng: random.Random, result: Result, say: Say) -> None:
    plan = stage.write_plan("shop-again", target={"schema": SECOND_SCHEMA}, limits=_limits(size))
    source_before = fingerprint.fingerprint(stage.source.uri, stage.source.name)
    target_before = targets.snapshot(stage.target_uri)
    with stage.session(plan) as session, stage.writers(CALM_RATE, "shop-again"):
        say("a second migration; rows of its target are corrupted behind its back")
        child = stage.run(plan)
        wait_until(lambda: _doing(session, PhaseName.CATCH_UP), PHASE_LIMIT_S, "catch-up began", child)
        written = len(list(read(stage.ledger)))
        moving = corruption.keys_written(read(stage.ledger), skip=max(0, written - RECENT_RECORDS))
        guarded = corruption.is_guarded(stage.target_uri, SECOND_SCHEMA)
        result.check(guarded, "the target took a write before it was the primary")
        planted = corruption.plant(stage.target_uri, (SECOND_SCHEMA, run_name(session)), size.corruptions, rng, moving)
        code = child.wait(PHASE_LIMIT_S)
        written_since = corruption.keys_written(read(stage.ledger), skip=written)
        result.source_untouched = writes_arrive(stage)
        status = status_now(session)
    found = {corruption.named(d) for d in status.divergences}
    finding = corruption.judge(planted, written_since, found)
    changes = fingerprint.differences(source_before, fingerprint.fingerprint(stage.source.uri, stage.source.name))
    leftovers = targets.differences(target_before, targets.snapshot(stage.target_uri))
    result.corruptions_planted, result.corruptions_found = len(planted), len(found & planted)
    result.corruptions_healed = len((planted & written_since) - found)
    result.rolled_back = code == ROLLED_BACK and status.status == "rolled back" and not leftovers
    result.source_untouched = result.source_untouched and not changes
    result.check(code == ROLLED_BACK, f"the corrupted migration ended with exit code {code}, not {ROLLED_BACK}")
    result.check(finding.broken is None, f"{finding.broken}; planted: {sorted(planted)}, named: {sorted(found)}")
    result.check(not leftovers, f"the target is not as before: {leftovers}")
    result.check(result.source_untouched, f"the source was touched: {changes}")
    healed = f", {result.corruptions_healed} of them healed by later writes" if result.corruptions_healed else ""
    say(f"exit code {code}: {len(planted)} rows planted{healed}, {len(found)} named; rolled back")


def write_result(result: Result, path: Path) -> None:
    """Write `demo-result.json`."""
    path.write_text(json.dumps(asdict(result), indent=2) + "\n", encoding="utf-8")
