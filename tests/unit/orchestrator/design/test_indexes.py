"""What indexes of MongoDB become, and what is said where they become something else or nothing."""

from __future__ import annotations

from typing import Any

import pytest

from tranship.connectors.profile import IndexSeen
from tranship.orchestrator.design.indexes import translate
from tranship.orchestrator.design.proposals import Column, Stream, Table


def translated(index: IndexSeen, **parts: Any) -> Stream:
    columns = [
        Column((name,), {"type": kind}, name=name) for name, kind in (("a", "text"), ("b", "int32"), ("j", "json"))
    ]
    table = Table((), 9, columns, [Table(("items",), 20, name="t_items")])
    key = [Column(("_id",), {"type": "objectid"}, name="_id")]
    stream = Stream("t", "t", table, key, 9, 9, **parts)
    translate(stream, (index,))
    return stream


@pytest.mark.parametrize(
    ("index", "made", "said"),
    [
        pytest.param(IndexSeen("i", (("a", 1),)), [["a"]], "", id="one field"),
        pytest.param(IndexSeen("i", (("a", 1), ("b", 1))), [["a", "b"]], "", id="two"),
        pytest.param(IndexSeen("i", (("a", -1),)), [["a"]], "", id="one, backwards"),
        pytest.param(IndexSeen("i", (("a", 1), ("b", -1))), [["a", "b"]], "all columns ascending", id="both ways"),
        pytest.param(IndexSeen("i", (("_id", 1), ("a", 1))), [["_id", "a"]], "", id="with the key"),
        pytest.param(IndexSeen("i", (("a", 1),), partial={"b": 1}), [["a"]], "over all rows", id="partial"),
        pytest.param(
            IndexSeen("i", (("a", 1), ("b", 1)), unique=True), [["a", "b"]], "without being unique", id="unique"
        ),
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


def test_unique_over_a_collection_of_which_a_table_holds_a_part() -> None:
    stream = translated(IndexSeen("i", (("a", 1),), unique=True), where={"b": 1})
    assert "unique" not in stream.table.columns[0].spec
    assert [entry["columns"] for entry in stream.indexes] == [["a"]]
    assert "a table holds a part" in stream.notes[0]
