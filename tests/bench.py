"""Backfill through `tranship run` against the limit: what the two servers can do alone, in the same run.

The limit is a raw cursor scan of the source beside COPY of ready buffers into the target, two processes at once, with
no decoding in between; whatever tranship does between cursor and COPY can only be slower. Prints both rates and their
ratio as JSON. Not a test: no bar, machines differ; compare ratios, not seconds.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import psycopg
import pymongo
from bson.raw_bson import RawBSONDocument
from psycopg import sql

from tranship.orchestrator.demo.scene import Scene, run_name, state_now, status_now, wait_until
from tranship.orchestrator.demo.shop import Shop, order
from tranship.orchestrator.engine.session import Session
from tranship.orchestrator.journal.records import Kind
from tranship.orchestrator.sandbox import sandbox
from tranship.orchestrator.sandbox.databases import fresh_source, fresh_target
from tranship.plans.strategies import PhaseName

SEED = 1
BATCH = 2_000
LIMIT_S = 3_600.0
LIMIT_SCHEMA = "limit"


def seed_orders(stage: Scene, count: int) -> None:
    """Fill the source with orders only."""
    import random

    with pymongo.MongoClient[dict[str, object]](stage.source.uri) as client:
        orders = client[stage.source.name]["orders"]
        for start in range(0, count, BATCH):
            numbers = range(start, min(start + BATCH, count))
            orders.insert_many([order(random.Random(f"{SEED}/{n}"), n, stage.shop) for n in numbers], ordered=False)


# --- tranship ----------------------------------------------------------------------------------------------------


def backfill_seconds(stage: Scene, plan: Path) -> tuple[float, int]:
    """Seconds between the backfill's intent and its end, and the rows it loaded, by the journal of a real run."""
    with stage.session(plan) as session:
        child = stage.run(plan)
        wait_until(lambda: _backfilled(session), LIMIT_S, "the backfill ended", child)
        entries = [e for e in session.control.journal(run_name(session)) if e.record.phase is PhaseName.BACKFILL]
        rows = sum(s.rows for s in status_now(session).streams)
        stage.kill(child)
    return _at(entries, Kind.DONE) - _at(entries, Kind.INTENT), rows


def _backfilled(session: Session) -> bool:
    state = state_now(session)
    return state is not None and state.of(PhaseName.BACKFILL) == "verified"


def _at(entries: list, kind: Kind) -> float:  # type: ignore[type-arg]
    return float(next(e.at for e in entries if e.record.kind is kind))


# --- the limit ---------------------------------------------------------------------------------------------------


def copy_out(uri: str, schema: str) -> dict[str, list[bytes]]:
    """The loaded tables as ready binary COPY buffers."""
    with psycopg.connect(uri) as connection:
        names = connection.execute(
            "select relname from pg_class where relnamespace = %s::regnamespace and relkind = 'r'", (schema,)
        ).fetchall()
        buffers: dict[str, list[bytes]] = {}
        for (name,) in names:
            statement = sql.SQL("copy {} to stdout (format binary)").format(sql.Identifier(schema, name))
            with connection.cursor().copy(statement) as copy:
                buffers[name] = [bytes(part) for part in copy]
    return buffers


def empty_twins(uri: str, schema: str, names: list[str]) -> None:
    """Tables like the loaded ones, with their primary keys, empty. Foreign keys left out: the limit has no checks."""
    with psycopg.connect(uri) as connection:
        connection.execute(sql.SQL("create schema {}").format(sql.Identifier(LIMIT_SCHEMA)))
        for name in names:
            statement = sql.SQL("create table {} (like {} including indexes)")
            connection.execute(statement.format(sql.Identifier(LIMIT_SCHEMA, name), sql.Identifier(schema, name)))


def _scan(uri: str, database: str, pipe: Connection) -> None:
    with pymongo.MongoClient[RawBSONDocument](uri, document_class=RawBSONDocument) as client:
        client.admin.command("ping")
        pipe.send("ready")
        pipe.recv()
        began = time.monotonic()
        size = sum(len(batch) for batch in client[database]["orders"].find_raw_batches())
        pipe.send((time.monotonic() - began, size))


def _load(uri: str, buffers: dict[str, list[bytes]], pipe: Connection) -> None:
    with psycopg.connect(uri) as connection:
        pipe.send("ready")
        pipe.recv()
        began = time.monotonic()
        for name, parts in buffers.items():
            statement = sql.SQL("copy {} from stdin (format binary)").format(sql.Identifier(LIMIT_SCHEMA, name))
            with connection.cursor().copy(statement) as copy:
                for part in parts:
                    copy.write(part)
        connection.commit()
        pipe.send((time.monotonic() - began, sum(len(p) for parts in buffers.values() for p in parts)))


def limit_seconds(stage: Scene, schema: str) -> tuple[float, float]:
    """Seconds of scan and of COPY, run beside each other."""
    buffers = copy_out(stage.target_uri, schema)
    empty_twins(stage.target_uri, schema, list(buffers))
    context = multiprocessing.get_context("spawn")
    ends = [context.Pipe() for _ in range(2)]
    works = [
        context.Process(target=_scan, args=(stage.source.uri, stage.source.name, ends[0][1])),
        context.Process(target=_load, args=(stage.target_uri, buffers, ends[1][1])),
    ]
    for work in works:
        work.start()
    for near, _ in ends:
        near.recv()
    for near, _ in ends:
        near.send("go")
    scan, load = (near.recv()[0] for near, _ in ends)
    for work in works:
        work.join()
    return scan, load


def main() -> int:
    """Run the bench and print its figures."""
    parser = argparse.ArgumentParser(prog="bench")
    parser.add_argument("--documents", type=int, default=200_000)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="tranship-bench-") as folder,
        sandbox(Path(folder) / "servers") as servers,
        fresh_source(servers) as source,
        fresh_target(servers) as target_uri,
    ):
        stage_folder = Path(folder) / "stage"
        stage_folder.mkdir()
        stage = Scene(source, target_uri, stage_folder, Shop(SEED, arguments.documents), sys.stderr.fileno())
        try:
            figures = measure(stage, arguments.documents)
        finally:
            stage.close()
    print(json.dumps(figures, indent=2))  # noqa: T201
    return 0


def measure(stage: Scene, documents: int) -> dict[str, object]:
    """Seed, migrate, measure the limit."""
    seed_orders(stage, documents)
    plan = stage.write_plan("bench")
    keep_only_orders(plan)
    seconds, rows = backfill_seconds(stage, plan)
    scan, load = limit_seconds(stage, "shop")
    limit = max(scan, load)
    return {
        "documents": rows,
        "backfill_s": round(seconds, 2),
        "documents_per_second": round(rows / seconds),
        "limit_scan_s": round(scan, 2),
        "limit_copy_s": round(load, 2),
        "limit_documents_per_second": round(rows / limit),
        "ratio": round(limit / seconds, 3),
    }


def keep_only_orders(plan: Path) -> None:
    """Reduce the shop's plan to its orders with their child table."""
    import yaml

    declared = yaml.safe_load(plan.read_text(encoding="utf-8"))
    orders = declared["streams"]["orders"]
    del orders["columns"]["customer_id"]["references"]
    declared["streams"] = {"orders": orders}
    plan.write_text(yaml.safe_dump(declared, sort_keys=False), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
