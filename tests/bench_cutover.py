"""Cutovers under writers that go through a router: `python -m tests.bench_cutover`.

Each cutover is a run of its own on the same servers, under 1,000 offered writes per second of 16 threads in 4
processes. It counts only if at least 700 writes were acknowledged in the second before its longest wait. Waits are
measured outside of the router; the ledger is the oracle; that there was a cutover, the records on both servers say.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import pymongo

from tests.cutover.play import Cutover, Verdict, await_state, judge, stage, writers
from tranship.orchestrator.sandbox import Servers, sandbox
from tranship.plans.strategies import Group

PROCESSES, THREADS, RATE, KEYS = 4, 4, 1000.0, 40
ENOUGH = 700
SETTLE_S = 3.0
BEHIND_S = 2.0
BOUNDS_MS = (5, 10, 20, 50, 100, 200, 300, 500, 1000, 3000)


@dataclass
class Result:
    """What `cutover-result.json` holds."""

    cutovers: int = 0
    failed_writes: int = 0
    lost_writes: int = 0
    median_longest_wait_s: float = 0.0
    worst_wait_s: float = 0.0
    min_writes_per_s: float = 0.0
    not_counted: int = 0
    longest_waits_s: list[float] = field(default_factory=list)
    steps_ms: list[dict[str, float]] = field(default_factory=list)
    histogram_ms: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    failures: list[str] = field(default_factory=list)


def one(servers: Servers, folder: Path) -> tuple[Verdict, bool, dict[str, float]]:
    """One run up to some seconds behind its switch: the verdict, whether both records say that it switched, and how
    long its steps took, by the journal's times."""
    with stage(servers, folder) as made, made.session() as session:
        with writers(made, PROCESSES, THREADS, RATE, KEYS) as done:
            child = made.run()
            state = await_state(session, child, "it asks for approval", lambda state: state.asked is Group.CUTOVER)
            time.sleep(SETTLE_S)
            made.approve(session, state.run)
            await_state(session, child, "it has switched", lambda state: state.switched)
            time.sleep(BEHIND_S)
        child.wait(60)
        entries = [
            (f"{entry.record.kind} {entry.record.phase or ''}".strip(), entry.at)
            for entry in session.control.journal(state.run)
        ]
        return judge(made, done), _switched(made), _steps(entries)


def _steps(entries: list[tuple[str, float]]) -> dict[str, float]:
    names = [name for name, _ in entries]
    begun = len(names) - 1 - names[::-1].index("intent fence")
    return {later: round(1000 * (at - before)) for (_, before), (later, at) in pairwise(entries[begun:])}


def _switched(made: Cutover) -> bool:
    with pymongo.MongoClient[dict[str, Any]](made.source.uri) as client, psycopg.connect(made.target) as connection:
        source = client[made.source.name]["tranship_switches"].find_one() or {}
        target = connection.execute("SELECT id, state, version FROM tranship.route").fetchone()
        return target == (source.get("_id"), "primary", source.get("version")) and source["state"] == "handed_over"


def main() -> int:
    """Measure; 0 if no write failed or was lost and the waits are within their bounds."""
    parser = argparse.ArgumentParser(prog="bench_cutover")
    parser.add_argument("--cutovers", type=int, default=10)
    parser.add_argument("--json", type=Path, default=Path("cutover-result.json"))
    arguments = parser.parse_args()
    result, began = Result(), time.monotonic()
    rates, waits = list[float](), Counter[str]()
    folder = Path(tempfile.mkdtemp(prefix="tranship-cutover-"))
    with sandbox(folder / "servers") as servers:
        while result.cutovers < arguments.cutovers and result.not_counted < arguments.cutovers:
            verdict, switched, steps = one(servers, folder / str(result.cutovers + result.not_counted))
            say(
                f"{verdict.writes:,} writes, {len(verdict.failed)} failed, {len(verdict.lost)} lost, longest wait "
                f"{verdict.longest_s:.3f} s, {verdict.rate_before:.0f}/s before; {steps}"
            )
            result.failed_writes += len(verdict.failed)
            result.lost_writes += len(verdict.lost)
            result.failures += [*verdict.failed[:5], *verdict.lost[:5]]
            if not (switched and verdict.both == 2):
                result.failures.append("it did not switch under writers")
            if verdict.rate_before < ENOUGH:
                result.not_counted += 1
                continue
            result.cutovers += 1
            rates.append(verdict.rate_before)
            result.longest_waits_s.append(round(verdict.longest_s, 3))
            result.steps_ms.append(steps)
            waits.update(_bound(took) for took in verdict.waits)
    if result.longest_waits_s:
        result.median_longest_wait_s = round(statistics.median(result.longest_waits_s), 3)
        result.worst_wait_s = max(result.longest_waits_s)
        result.min_writes_per_s = min(rates)
    result.histogram_ms = {name: waits[name] for name in map(_name, (*BOUNDS_MS, None)) if waits[name]}
    result.seconds = round(time.monotonic() - began, 1)
    result.cpu_seconds = round(sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]), 1)
    arguments.json.write_text(json.dumps(vars(result), indent=2) + "\n")
    say(json.dumps({name: value for name, value in vars(result).items() if name != "steps_ms"}))
    good = result.cutovers == arguments.cutovers and not (result.failures or result.failed_writes or result.lost_writes)
    return 0 if good and result.median_longest_wait_s < 1 and result.worst_wait_s < 3 else 1


def _bound(took: float) -> str:
    return _name(next((bound for bound in BOUNDS_MS if took * 1000 < bound), None))


def _name(bound: int | None) -> str:
    return f"< {bound}" if bound is not None else f">= {BOUNDS_MS[-1]}"


def say(line: str) -> None:
    """To standard output at once."""
    sys.stdout.write(line + os.linesep)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
