"""What indexes of MongoDB become, and what is said where they become something else or nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from bson import Decimal128, Int64, ObjectId, Regex

from tranship.connectors.mongodb.partials import UnclearError, asked
from tranship.connectors.profile import IndexSeen
from tranship.orchestrator.design.indexes import translate
from tranship.orchestrator.design.proposals import Column, Stream, Table


def translated(index: IndexSeen, **parts: Any) -> Stream:
    kinds = (("a", "text"), ("b", "int32"), ("j", "json"), ("t", "timestamp"), ("d", "decimal"), ("o", "objectid"))
    columns = [Column((name,), {"type": kind}, name=name) for name, kind in kinds]
    columns.append(Column(("off",), {"type": "text"}, off=1, name="off"))
    table = Table((), 9, columns, [Table(("items",), 20, name="t_items")])
    key = [Column(("_id", part), {"type": "text"}, name=part) for part in ("x", "y")]
    stream = Stream("t", "t", table, key, 9, 9, **parts)
    translate(stream, (index,))
    return stream


@pytest.mark.parametrize(
    ("index", "made", "said"),
    [
        pytest.param(IndexSeen("i", (("a", 1),)), [["a"]], "", id="one field"),
        pytest.param(IndexSeen("i", (("a", 1), ("b", 1))), [["a", "b"]], "", id="two"),
        pytest.param(IndexSeen("i", (("a", -1),)), [["a"]], "", id="one, backwards"),
        pytest.param(IndexSeen("i", (("a", -1), ("b", -1))), [["a", "b"]], "", id="two, backwards"),
        pytest.param(IndexSeen("i", (("a", 1), ("b", -1))), [["a", {"b": "desc"}]], "", id="both ways"),
        pytest.param(IndexSeen("i", (("a", -1), ("b", 1))), [[{"a": "desc"}, "b"]], "", id="both ways, turned"),
        pytest.param(IndexSeen("i", (("_id.x", 1), ("a", 1))), [["x", "a"]], "", id="with the key"),
        pytest.param(IndexSeen("i", (("_id.y", 1),), unique=True), [], "beside others only", id="a part of the key"),
        pytest.param(IndexSeen("i", (("_id.y", 1), ("_id.x", 1)), unique=True), [["y", "x"]], "", id="the key, turned"),
        pytest.param(IndexSeen("i", (("a", "text"),)), [], "text is a kind of MongoDB's own", id="text"),
        pytest.param(IndexSeen("i", (("a", "2dsphere"),)), [], "2dsphere is a kind", id="geo"),
        pytest.param(IndexSeen("i", (("a", "hashed"),)), [], "hashed is a kind", id="hashed"),
        pytest.param(IndexSeen("i", (("$**", 1),)), [], "$** is no column", id="wildcard"),
        pytest.param(IndexSeen("i", (("j", 1),)), [], "j is json", id="json"),
        pytest.param(IndexSeen("i", (("items.sku", 1),)), [], "in the child table t_items", id="child"),
        pytest.param(IndexSeen("i", (("a", 1),), other=("collation",)), [], "nothing for collation", id="collation"),
        pytest.param(IndexSeen("i", (("b", 1),), expires_s=86_400), [["b"]], "1 d after b", id="expiry"),
    ],
)
def test_an_index(index: IndexSeen, made: list[list[str]], said: str) -> None:
    stream = translated(index)
    assert [entry["columns"] for entry in stream.indexes] == made
    assert said in "; ".join(stream.notes)
    assert bool(said) is bool(stream.notes)


def test_one_unique_field_is_a_unique_column() -> None:
    stream = translated(IndexSeen("i", (("a", 1),), unique=True))
    assert (stream.table.columns[0].spec, stream.indexes, stream.notes) == ({"type": "text", "unique": True}, [], [])


def test_several_unique_fields_are_a_unique_index() -> None:
    stream = translated(IndexSeen("i", (("a", 1), ("b", 1)), unique=True))
    assert (stream.indexes, stream.notes) == ([{"columns": ["a", "b"], "unique": True}], [])


def test_unique_over_a_collection_of_which_a_table_holds_a_part() -> None:
    stream = translated(IndexSeen("i", (("a", 1),), unique=True), where={"b": 1})
    assert stream.table.columns[0].spec == {"type": "text", "unique": True}
    assert "within this table" in stream.notes[0]


NOON = datetime(2024, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "where"),
    [
        ({"a": "x"}, {"a": {"eq": "x"}}),
        ({"a": {"$exists": True}}, {"a": "present"}),
        ({"a": {"$eq": None}}, {"a": "absent"}),
        ({"a": {"$type": "string"}, "b": {"$type": "number"}}, {"a": "present", "b": "present"}),
        ({"b": {"$gt": 5, "$lte": Int64(9)}}, {"b": {"gt": 5, "lte": 9}}),
        ({"$and": [{"b": {"$gte": 5.0}}, {"a": {"$in": ["x", "y"]}}]}, {"b": {"gte": 5}, "a": {"in": ["x", "y"]}}),
        ({"t": {"$lt": datetime(2024, 1, 31, 12)}}, {"t": {"lt": "2024-01-31T12:00:00Z"}}),
        ({"d": {"$lt": Decimal128("1.50")}}, {"d": {"lt": "1.50"}}),
        ({"d": {"$lt": 0.1}}, {"d": {"lt": "0.1"}}),
        ({"o": ObjectId("65f0c0ffee0000000000abcd")}, {"o": {"eq": "65f0c0ffee0000000000abcd"}}),
        ({"_id.x": "k"}, {"x": {"eq": "k"}}),
    ],
)
@pytest.mark.parametrize("unique", [False, True])
def test_a_condition(expression: dict[str, Any], where: dict[str, Any], unique: bool) -> None:
    stream = translated(IndexSeen("i", (("a", 1),), unique=unique, partial=tuple(asked(expression))))
    assert stream.notes == []
    assert stream.indexes == [{"columns": ["a"]} | ({"unique": True} if unique else {}) | {"where": where}]


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ({"nowhere": 1}, "about nowhere, which is no column"),
        ({"a": {"$gt": "x"}}, "does not ask gt of a column of the type text"),
        ({"b": "x"}, "compares a column of the type int32 with what it cannot hold"),
        ({"b": {"$gt": 5.5}}, "what it cannot hold"),
        ({"b": {"$gt": 1 << 40}}, "what it cannot hold"),
        ({"b": {"$lt": float("inf")}}, "what it cannot hold"),
        ({"a": 5}, "with another type"),
        ({"a": {"$type": "int"}}, "does not ask type"),
        ({"$and": [{"b": 1}, {"b": 2}]}, "says two things of b"),
    ],
)
def test_a_condition_that_a_plan_has_no_words_for(expression: dict[str, Any], why: str) -> None:
    stream = translated(IndexSeen("i", (("a", 1), ("b", 1)), unique=True, partial=tuple(asked(expression))))
    assert stream.indexes == [{"columns": ["a", "b"]}]
    assert "is made over all rows, and not unique: " in stream.notes[0]
    assert why in stream.notes[0]


@pytest.mark.parametrize("expression", [{"$or": [{"a": 1}]}, {"a": {"$regex": "x"}}, {"a": {"$gt": Regex("x")}}])
def test_a_condition_that_is_unclear(expression: dict[str, Any]) -> None:
    with pytest.raises(UnclearError):
        list(asked(expression))
    stream = translated(IndexSeen("i", (("a", 1),), unclear="$or"))
    assert stream.indexes == [{"columns": ["a"]}]
    assert "its condition has $or" in stream.notes[0]


def test_absent_is_not_asked_by_a_unique_index_where_values_did_not_fit() -> None:
    """Then rows would be told apart that MongoDB's index does not hold, and data that is right be refused."""
    partial = tuple(asked({"off": None}))
    assert "unique" not in translated(IndexSeen("i", (("a", 1),), unique=True, partial=partial)).indexes[0]
    assert translated(IndexSeen("i", (("a", 1),), partial=partial)).indexes == [
        {"columns": ["a"], "where": {"off": "absent"}}
    ]
