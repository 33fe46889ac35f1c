"""A dry run's report with something in each of its parts, and what people may have called things."""

from __future__ import annotations

from tranship.connectors.protocols import Tally
from tranship.orchestrator.rehearsal.projection import Projection
from tranship.orchestrator.rehearsal.report import VERSION, LeftOut, Looked, PhaseTime, Report
from tranship.orchestrator.reports.checked import CheckFinding
from tranship.orchestrator.reports.fit import Kept, StreamFit
from tranship.orchestrator.reports.status import StreamStatus

EVIL = '<script>alert("x")</script><img src="http://127.0.0.1:18099/evil.png">'


def full() -> Report:
    return Report(
        version=VERSION,
        taken_at="2026-11-28T00:00:00Z",
        plan="shop",
        source="mongodb:1/shop",
        target="2/postgres",
        meaning="ab" * 32,
        thresholds={"limits.misfit": 0.01},
        may_start=False,
        against=(f"stream {EVIL} was left out",),
        findings=(
            CheckFinding("data.off_type", "error", f"values at {EVIL}", "mend them", "orders"),
            CheckFinding("source.ttl", "info", "they expire", "", "orders"),
        ),
        ddl=f"CREATE TABLE x (); -- {EVIL}",
        coverage="a sample, 5% of the bytes",
        sample=(Looked("orders", 10, 200, 4_000_000, 1 << 30),),
        left_out=(LeftOut("odd", "source.view: a view"),),
        phases=(PhaseTime("backfill", 12.5, 0.5, True), PhaseTime("reconcile", 8.0, None)),
        seconds=20.5,
        projection=Projection(410.0, 300.0, 600.0, {"backfill": 250.0, "reconcile": 160.0}),
        streams=(
            StreamStatus(
                "orders",
                10,
                10,
                200_000,
                20_007,
                Tally(220_007, 200_000, 20_007),
                StreamFit(kept=(Kept(EVIL, "type string", "misfit", 12),)),
            ),
            StreamStatus("empty", 1, 1, 0, 0, Tally(0, 0, 0)),
        ),
        dangling={"orders": {"customer": 3}},
        cutover={"drained_s": 0.5, "compared_s": 1.5, "compared": 10, "moving": 0, "divergences": 0},
        target_bytes=5 << 30,
        history_s=86_400.0,
        bounds=("of a sample only so much is known",),
        not_rehearsed=("approvals: nobody is asked",),
        left=("shop__dry_1: in use",),
    )
