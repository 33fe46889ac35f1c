"""Notes: why parts of documents are kept, what that means for the row, and the same notes from the row again."""

from __future__ import annotations

from typing import Any

import bson
import pytest
from bson import Int64

from tranship.connectors.fit import Effect, Note
from tranship.connectors.mongodb.mapper import Mapper
from tranship.connectors.mongodb.order import usual_order
from tranship.plans.streams import Child, Column, LogicalType, Stream


def column(name: str, kind: LogicalType = LogicalType.TEXT, bson: str = "string", **more: Any) -> Column:
    return Column(name, more.pop("path", tuple(name.split("."))), kind, bson, **more)


STREAM = Stream(
    "people",
    "people",
    "people",
    (Column("_id", ("_id",), LogicalType.INT64, "int64"),),
    (
        column("name"),
        column("age", LogicalType.INT32, "int32"),
        column("address.city"),
        column("any", LogicalType.JSON, "any"),
    ),
    children=(Child("items", ("items",), (column("sku"),)),),
    order=("_id", "name", "age", "address", "any", "items"),
)
MAPPER = Mapper(STREAM)

WHOLE: dict[str, Any] = {
    "_id": Int64(1),
    "name": "n",
    "age": 3,
    "address": {"city": "c"},
    "any": [1],
    "items": [{"sku": "s"}],
}


def changed(**changes: Any) -> dict[str, Any]:
    return {**WHOLE, **changes}


CASES: dict[str, tuple[dict[str, Any], list[Note]]] = {
    "all of it fits": (WHOLE, []),
    "another type": (changed(age="3"), [Note("age", "type string", Effect.MISFIT, "age")]),
    "out of range": (changed(age=Int64(2**40)), [Note("age", "out of range", Effect.MISFIT, "age")]),
    "U+0000": (changed(name="a\0b"), [Note("name", "U+0000 in text", Effect.MISFIT, "name")]),
    "equal": (changed(age=Int64(3)), [Note("age", "representation", Effect.FORM, "age")]),
    "null": (changed(name=None), [Note("name", "null", Effect.SHAPE, "name")]),
    "a subdocument that is none": (changed(address="x"), [Note("address", "type string", Effect.MISFIT, "address")]),
    "a subdocument that is null": (changed(address=None), [Note("address", "null", Effect.SHAPE, "address")]),
    "an empty subdocument": (changed(address={}), [Note("address", "empty", Effect.SHAPE, "address")]),
    "an array that is none": (changed(items={"0": 1}), [Note("items", "type document", Effect.MISFIT, "items")]),
    "an array that is null": (changed(items=None), [Note("items", "null", Effect.SHAPE, "items")]),
    "an element of another type": (changed(items=[7]), [Note("items", "type int32", Effect.MISFIT, "items")]),
    "an element that is null": (changed(items=[None]), [Note("items", "type null", Effect.SHAPE, "items")]),
    "inside of an element": (
        changed(items=[{"sku": 5}, {"sku": "t"}]),
        [Note("items.sku", "type int32", Effect.MISFIT, "items.sku")],
    ),
    "an unnamed field": (changed(by={"4711": 1}), [Note("by", "unmapped", Effect.UNNAMED, "")]),
    "an unnamed field further down": (
        changed(address={"city": "c", "4711": 1}),
        [Note("address.4711", "unmapped", Effect.UNNAMED, "address")],
    ),
    "another order": (
        {"_id": Int64(1), "age": 3, "name": "n", **{name: WHOLE[name] for name in ("address", "any", "items")}},
        [Note("name", "order", Effect.SHAPE, "name")],
    ),
    "json that is none": (changed(any="a\0b"), [Note("any", "not exact as jsonb", Effect.MISFIT, "any")]),
    "json of another form": (
        changed(any={"b": 1, "a": 2}),
        [Note("any", "not exact as jsonb", Effect.FORM, "any")],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_notes_of_a_document_and_of_its_row(name: str) -> None:
    document, expected = CASES[name]
    batch = MAPPER.batch([bson.encode(document)])
    assert [note for notes in batch.notes.values() for note in notes] == expected
    assert MAPPER.notes(batch.rows) == batch.notes, "the row says the same, however often it is asked"


def test_no_name_of_the_data_is_counted() -> None:
    batch = MAPPER.batch([bson.encode(changed(address={"a@example.com": 1}))])
    (found,) = batch.notes.values()
    assert [note.kind.place for note in found] == ["address"]


def test_a_row_without_a_document_has_no_notes() -> None:
    batch = MAPPER.batch([bson.encode(changed(age="3"))])
    column = batch.rows.schema.get_field_index("_residue")
    foreign = batch.rows.set_column(column, batch.rows.schema.field(column), [b"foreign"])
    assert MAPPER.notes(foreign) == {}


@pytest.mark.parametrize(
    ("documents", "expected"),
    [
        pytest.param([], ["a", "b", "c"], id="none: as they are given"),
        pytest.param(["cba", "cba", "abc"], ["c", "b", "a"], id="most of them"),
        pytest.param(["ba", "cb", "ca"], ["c", "b", "a"], id="each has a part"),
        pytest.param(["xbya"], ["b", "a", "c"], id="others do not matter"),
    ],
)
def test_the_usual_order(documents: list[str], expected: list[str]) -> None:
    raw = [bson.encode(dict.fromkeys(names, 1)) for names in documents]
    assert usual_order(raw, ["a", "b", "c"]) == expected
