"""What is asked again and again while a run works, at 10^6 dirty keys and 10^5 chunks: milliseconds, warm.

`python -m tests.bench_polling`. Prints the 50th and 95th percentile of each question and the machine as JSON. Not a
test: machines differ; what it guards is that no question grows with the backlog (the bar was 50 ms on two cores).
"""

from __future__ import annotations

import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

import psycopg

from tranship.connectors.postgresql import connect_progress
from tranship.connectors.postgresql.connections import engine
from tranship.connectors.postgresql.state import bump_epoch, ensure_epoch, install_state, state_tables
from tranship.connectors.protocols import Feed, Position, Scope
from tranship.orchestrator.sandbox import sandbox
from tranship.orchestrator.sandbox.databases import fresh_target
from tranship.plans.streams import Column, Endpoint, LogicalType, Stream

DIRTY, CHUNKS, LANES = 1_000_000, 100_000, 4
TIMES = 60

STREAM = Stream("things", "things", "things", (Column("_id", ("_id",), LogicalType.INT64, "int64"),), ())

FILL = f"""
INSERT INTO tranship.chunk (run, feed, stream, number, lower, upper, state, attempt, rows)
SELECT 'r', 'forward', 'things', n, CASE WHEN n > 0 THEN int8send(n) END,
CASE WHEN n < {CHUNKS - 1} THEN int8send(n + 1) END,
'loaded', 1, 100 FROM generate_series(0, {CHUNKS - 1}) AS n;
INSERT INTO tranship.dirty (run, feed, stream, digest, key, lane, generation)
SELECT 'r', 'forward', 'things', sha256(int8send(n)), int8send(n), n % {LANES}, 1 FROM generate_series(1, {DIRTY}) AS n;
ANALYZE tranship.chunk;
ANALYZE tranship.dirty
"""


def measured(question: Callable[[], object]) -> dict[str, float]:
    """Milliseconds of one question."""
    taken = []
    for _ in range(TIMES + 5):
        began = time.perf_counter()
        question()
        taken.append(1000 * (time.perf_counter() - began))
    taken = taken[5:]
    return {"p50_ms": round(statistics.median(taken), 2), "p95_ms": round(statistics.quantiles(taken, n=20)[-1], 2)}


def main() -> int:
    """Fill a state schema and ask."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tranship-bench-")))
        servers = stack.enter_context(sandbox(folder))
        uri = stack.enter_context(fresh_target(servers))
        endpoint = Endpoint("postgresql", uri, schema="moved", state_schema="tranship")
        install_state(endpoint)
        made = engine(endpoint)
        stack.callback(made.dispose)
        tables = state_tables("tranship")
        with made.begin() as connection:
            ensure_epoch(connection, tables, "r")
            scope = Scope("r", Feed.FORWARD, bump_epoch(connection, tables, "r"))
        progress = stack.enter_context(closing(connect_progress(endpoint, [STREAM], hook=lambda _: None)))
        progress.start_capture(scope, Position(b"x"), LANES)
        with psycopg.connect(uri, autocommit=True) as session:
            session.execute(FILL.encode())
            session.execute("VACUUM")
        questions: dict[str, Callable[[], object]] = {
            "take": lambda: progress.take(scope, 1, 500),
            "backlog": lambda: progress.backlog(scope),
            "parked": lambda: progress.parked(scope),
            "totals": lambda: progress.totals(scope),
            "quarantine": lambda: progress.quarantine_count(scope),
        }
        found = {name: measured(question) for name, question in questions.items()}
    machine = f"{platform.machine()}, {platform.system()} {platform.release()}"
    sys.stdout.write(json.dumps({"dirty": DIRTY, "chunks": CHUNKS, "machine": machine, **found}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
