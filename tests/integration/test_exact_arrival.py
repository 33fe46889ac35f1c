"""Every hard value through `tranship run`: PostgreSQL holds what docs/fidelity.md says, and the documents come back.

One run moves all lines of the table. Half of the documents are there when it starts, so that the backfill loads them;
the others come while it waits for its approval, so that the applier does. The judges are the bytes that were inserted,
and plain SQL.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest
from pymongo.errors import BulkWriteError

from tests.bsonvalues import VALUES
from tests.fidelity_table import COLUMNS, KEYS, MISSING, QUARANTINE, RESIDUE, Line, lines
from tests.integration.rawbytes import insert, not_kept
from tests.integration.route import SCHEMA, STATE, Route, fresh_route
from tranship.orchestrator.sandbox import Servers

FINISHED = 0
DUPLICATE = 11000
"""MongoDB's code for an `_id` that is there already."""

AGAIN = 1_000_000
"""Added to the number of a document that comes a second time."""

Place = tuple[str, int]
"""A table, and a document's number in it."""


@dataclass
class Moved:
    """What was sent, and what arrived. `left_out`: what the source server cannot keep, and why."""

    left_out: dict[tuple[str, str, bool], str] = field(default_factory=dict)
    sent: dict[Place, tuple[Line, bytes]] = field(default_factory=dict)
    held: dict[Place, tuple[str | None, bool]] = field(default_factory=dict)
    documents: dict[str, list[bytes]] = field(default_factory=dict)
    source: dict[str, list[bytes]] = field(default_factory=dict)
    aside: dict[str, list[bytes]] = field(default_factory=dict)


@pytest.fixture(scope="module")
def moved(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moved]:
    """All lines of the table, moved in one run."""
    with fresh_route(servers, tmp_path_factory.mktemp("exact")) as route:
        yield _move(route)


def _move(route: Route) -> Moved:
    moved = Moved()
    later = _seed(route, moved)
    streams = {table: _stream(table) for table, _ in moved.sent}
    plan = route.plan(streams, cutover={"max_quarantined": len(moved.sent)})
    run = route.run_to_approval(plan)
    _insert(route, moved, later)
    route.tranship("approve", plan)
    assert run.wait() == FINISHED, run.output
    for table in streams:
        moved.source[table] = route.raw(table)
        aside = route.query(f"select document from {STATE}.quarantine where stream = %s", table)
        moved.aside[table] = [bytes(document) for (document,) in aside]
    moved.documents = route.rebuilt(plan)
    moved.held = {place: found for column in (*COLUMNS, *KEYS) for place, found in _held(route, moved, column)}
    return moved


def _held(route: Route, moved: Moved, column: str) -> Iterator[tuple[Place, tuple[str | None, bool]]]:
    """What PostgreSQL prints of a column, and whether the row has residue, for the documents sent for this column."""
    places = {place for place, (line, _) in moved.sent.items() if line.column == column}
    for table in {table for table, _ in places}:
        names = ("n", "_id") if column in KEYS else ("_id", f'"{column.replace(" ", "_")}"')
        query = f"select {names[0]}, {names[1]}::text, _residue is not null from {SCHEMA}.{table}"
        for number, text, residue in route.query(query):
            if (table, number) in places:
                yield (table, number), (text, residue)


def _stream(table: str) -> dict[str, Any]:
    """The stream of a table: `{_id: number, column: value}`, or `{_id: the value, n: number}`."""
    for column, declared in KEYS.items():
        if table.startswith(_table(column)):
            return {"key": {"_id": declared}, "columns": {"n": "int32"}}
    columns = {column.replace(" ", "_"): declared for column, declared in COLUMNS.items() if _table(column) == table}
    return {"key": {"_id": "int32"}, "columns": columns}


def _table(column: str) -> str:
    """One table for all columns in which a missing field is just NULL; others get one of their own."""
    return "plain" if column in COLUMNS and "(null)" not in column else re.sub(r"\W+", "_", column)


