"""Whole documents through `tranship run`: many of them with few that do not fit, awkward shapes, the largest there are.

Residue is bounded from both sides: the documents that were planted have it, and no other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from bson import Decimal128, Int64

from tests.bsonvalues import (
    ARRAY,
    BINARY,
    DOCUMENT,
    INT32,
    NOTHING,
    ONE,
    STRING,
    Value,
    binary,
    document,
    int32,
    nested,
)
from tests.integration.rawbytes import insert
from tests.integration.route import SCHEMA, STATE, Route, fresh_route
from tests.unit.mongodb.bson_strategies import pack_array, pack_string
from tranship.orchestrator.sandbox import Servers

FINISHED = 0

GOOD = 100_000
PLANTED: dict[int, Any] = {
    17: "17",
    4_000: 4.0,
    50_000: Int64(50_000),
    99_999: None,
    GOOD: True,
    GOOD + 1: Decimal128("1"),
}
"""What stands in an int32 field of these documents; the last two come after all the good ones."""

MOST = 2**24
"""The bytes of the largest document that MongoDB takes."""


def text(of: str) -> Value:
    return STRING, pack_string(of)


def numbered(number: int, *fields: tuple[str, Value]) -> bytes:
    return document(("_id", (INT32, int32(number))), *fields)


NAME, CITY, NUMBER = ("name", text("n")), ("city", text("Łódź")), ("number", ONE)
LINES = ("lines", (ARRAY, pack_array([(DOCUMENT, document(("sku", text("a"))))])))
DEEP: Value = (DOCUMENT, nested(100))


def sub(*fields: tuple[str, Value]) -> tuple[str, Value]:
    return "sub", (DOCUMENT, document(*fields))


SHAPES: dict[str, tuple[tuple[tuple[str, Value], ...], bool]] = {
    "the plan's order": ((NAME, sub(CITY, NUMBER), ("j", ONE), LINES), False),
    "nothing but the key": ((), True),
    "fields missing": ((NAME, LINES), False),
    "another order": ((sub(CITY, NUMBER), NAME, LINES), True),
    "another order inside": ((NAME, sub(NUMBER, CITY), LINES), True),
    "an empty subdocument": ((NAME, sub(), LINES), True),
    "null for a subdocument": ((NAME, ("sub", NOTHING), LINES), True),
    "a value for a subdocument": ((NAME, ("sub", ONE), LINES), True),
    "100 levels in a json column": ((NAME, ("j", DEEP), LINES), False),
    "100 levels in no column": ((NAME, LINES, ("other", DEEP)), True),
    "no element": ((NAME, ("lines", (ARRAY, pack_array([])))), False),
    "null for an array": ((NAME, ("lines", NOTHING)), True),
}
"""Fields, and whether they leave residue in the root's row. No rows stand for an empty array, so a missing one does."""


def largest(name: str, kind: int) -> bytes:
    """The largest document with a string (or binary) field of that name."""
    empty = binary(0, b"") if kind == BINARY else pack_string("")
    room = MOST - len(numbered(0, (name, (kind, empty))))
    return numbered(0, (name, (kind, binary(0, b"\xfe" * room) if kind == BINARY else pack_string("x" * room))))


LARGE = {"blob": BINARY, "words": STRING, "anything": STRING, "unnamed": BINARY}
STREAMS = {
    "many": {"key": {"_id": "int32"}, "columns": {"number": "int32", "name": "text"}},
    "shapes": {
        "key": {"_id": "int32"},
        "columns": {
            "name": "text",
            "city": {"path": "sub.city", "type": "text"},
            "number": {"path": "sub.number", "type": "int32"},
            "j": "json",
        },
        "children": {"shape_lines": {"path": "lines", "columns": {"sku": "text"}}},
    },
    **{
        f"large_{name}": {
            "key": {"_id": "int32"},
            # Each collection has one document, which fills one of them.
            "columns": {
                column: {"type": kind, "filled": "optional"}
                for column, kind in (("blob", "bytes"), ("words", "text"), ("anything", "json"))
            },
        }
        for name in LARGE
    },
}


@dataclass
class Moved:
    """What is there when the run is over."""

    route: Route
    rebuilt: dict[str, list[bytes]]

    def residue(self, table: str) -> list[int]:
        """The keys of the rows with residue."""
        found = self.route.query(f"select _id from {SCHEMA}.{table} where _residue is not null order by _id")
        return [number for (number,) in found]


@pytest.fixture(scope="module")
def moved(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moved]:
    """All of it, moved in one run."""
    with fresh_route(servers, tmp_path_factory.mktemp("documents")) as route:
        route.documents("many").insert_many(
            {"_id": n, "number": PLANTED.get(n, n), "name": str(n)} for n in range(GOOD + 2)
        )
        insert(route.documents("shapes"), [numbered(n, *fields) for n, (fields, _) in enumerate(SHAPES.values())])
        for name, kind in LARGE.items():
            insert(route.documents(f"large_{name}"), [largest(name, kind)])
        plan = route.plan(STREAMS, approval=[], limits={"workers": 2, "chunk": "1MiB"})
        run = route.start("run", plan)
        assert run.wait() == FINISHED, run.output
        yield Moved(route, route.rebuilt(plan))


@pytest.mark.parametrize("stream", STREAMS)
def test_all_documents_come_back_byte_for_byte(moved: Moved, stream: str) -> None:
    assert moved.rebuilt[stream] == moved.route.raw(stream)
    assert moved.route.query(f"select count(*) from {STATE}.quarantine") == [(0,)]


def test_just_the_planted_documents_have_residue(moved: Moved) -> None:
    assert moved.residue("many") == sorted(PLANTED)
    held = moved.route.query(f"select _id, number from {SCHEMA}.many where _residue is not null order by _id")
    assert held == [(n, 50_000 if n == 50_000 else None) for n in sorted(PLANTED)]
    assert moved.route.query(f"select count(*) from {SCHEMA}.many where number = _id and name = _id::text") == [
        (GOOD + 2 - len(PLANTED) + 1,)
    ]


def test_just_the_shapes_that_columns_cannot_tell_have_residue(moved: Moved) -> None:
    assert moved.residue("shapes") == [number for number, (_, residue) in enumerate(SHAPES.values()) if residue]
    assert moved.route.query(f"select count(*) from {SCHEMA}.shape_lines where _residue is not null") == [(0,)]


@pytest.mark.parametrize("name", LARGE)
def test_a_document_of_16_mb(moved: Moved, name: str) -> None:
    [raw] = moved.rebuilt[f"large_{name}"]
    assert len(raw) == MOST
    assert raw == largest(name, LARGE[name])
    assert moved.residue(f"large_{name}") == ([0] if name == "unnamed" else [])
