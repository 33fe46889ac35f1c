"""What validators say of fields, by hand."""

from __future__ import annotations

from typing import Any

import pytest
from bson import Int64

from tranship.connectors.mongodb.validators import declared
from tranship.connectors.profile import Declared
from tranship.orchestrator.design.declared import declare
from tranship.orchestrator.design.proposals import Column, Table

SCHEMA = {
    "bsonType": "object",
    "description": "of the whole document: no column has it",
    "properties": {
        "status": {"enum": ["open", None, "shut", "open"], "description": " How it stands "},
        "size": {"enum": [1, Int64(2)]},
        "sum": {"properties": {"kind": {"enum": ["net"], "description": 5}}},
        "lines": {"items": {"properties": {"sku": {"description": "what was bought"}}}},
        "pairs": {"items": [{"enum": [1]}, {"enum": [2]}]},
    },
}


def options(**others: Any) -> dict[str, Any]:
    return {"validator": {"$jsonSchema": SCHEMA}, **others}


def test_by_path() -> None:
    assert declared(options()) == {
        ("status",): Declared(("open", "shut", "open"), " How it stands "),
        ("size",): Declared((1, 2)),
        ("sum", "kind"): Declared(("net",)),
        ("lines", "[]", "sku"): Declared((), "what was bought"),
    }
    assert declared({}) == declared({"validator": {"status": {"$in": ["open"]}}}) == {}


@pytest.mark.parametrize("way", [{"validationLevel": "moderate"}, {"validationAction": "warn"}])
def test_a_list_that_the_server_does_not_keep_to_is_none(way: dict[str, str]) -> None:
    assert declared(options(**way))["status",] == Declared((), " How it stands ")


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("text", ("open", "shut", "open"), ["open", "shut"]),
        ("text", ("open", 1), None),
        ("text", ("a\0b",), None),
        ("int32", (1, 2), [1, 2]),
        ("int32", (True,), None),
        ("int32", (1 << 31,), None),
        ("int64", (1 << 31,), [1 << 31]),
        ("decimal", (1,), None),
        ("json", ("open",), None),
    ],
)
def test_values_of_a_column(kind: str, values: tuple[Any, ...], expected: list[Any] | None) -> None:
    inner = Column(("v",), {"type": kind})
    table = Table((), 9, [Column(("other",), {"type": "text"})], [Table(("c",), 9, [inner])])
    declare(table, {("c", "[]", "v"): Declared(values, " text ")})
    assert inner.spec == {"type": kind} | ({"values": expected} if expected else {}) | {"comment": "text"}
    assert table.columns[0].spec == {"type": "text"}
