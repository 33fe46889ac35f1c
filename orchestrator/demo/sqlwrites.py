"""What the writers do once the shop lives in PostgreSQL: statements of its applications, written by hand.

They change what a column says alone, so that the document that the row stands for is known: a value of the type that
the plan expects becomes another one of it, a document is deleted, a plain one is inserted.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import psycopg
from bson import ObjectId
from psycopg import sql
from psycopg.types.json import Jsonb

from tranship.orchestrator.demo import shop
from tranship.orchestrator.demo.holdings import owner
from tranship.orchestrator.demo.ledger import Place, place_of
from tranship.orchestrator.demo.operations import Desk, Document

Execute: TypeAlias = Callable[[psycopg.Connection[Any], str], int]
"""Sends the statement to the tables of a schema; returns how many root rows it met: always 1."""


@dataclass(frozen=True)
class SqlWrite:
    """One write: where, the whole document that the row stands for after it (None: deleted), how to send it."""

    place: Place
    after: Document | None
    send: Execute


def set_column(desk: Desk) -> Iterator[SqlWrite]:
    """Set a column whose field is there, with a value of the column's type."""
    collection, field, kind, value = desk.rng.choice(
        [
            ("customers", "name", str, f"Renamed {desk.rng.randrange(1000)} in SQL"),
            ("products", "stock", int, desk.rng.randrange(1000)),
            ("orders", "status", str, shop.status(desk.rng)),
            ("events", "amount", float, desk.rng.randrange(1000) / 8),
        ]
    )
    place = desk.holdings.pick_any(desk.rng, [collection])
    document = desk.holdings.get(place) if place is not None else None
    if place is None or document is None or type(document.get(field)) is not kind:
        return
    if "\0" in str(document[field]):  # its column is NULL, and the residue that has it stays: not what is asked here
        return
    statement = sql.SQL("UPDATE {table} SET {column} = %s WHERE _id = %s")
    yield _write(place, {**document, field: value}, statement, (value, _key(document)), column=field)


def delete_row(desk: Desk) -> Iterator[SqlWrite]:
    """Delete an event."""
    place = desk.holdings.pick(desk.rng, "events")
    document = desk.holdings.get(place) if place is not None else None
    if place is None or document is None or desk.holdings.is_hot(place):
        return
    yield _write(place, None, sql.SQL("DELETE FROM {table} WHERE _id = %s"), (_key(document),))


def insert_row(desk: Desk) -> Iterator[SqlWrite]:
    """Insert a new customer whose key falls to this thread."""
    while True:
        document = shop.customer(desk.rng, desk.fresh_number(), desk.shop)
        place = place_of("customers", document)
        if owner(place, desk.threads) == desk.thread:
            break
    statement = sql.SQL(
        "INSERT INTO {table} (_id, email, name, street, city, zip, created_at, tags) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"
    )
    address = document["address"]
    values = (_key(document), document["email"], document["name"], *(address[part] for part in _ADDRESS))
    yield _write(place, document, statement, (*values, document["created_at"], Jsonb(document["tags"])))


_ADDRESS = ("street", "city", "zip")

OPERATIONS: dict[Callable[[Desk], Iterator[SqlWrite]], int] = {set_column: 8, delete_row: 1, insert_row: 1}
"""How often each is done, relative to the others."""


def choose(rng: random.Random) -> Callable[[Desk], Iterator[SqlWrite]]:
    """A random operation."""
    return rng.choices(list(OPERATIONS), list(OPERATIONS.values()))[0]


def _key(document: Document) -> Any:
    key = document["_id"]
    return str(key) if isinstance(key, ObjectId) else key


def _write(
    place: Place, after: Document | None, statement: sql.SQL, values: tuple[Any, ...], column: str = ""
) -> SqlWrite:
    def send(connection: psycopg.Connection[Any], schema: str) -> int:
        names = {"table": sql.Identifier(schema, place.collection), "column": sql.Identifier(column or "_id")}
        return connection.execute(statement.format(**names), values).rowcount

    return SqlWrite(place, after, send)
