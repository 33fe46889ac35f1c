"""The demo's writers against a real MongoDB, and the oracle's verdicts on both databases."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import bson
import psycopg
import pymongo
import pytest

from tranship.orchestrator.demo.fingerprint import differences, fingerprint
from tranship.orchestrator.demo.ledger import States, place_of
from tranship.orchestrator.demo.oracle import Comparison, compare_source, compare_target, expected_states
from tranship.orchestrator.demo.shop import Shop, seed_shop
from tranship.orchestrator.sandbox.databases import SourceDatabase
from tranship.orchestrator.sandbox.readiness import wait_until

SIZE = Shop(seed=21, documents=2000)
WRITERS = "tranship.orchestrator.demo.writers"


@pytest.fixture
def shop(source_db: SourceDatabase) -> Shop:
    """What the server at hand can keep of it."""
    return SIZE.on(source_db.uri)


@pytest.fixture
def seeded(source_db: SourceDatabase, shop: Shop) -> SourceDatabase:
    seed_shop(source_db.uri, source_db.name, shop)
    return source_db


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


@pytest.fixture
def start_writers(seeded: SourceDatabase, shop: Shop, ledger: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Starts the writers' process; returns once they write."""
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        options = {"--uri-env": "SHOP_URI", "--database": seeded.name, "--ledger": str(ledger), "--rate": "300"}
        options |= {"--seed": str(shop.seed), "--documents": str(shop.documents), "--max-seconds": "60"}
        words = [word for option in options.items() for word in option]
        words += [f"--without={name}" for name in shop.without]
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", WRITERS, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"SHOP_URI": seeded.uri},
        )
        started.append(process)
        assert process.stdout is not None
        assert json.loads(process.stdout.readline()) == {"writing": True}
        return process

    yield start
    for process in started:
        with process:
            process.kill()


@pytest.fixture
def judge(seeded: SourceDatabase, shop: Shop, ledger: Path) -> Callable[[], Comparison]:
    return lambda: compare_source(seeded.uri, seeded.name, expected_states(shop, ledger))


def grown(ledger: Path, lines: int) -> Callable[[], bool]:
    return lambda: ledger.read_bytes().count(b"\n") >= lines


def test_what_the_writers_leave_equals_the_ledger(
    start_writers: Callable[[], subprocess.Popen[str]], judge: Callable[[], Comparison], ledger: Path
) -> None:
    writers = start_writers()
    started = time.monotonic()
    wait_until("the ledger to grow", grown(ledger, 2400), 30)
    rate = 1200 / (time.monotonic() - started)
    assert rate < 400  # paced; how much less depends on the machine
    assert writers.stdin is not None
    writers.stdin.close()
    assert writers.stdout is not None
    summary = json.loads(writers.stdout.readline())
    assert writers.wait(10) == 0
    assert summary["acknowledged"] >= 1200
    assert (summary["refused"], summary["unknown"]) == (0, 0)
    verdict = judge()
    assert verdict.equal, verdict.examples
    assert verdict.documents > 0


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_stopped_writers_go_on_from_their_ledger(
    how: signal.Signals,
    start_writers: Callable[[], subprocess.Popen[str]],
    judge: Callable[[], Comparison],
    ledger: Path,
) -> None:
    for round_ in (1, 2):
        writers = start_writers()
        wait_until("the ledger to grow", grown(ledger, round_ * 600), 30)
        writers.send_signal(how)
        assert writers.wait(10) == (0 if how is signal.SIGTERM else -signal.SIGKILL)
        verdict = judge()
        assert verdict.equal, verdict.examples


def test_the_oracle_sees_what_is_not_in_the_ledger(seeded: SourceDatabase, judge: Callable[[], Comparison]) -> None:
    with pymongo.MongoClient[dict[str, Any]](seeded.uri) as client:
        shop = client[seeded.name]
        ids = [document["_id"] for document in shop.orders.find({}, {"_id": 1}).limit(2)]
        shop.orders.update_one({"_id": ids[0]}, {"$set": {"status": "tampered"}})
        shop.orders.delete_one({"_id": ids[1]})
        shop.events.insert_one({"_id": "nobody wrote this"})
    verdict = judge()
    assert (verdict.lost, verdict.wrong) == (2, 2)


def test_the_fingerprint_sees_all_but_the_shops_documents(seeded: SourceDatabase) -> None:
    before = fingerprint(seeded.uri, seeded.name)
    with pymongo.MongoClient[dict[str, Any]](seeded.uri) as client:
        shop = client[seeded.name]
        shop.orders.insert_one({"_id": 1, "order_no": -1})
        assert differences(before, fingerprint(seeded.uri, seeded.name)) == []
        shop.left_behind.insert_one({})
        shop.orders.create_index("status")
        shop.drop_collection("products")
        shop.drop_collection("events")
        shop.create_collection("events")
    assert differences(before, fingerprint(seeded.uri, seeded.name)) == [
        "collection left_behind was left behind",
        "collection products is gone",
        "collection events: its uuid changed",
        "collection orders: its indexes changed",
    ]


