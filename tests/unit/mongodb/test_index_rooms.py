"""Values that an index of PostgreSQL could not hold: bounds by hand, and what becomes of longer ones."""

from __future__ import annotations

import bson
import pytest

from tests.residues import residues
from tranship.connectors.mongodb.mapper import Mapper
from tranship.plans.streams import Child, Column, Index, LogicalType, Rest, Stream, index_rooms

KEY = Column("_id", ("_id",), LogicalType.INT64, "int64")
TEXT = Column("a", ("a",), LogicalType.TEXT, "string")
OTHER = Column("b", ("b",), LogicalType.BYTES, "binary")
NUMBER = Column("n", ("n",), LogicalType.INT64, "int64")
JSON = Column("j", ("j",), LogicalType.JSON, "any")
UNIQUE = Column("u", ("u",), LogicalType.TEXT, "string", unique=True)


def stream(*indexes: tuple[str, ...], rest: Rest = Rest.RESIDUE) -> Stream:
    return Stream("s", "s", "s", (KEY,), (TEXT, OTHER, NUMBER, JSON, UNIQUE), (), tuple(map(Index, indexes)), rest=rest)


@pytest.mark.parametrize(
    ("indexes", "rooms"),
    [
        ((), {"u": 2560}),
        ((("a",),), {"a": 2560, "u": 2560}),
        ((("a", "n"),), {"a": 2520, "u": 2560}),
        ((("a", "b"), ("a",)), {"a": 1260, "b": 1260, "u": 2560}),
        ((("n",),), {"u": 2560}),
        ((("u", "j"),), {"u": 1260, "j": 1260}),
    ],
)
def test_the_columns_of_an_index_share_its_room(indexes: tuple[tuple[str, ...], ...], rooms: dict[str, int]) -> None:
    assert index_rooms(stream(*indexes)) == rooms


def test_text_keys_have_their_room_in_an_index() -> None:
    keyed = Stream(
        "s", "s", "s", (Column("_id", ("_id",), LogicalType.TEXT, "string"),), (TEXT,), (), (Index(("_id", "a")),)
    )
    assert index_rooms(keyed) == {"a": 1520}


@pytest.mark.parametrize(
    ("value", "fits"),
    [("x" * 2560, True), ("x" * 2561, False), ("é" * 1280, True), ("é" * 1281, False), ("", True)],
)
@pytest.mark.parametrize("column", ["a", "u"])
def test_a_value_that_is_too_long_leaves_its_column_null_and_the_document_whole(
    value: str, column: str, fits: bool
) -> None:
    mapper = Mapper(stream(("a",)))
    raw = bson.encode({"_id": bson.Int64(1), column: value})
    batch = mapper.batch([raw])
    assert mapper.documents(batch.rows) == [raw]
    assert batch.rows.column(column).to_pylist() == [value if fits else None]
    assert list(residues(batch)) == ([] if fits else [(column, "too long for an index")])


def test_by_policy_such_a_document_is_kept_aside() -> None:
    raw = bson.encode({"_id": bson.Int64(1), "u": "x" * 3000})
    (entry,) = Mapper(stream(rest=Rest.QUARANTINE)).batch([raw]).quarantined
    assert (entry.path, entry.reason, entry.document) == ("u", "too long for an index", raw)


def test_json_is_counted_as_jsonb_may_hold_it() -> None:
    """Each element of two characters takes twelve bytes there."""
    mapper = Mapper(stream(("j",)))
    for count, fits in ((70, True), (2000, False)):
        raw = bson.encode({"_id": bson.Int64(1), "j": [1] * count})
        assert (mapper.batch([raw]).rows.column("j").to_pylist() == [None]) is not fits


def test_a_unique_index_is_bounded_like_any_other() -> None:
    unique = Index(("a", "n"), unique=True)
    assert index_rooms(Stream("s", "s", "s", (KEY,), (TEXT, NUMBER), (), (unique,))) == {"a": 2520}


# --- values that a plan lists -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "listed", "value", "fits"),
    [
        (LogicalType.TEXT, ("open", "shut"), "open", True),
        (LogicalType.TEXT, ("open", "shut"), "Open", False),
        (LogicalType.TEXT, ("",), "", True),
        (LogicalType.INT32, (0, 1), 0, True),
        (LogicalType.INT32, (0, 1), 2, False),
        (LogicalType.INT32, (0, 1), bson.Int64(1), True),
        (LogicalType.INT64, (1 << 40,), bson.Int64(1 << 40), True),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_a_value_that_is_not_listed_is_one_that_does_not_fit(
    kind: LogicalType, listed: tuple[str | int, ...], value: object, fits: bool, nested: bool
) -> None:
    column = Column("v", ("v",), kind, {"text": "string"}.get(kind, kind), values=listed)
    child = Child("c", ("c",), (column,))
    mapper = Mapper(Stream("s", "s", "s", (KEY,), () if nested else (column,), (child,) if nested else ()))
    document = {"_id": bson.Int64(1)} | ({"c": [{"v": value}]} if nested else {"v": value, "c": []})
    raw = bson.encode(document)
    batch = mapper.batch([raw])
    assert mapper.documents(batch.rows) == [raw]
    row = batch.rows.to_pylist()[0]
    held = row["c"][0]["v"] if nested else row["v"]
    assert held == (value if fits else None)
    path = "c.v" if nested else "v"
    unlisted = {(path, "not one of the listed values")}
    assert set(residues(batch)) & unlisted == (set() if fits else unlisted)
    assert mapper.notes(batch.rows) == batch.notes
