"""How near a dry run's projection comes to the real run: a sample of a tenth, then the run itself, again and again.

Prints the seconds that the dry run projected (with its range), those that the run took from its preflight to the end of
its reconcile, by the journal, and their ratio; and the median ratio of all rounds. Nobody writes meanwhile. Not a test:
compare the ratios of one machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.bench import LIMIT_S, SEED, keep_only_orders, seed_orders
from tranship.orchestrator.demo.scene import Scene, run_name, state_now, wait_until
from tranship.orchestrator.demo.shop import Shop
from tranship.orchestrator.engine.session import Session
from tranship.orchestrator.journal.records import Kind
from tranship.orchestrator.sandbox import sandbox
from tranship.orchestrator.sandbox.databases import fresh_source, fresh_target
from tranship.plans.strategies import PhaseName


def dry_run(stage: Scene, plan: Path, sample: str) -> dict[str, Any]:
    """A dry run's report, with the seconds that the command took."""
    file = stage.folder / "report.json"
    began = time.monotonic()
    command = [sys.executable, "-P", "-m", "tranship", "dry-run", str(plan), "--sample", sample, "-o", str(file)]
    done = subprocess.run(command, env=stage.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return {**report, "took": time.monotonic() - began}


def run_seconds(stage: Scene, plan: Path) -> float:
    """Seconds of a real run up to its cutover."""
    with stage.session(plan) as session:
        child = stage.run(plan)
        wait_until(lambda: _compared(session), LIMIT_S, "the reconcile ended", child)
        entries = session.control.journal(run_name(session))
        stage.kill(child)
    at = {(entry.record.kind, entry.record.phase): entry.at for entry in entries}
    return at[Kind.VERIFIED, PhaseName.RECONCILE] - at[Kind.INTENT, PhaseName.PREFLIGHT]


def _compared(session: Session) -> bool:
    state = state_now(session)
    return state is not None and state.of(PhaseName.RECONCILE) == "verified"


def measure(documents: int, sample: str) -> dict[str, Any]:
    """One round on servers of its own."""
    with (
        tempfile.TemporaryDirectory(prefix="tranship-bench-") as folder,
        sandbox(Path(folder) / "servers") as servers,
        fresh_source(servers) as source,
        fresh_target(servers) as target_uri,
    ):
        stage_folder = Path(folder) / "stage"
        stage_folder.mkdir()
        stage = Scene(source, target_uri, stage_folder, Shop(SEED, documents), sys.stderr.fileno())
        try:
            seed_orders(stage, documents)
            plan = stage.write_plan("bench")
            keep_only_orders(plan)
            report = dry_run(stage, plan, sample)
            took = run_seconds(stage, plan)
        finally:
            stage.close()
    about = report["projection"]
    return {
        "projected_s": about["seconds"],
        "range_s": [about["low"], about["high"]],
        "run_s": round(took, 1),
        "ratio": round(about["seconds"] / took, 2),
        "dry_run_s": round(report["took"], 1),
        "looked_at": report["coverage"],
        "phases": about["phases"],
    }


def main() -> int:
    """Run the bench and print its figures."""
    parser = argparse.ArgumentParser(prog="bench_rehearsal")
    parser.add_argument("--documents", type=int, default=300_000)
    parser.add_argument("--sample", default="10%")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    rounds = [measure(arguments.documents, arguments.sample) for _ in range(arguments.rounds)]
    figures = {
        "documents": arguments.documents,
        "load": round(os.getloadavg()[0], 2),
        "rounds": rounds,
        "median_ratio": statistics.median(one["ratio"] for one in rounds),
    }
    print(json.dumps(figures, indent=2))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
