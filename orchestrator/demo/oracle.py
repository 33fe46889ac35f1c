"""The oracle: what must be in both databases according to the seed and the ledger, and whether it is.

It reads PostgreSQL with SQL of its own and judges by `orchestrator.demo.expectations`, not by anything the migration
uses. It judges the source too: only if MongoDB equals the ledger does a verdict on PostgreSQL mean something.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import bson
import psycopg
import pymongo
from bson.raw_bson import RawBSONDocument
from psycopg import sql

from tranship.orchestrator.demo import exactness
from tranship.orchestrator.demo.expectations import EXPECTATIONS, Expectation, Table
from tranship.orchestrator.demo.ledger import Place, States, decode, of_source, read, replay
from tranship.orchestrator.demo.shop import SHARES, Shop

Form: TypeAlias = Any
"""A document as one database should have it, in a form that can be compared; None for absent."""

EXAMPLES = 10
"""How many differences a comparison describes; it counts all of them."""


@dataclass(frozen=True)
class Comparison:
    """What was found.

    `documents` and `rows` are how many were there. `lost`: documents whose last acknowledged state is not there,
    deletion included. `wrong`: documents that are there but should not be, or are not as they should be. One that is
    there in a wrong state counts as both. `residue` and `residue_expected`: rows with residue; a row that has one where
    none belongs, or none where one does, is wrong.
    """

    documents: int
    rows: int
    lost: int
    wrong: int
    examples: tuple[str, ...]
    residue: int = 0
    residue_expected: int = 0

    @property
    def equal(self) -> bool:
        """Whether all is as it should be."""
        return self.lost == 0 and self.wrong == 0


def expected_states(shop: Shop, ledger: Path) -> States:
    """The possible states of every document after seeding and the ledger's writes, wherever they went."""
    return replay(shop.states(), read(ledger))


def expected_on_source(shop: Shop, ledger: Path) -> States:
    """The same on the source, where writes came until the applications went on elsewhere."""
    return replay(shop.states(), of_source(read(ledger)))


def compare_source(uri: str, database: str, states: States) -> Comparison:
    """Compare MongoDB with the ledger, byte by byte."""
    found: dict[Place, Form] = {}
    with pymongo.MongoClient[RawBSONDocument](
        uri, document_class=RawBSONDocument, datetime_conversion="DATETIME_AUTO"
    ) as client:
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
    expected = (form if (form := found.get(place)) in forms else forms[0] for place, forms in allowed.items())
    return replace(
        compare(allowed, found, rows),
        residue=sum(map(_with_residue, found.values())),
        residue_expected=sum(map(_with_residue, expected)),
    )


def _form(place: Place, state: bytes | None) -> Form:
    """The root row and the rows of the elements, each as its columns and whether it has residue."""
    if state is None:
        return None
    document, expectation = decode(state), EXPECTATIONS[place.collection]
    columns, children = expectation.form(document)
    flags = map(exactness.element, document[expectation.field] if children else ())
    return (columns, exactness.root(place.collection, state, document)), tuple(zip(children, flags, strict=True))


def _with_residue(form: Form) -> int:
    """How many of a document's rows have residue."""
    if form is None:
        return 0
    root, children = form
    return sum(row[1] for row in ([root] if root else []) + [row for row in children if isinstance(row[1], bool)])


def _read_target(
    connection: psycopg.Connection[Any], schema: str, expectation: Expectation
) -> Iterator[tuple[bytes, Form]]:
    """The documents of a collection as PostgreSQL has them, by key."""
    children: dict[Any, list[tuple[int, tuple[Any, ...]]]] = {}
    if expectation.child is not None:
        for key, ordinal, residue, *values in _select(connection, schema, expectation.child, "_root_id, _ordinal"):
            children.setdefault(key, []).append((ordinal, (expectation.child.found(tuple(values)), residue)))
    for key, residue, *values in _select(connection, schema, expectation.root, "_id"):
        numbered = sorted(children.pop(key, []))
        # A gap in the ordinals is a difference like any other: it must not vanish in a list.
        gap = [ordinal for ordinal, _ in numbered] != list(range(len(numbered)))
        elements = tuple(numbered if gap else [row for _, row in numbered])
        yield _key(expectation, key), ((expectation.root.found(tuple(values)), residue), elements)
    for key, orphans in children.items():
        yield _key(expectation, key), (None, tuple(orphans))


def _select(connection: psycopg.Connection[Any], schema: str, table: Table, key: str) -> Iterator[tuple[Any, ...]]:
    statement = f"select {key}, _residue is not null, {table.select()} from {{}}.{{}}"
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