TABLES = """
create schema shop;
create table shop.customers (_id char(24) primary key, email text, name text, street text, city text, zip text,
  created_at timestamptz, tags jsonb, _residue bytea);
create table shop.products (_id text primary key, title text, price numeric(12,2), stock int, attrs jsonb,
  _residue bytea);
create table shop.orders (_id char(24) primary key, order_no bigint, customer_id char(24), status text,
  total numeric(12,2), placed_at timestamptz, city text, _residue bytea);
create table shop.order_items (_root_id char(24), _ordinal int, sku text, qty int, price numeric(12,2),
  _residue bytea);
create table shop.events (_id bigint primary key, kind text, at timestamptz, amount float8, payload jsonb,
  _residue bytea);
insert into shop.customers values
  ('000000000000000000000001', 'a@b', 'Zoë', null, 'Łódź', null, '2024-05-01 12:00Z', '[["x"], []]', 'x');
insert into shop.products values ('sku-1', 'Ünit', 1.10, null, '{"b": 3.0, "a": [null]}', 'x');
insert into shop.orders values ('000000000000000000000002', 7, null, 'paid', 12.30, null, null);
insert into shop.order_items values
  ('000000000000000000000002', 0, 'sku-1', null, 1.10, 'x'), ('000000000000000000000002', 1, 'sku-2', 2, null, null);
insert into shop.events values (5, 'view', null, '-0', 'null');
"""

DOCUMENTS: dict[str, dict[str, Any]] = {
    "customers": {
        "_id": bson.ObjectId("000000000000000000000001"),
        "email": "a@b",
        "name": "Zoë",
        "address": {"city": "Łódź", "zip": 2100},
        "created_at": bson.DatetimeMS(1_714_564_800_000),
        "tags": [["x"], []],
    },
    "products": {
        "_id": "sku-1",
        "title": "Ünit",
        "price": bson.Decimal128("1.1"),
        "stock": "12",
        "attrs": {"a": [None], "b": 3.0},
    },
    "orders": {
        "_id": bson.ObjectId("000000000000000000000002"),
        "order_no": 7,
        "status": "paid",
        "total": bson.Decimal128("12.30"),
        "items": [{"sku": "sku-1", "qty": 1.5, "price": bson.Decimal128("1.10")}, {"sku": "sku-2", "qty": 2}],
    },
    "events": {"_id": bson.Int64(5), "kind": "view", "amount": -0.0, "payload": None},
}


@pytest.fixture
def migrated(target_db: str) -> str:
    with psycopg.connect(target_db) as connection:
        connection.execute(TABLES)
    return target_db


def expected() -> States:
    return {place_of(name, document): (bson.encode(document),) for name, document in DOCUMENTS.items()}


def test_rows_written_by_hand_are_right(migrated: str) -> None:
    verdict = compare_target(migrated, "shop", expected())
    assert verdict.equal, verdict.examples
    assert (verdict.documents, verdict.rows) == (4, 6)
    assert verdict.residue == verdict.residue_expected == 3


@pytest.mark.parametrize(
    ("damage", "lost", "wrong"),
    [
        ("update shop.customers set zip = '2100'", 1, 1),
        ("update shop.customers set tags = '[[\"x\"]]'", 1, 1),
        ("update shop.products set stock = 12", 1, 1),
        ('update shop.products set attrs = \'{"a": [null], "b": 3}\'', 1, 1),
        ("update shop.events set payload = null", 1, 1),
        ("update shop.events set amount = 0", 1, 1),
        ("update shop.order_items set _ordinal = 1 - _ordinal", 1, 1),
        ("update shop.order_items set _ordinal = 5 where _ordinal = 1", 1, 1),
        ("delete from shop.order_items where _ordinal = 1", 1, 1),
        ("update shop.customers set _residue = null", 1, 1),
        ("update shop.order_items set _residue = 'x' where _ordinal = 1", 1, 1),
        ("delete from shop.orders", 1, 1),  # its items are still there
        ("delete from shop.order_items; delete from shop.orders", 1, 0),
        ("insert into shop.events values (6)", 0, 1),
        ("insert into shop.order_items values ('000000000000000000000009', 0)", 0, 1),
    ],
)
def test_every_damage_is_seen(migrated: str, damage: str, lost: int, wrong: int) -> None:
    with psycopg.connect(migrated) as connection:
        connection.execute(damage)  # type: ignore[call-overload]
    verdict = compare_target(migrated, "shop", expected())
    assert (verdict.lost, verdict.wrong) == (lost, wrong), verdict.examples


def test_a_deleted_document_must_be_gone(migrated: str) -> None:
    states = {place: (None,) if place.collection == "events" else known for place, known in expected().items()}
    verdict = compare_target(migrated, "shop", states)
    assert replace(verdict, examples=()) == Comparison(
        4, 6, lost=1, wrong=1, examples=(), residue=3, residue_expected=3
    )
