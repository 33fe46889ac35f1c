"""The oracle: what must be in both databases according to the seed and the ledger, and whether it is.

It reads PostgreSQL with SQL of its own and judges by `orchestrator.demo.expectations`, not by anything the migration
uses. It judges the source too: only if MongoDB equals the ledger does a verdict on PostgreSQL mean something.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import bson
import psycopg
import pymongo
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from psycopg import sql

from tranship.orchestrator.demo.expectations import EXPECTATIONS, Expectation, Table
from tranship.orchestrator.demo.ledger import Place, States, read, replay
from tranship.orchestrator.demo.shop import SHARES, Shop

Form: TypeAlias = Any
"""A document as one database should have it, in a form that can be compared; None for absent."""

EXAMPLES = 10
"""How many differences a comparison describes; it counts all of them."""

_UTC: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True)


@dataclass(frozen=True)
class Comparison:
    """What was found.

    `documents` and `rows` are how many were there. `lost`: documents whose last acknowledged state is not there,
    deletion included. `wrong`: documents that are there but should not be, or are not as they should be. One that is
    there in a wrong state counts as both.
    """

    documents: int
    rows: int
    lost: int
    wrong: int
    examples: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """Whether all is as it should be."""
        return self.lost == 0 and self.wrong == 0


def expected_states(shop: Shop, ledger: Path) -> States:
    """The possible states of every document after seeding and the ledger's writes."""
    return replay(shop.states(), read(ledger))


def compare_source(uri: str, database: str, states: States) -> Comparison:
    """Compare MongoDB with the ledger, byte by byte."""
    found: dict[Place, Form] = {}
    with pymongo.MongoClient[RawBSONDocument](uri, document_class=RawBSONDocument) as client:
        for name in SHARES:
            for document in client[database][name].find():
                found[Place(name, bson.encode({"_id": document["_id"]}))] = document.raw
    return compare(states, found, rows=len(found))


def compare_target(uri: str, schema: str, states: States) -> Comparison:
    """Compare PostgreSQL with what the expectations make of the ledger's documents."""
    allowed = {place: tuple(_form(place, state) for state in possible) for place, possible in states.items()}
    found: dict[Place, Form] = {}
    rows = 0
    with psycopg.connect(uri) as connection:
        # One snapshot for all tables: a root and its children are read by different statements.
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        for name, expectation in EXPECTATIONS.items():
            for key, form in _read_target(connection, schema, expectation):
                found[Place(name, key)] = form
                rows += 1 + len(form[1])
    return compare(allowed, found, rows)


def _form(place: Place, state: bytes | None) -> Form:
    return None if state is None else EXPECTATIONS[place.collection].form(bson.decode(state, _UTC))


def _read_target(
    connection: psycopg.Connection[Any], schema: str, expectation: Expectation
) -> Iterator[tuple[bytes, Form]]:
    """The documents of a collection as PostgreSQL has them, by key."""
    children: dict[Any, list[tuple[int, tuple[Any, ...]]]] = {}
    if expectation.child is not None:
        for key, ordinal, *values in _select(connection, schema, expectation.child, "_root_id, _ordinal"):
            children.setdefault(key, []).append((ordinal, expectation.child.found(tuple(values))))
    for key, *values in _select(connection, schema, expectation.root, "_id"):
        numbered = sorted(children.pop(key, []))
        # A gap in the ordinals is a difference like any other: it must not vanish in a list.
        gap = [ordinal for ordinal, _ in numbered] != list(range(len(numbered)))
        elements = tuple(numbered if gap else [row for _, row in numbered])
        yield _key(expectation, key), (expectation.root.found(tuple(values)), elements)
    for key, orphans in children.items():
        yield _key(expectation, key), (None, tuple(orphans))


def _select(connection: psycopg.Connection[Any], schema: str, table: Table, key: str) -> Iterator[tuple[Any, ...]]:
    statement = f"select {key}, {table.select()} from {{}}.{{}}"
    names = sql.Identifier(schema), sql.Identifier(table.name)
    with connection.cursor(name="oracle") as cursor:
        cursor.itersize = 5000
        yield from cursor.execute(sql.SQL(statement).format(*names))


def _key(expectation: Expectation, value: Any) -> bytes:
    return bson.encode({"_id": expectation.key(value)})


def compare(allowed: Mapping[Place, tuple[Form, ...]], found: Mapping[Place, Form], rows: int) -> Comparison:
    """Compare documents with their allowed forms; one that is not mentioned must not be there."""
    lost, wrong = 0, 0
    examples: list[str] = []
    for place in allowed.keys() | found.keys():
        expected, form = allowed.get(place, (None,)), found.get(place)
        if form in expected:
            continue
        lost += place in allowed
        wrong += form is not None
        if len(examples) < EXAMPLES:
            examples.append(_describe(place, expected, form))
    return Comparison(len(found), rows, lost, wrong, tuple(sorted(examples)))


def _describe(place: Place, expected: tuple[Form, ...], form: Form) -> str:
    key = bson.decode(place.key)["_id"]
    wanted = " or ".join("absent" if state is None else repr(state) for state in expected)
    return f"{place.collection} {key}: expected {wanted}, found {'absent' if form is None else repr(form)}"