def _seed(route: Route, moved: Moved) -> list[Place]:
    """Insert what the server keeps; the places of the documents that are to come later."""
    now: list[Place] = []
    later: list[Place] = []
    for number, line in enumerate(lines()):
        what = (line.kind, line.name, line.is_key)
        if what not in moved.left_out:
            moved.left_out[what] = not_kept(route.documents("scratch"), line.document(number), line.identity(number))
        if moved.left_out[what]:
            continue
        if line.is_key:
            place = _insert_apart(route, line, line.document(number)), number
            moved.sent[place] = line, line.document(number)
            later += [place] * (number % 2)
        else:
            first, second = (_table(line.column), number), (_table(line.column), number + AGAIN)
            moved.sent |= {place: (line, line.document(place[1])) for place in (first, second)}
            now.append(first)
            later.append(second)
    for name, number in later:
        if number < AGAIN:
            route.documents(name).delete_one({"n": number})
    _insert(route, moved, now)
    return later


def _insert(route: Route, moved: Moved, places: list[Place]) -> None:
    for name in {table for table, _ in places}:
        insert(route.documents(name), [moved.sent[place][1] for place in places if place[0] == name])


def _insert_apart(route: Route, line: Line, document: bytes) -> str:
    """Insert a document into the first collection of its column that has no equal `_id`."""
    for place in count():
        name = f"{_table(line.column)}_{place}"
        try:
            insert(route.documents(name), [document])
        except BulkWriteError as error:
            if error.details["writeErrors"][0]["code"] != DUPLICATE:
                raise
            continue
        return name
    raise AssertionError


NAMES = [(MISSING, MISSING), *((kind, name) for kind in VALUES for name in VALUES[kind])]
AS_KEY = list(dict.fromkeys((line.kind, line.name) for line in lines() if line.is_key))


@pytest.mark.parametrize(("kind", "name"), NAMES)
def test_a_value_arrives_as_the_table_says(moved: Moved, kind: str, name: str) -> None:
    places = _places(moved, kind, name, as_key=False)
    assert len(places) == 2 * len(COLUMNS), "in each column twice, by backfill and by applier"
    _check(moved, places)


@pytest.mark.parametrize(("kind", "name"), AS_KEY)
def test_an_id_arrives_as_the_table_says(moved: Moved, kind: str, name: str) -> None:
    _check(moved, _places(moved, kind, name, as_key=True))


def _places(moved: Moved, kind: str, name: str, *, as_key: bool) -> list[Place]:
    if reason := moved.left_out[kind, name, as_key]:
        pytest.skip(f"{kind} {name}: {reason}")
    found = [
        place for place, (line, _) in moved.sent.items() if (line.kind, line.name, line.is_key) == (kind, name, as_key)
    ]
    assert found
    return found


def _check(moved: Moved, places: list[Place]) -> None:
    for place in places:
        line, document = moved.sent[place]
        table = place[0]
        assert document in moved.source[table], f"{line.label}: the source has it as it was sent"
        if line.outcome == QUARANTINE:
            assert (document in moved.aside[table], place in moved.held) == (True, False), line.label
        else:
            assert moved.held[place] == (line.held, line.outcome == RESIDUE), line.label
            assert document in moved.documents[table], f"{line.label}: it comes back byte for byte"


def test_source_is_target_and_quarantine(moved: Moved) -> None:
    for name, documents in moved.source.items():
        assert sorted(documents) == sorted(moved.documents[name] + moved.aside[name]), name
    assert sum(map(len, moved.source.values())) == len(moved.sent)


def test_just_the_expected_rows_have_residue(moved: Moved) -> None:
    expected = {place for place, (line, _) in moved.sent.items() if line.outcome == RESIDUE}
    assert {place for place, (_, residue) in moved.held.items() if residue} == expected
