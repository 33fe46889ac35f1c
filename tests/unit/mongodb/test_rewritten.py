"""Documents rebuilt from rows that SQL has changed: what nobody touched stays as it was, byte for byte and in its
place; what was touched is what the row says, in the type that the plan declares.

What is expected is written by hand below, and read by a decoder of the tests' own (`oracle.fields`).
"""

from __future__ import annotations

import struct
from random import Random, randrange
from typing import Any

import pytest

from tests.unit.mongodb.bson_strategies import Value, decimal128, pack_array, pack_document, pack_string
from tests.unit.mongodb.oracle import Field, fields
from tests.unit.mongodb.random_bson import document
from tests.unit.mongodb.test_mapper_law import MAPPERS, SHAPE, STREAM
from tranship.connectors.errors import UnmappableError
from tranship.connectors.mongodb.mapper import Mapper
from tranship.plans.streams import Child, Column, LogicalType, Stream

T = LogicalType
INT, LONG, NULL, DOC, ARRAY = 0x10, 0x12, 0x0A, 0x03, 0x04


def int32(value: int) -> Value:
    return INT, struct.pack("<i", value)


def int64(value: int) -> Value:
    return LONG, struct.pack("<q", value)


def double(value: float) -> Value:
    return 0x01, struct.pack("<d", value)


def text(value: str) -> Value:
    return 0x02, pack_string(value)


def date(ms: int) -> Value:
    return 0x09, struct.pack("<q", ms)


def binary(subtype: int, content: bytes) -> Value:
    return 0x05, struct.pack("<i", len(content)) + bytes([subtype]) + content


def doc(*of: tuple[str, Value]) -> Value:
    return DOC, raw_of(*of)


def array(*of: Value) -> Value:
    return ARRAY, pack_array(list(of))


def raw_of(*of: tuple[str, Value]) -> bytes:
    return pack_document([(kind, name, value) for name, (kind, value) in of])


NEW: dict[str, list[tuple[Any, Value]]] = {
    "flag": [(True, (0x08, b"\1")), (False, (0x08, b"\0"))],
    "small": [(7, int32(7))],
    "big": [(7, int64(7))],
    "mostly_small": [(7, int32(7)), (2**40, int64(2**40))],
    "ratio": [(2.5, double(2.5)), (-0.0, double(-0.0))],
    "whole": [(3.0, int32(3)), (2.5, double(2.5)), (-0.0, double(-0.0))],
    "price": [(1230, (0x13, decimal128(0, 1230, -2))), (-1, (0x13, decimal128(1, 1, -2)))],
    "wide": [(50, int64(5)), (55, (0x13, decimal128(0, 55, -1)))],
    "text": [("new — é", text("new — é")), ("", text(""))],
    "blob": [(b"\0\1", binary(0, b"\0\1"))],
    "uuid": [(b"u" * 16, binary(4, b"u" * 16))],
    "oid": [("ab" * 12, (0x07, b"\xab" * 12))],
    "at": [(-5000, date(-5)), (253_402_300_800_000_000, date(253_402_300_800_000))],
    "day": [(-1, date(-86_400_000))],
    "flags": [([True, None], array((0x08, b"\1"), (NULL, b"")))],
    "smalls": [([7, None], array(int32(7), (NULL, b""))), ([], array())],
    "bigs": [([7, 2**40], array(int32(7), int64(2**40)))],
    "words": [(["new", None], array(text("new"), (NULL, b"")))],
    "json": [('{"new": [1, "x", null]}', doc(("new", array(int32(1), text("x"), (NULL, b"")))))],
}
"""What SQL may write into a column, in the mapper's form of rows, and what that has to be in the document."""

PLACES = {column.name: place for place, column in enumerate(STREAM.columns, 2)}
NULLS = {column.name: column.null for column in STREAM.columns}
CITY = PLACES["city"]
LINES = 2 + len(STREAM.columns)


def repeated(random: Random, raw: bytes) -> bytes:
    """The document, now and then with a field that stands in it twice or three times."""
    found = fields(raw)
    for _ in range(random.choice([0, 1, 1, 2])):
        name = random.choice(found)[0] if found else b"_id"
        if name == b"_id":
            continue
        kind, value = random.choice([int32(1), text("again"), doc(("city", text("again"))), array(text("again"))])
        found.insert(random.randrange(len(found)) + 1, (name, kind, value))
    return pack_document([(kind, name.decode(), value) for name, kind, value in found])


def names(of: list[Field]) -> list[bytes]:
    return [name for name, _, _ in of]


def judge(before: bytes, after: bytes, touched: dict[str, Value | None]) -> None:
    """The law for the fields of a document: of those that are touched the first is the value, or all of them are gone;
    all others are as they were."""
    old, new = fields(before), fields(after)
    keys = {name.encode(): value for name, value in touched.items()}
    assert [field for field in new if field[0] not in keys] == [field for field in old if field[0] not in keys]
    for name, value in keys.items():
        ours = [field[1:] for field in new if field[0] == name]
        theirs = [field[1:] for field in old if field[0] == name]
        assert ours == ([] if value is None else [value, *theirs[1:]]), name
    gone = {name for name, value in keys.items() if value is None}
    come = {name for name in keys if name not in names(old)}
    assert [name for name in names(new) if name not in come] == [name for name in names(old) if name not in gone]


def touch(random: Random, row: list[Any]) -> dict[str, Value | None]:
    """Change some columns of a row as SQL would; returns what has to be in the document of each."""
    touched: dict[str, Value | None] = {}
    for name, choices in NEW.items():
        if random.random() < 0.75:
            continue
        value, meant = random.choice([*choices, (None, (NULL, b"") if NULLS[name] == "null" else None)])
        now = row[PLACES[name]]
        if repr(now) == repr(value):  # -0.0 is not 0.0
            continue
        row[PLACES[name]] = value
        touched[name] = meant
    return touched


@pytest.mark.parametrize("name", ["residue", "reversed"])
@pytest.mark.parametrize("off", [0.0, 0.1, 0.5])
def test_what_is_touched_is_what_the_row_says_and_all_else_as_it_was(name: str, off: float) -> None:
    seed = randrange(2**32)
    random = Random(seed)
    for _ in range(120):
        raw = repeated(random, document(random, SHAPE, off))
        row = MAPPERS[name].project(raw)
        touched = touch(random, row)
        try:
            judge(raw, MAPPERS[name].unproject(row), touched)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, touched {touched}, document {raw!r}") from error


@pytest.mark.parametrize("off", [0.0, 0.1, 0.5])
def test_a_column_in_a_subdocument_changes_nothing_beside_it(off: float) -> None:
    seed = randrange(2**32)
    random = Random(seed)
    for _ in range(120):
        raw = repeated(random, document(random, SHAPE, off))
        row = MAPPERS["residue"].project(raw)
        value = random.choice([None, "new"])
        if row[CITY] == value:
            continue
        row[CITY] = value
        after = MAPPERS["residue"].unproject(row)
        meant = None if value is None else text(value)
        at = [(kind, value) for name, kind, value in fields(raw) if name == b"address"]
        if at and at[0][0] == DOC:
            inner = [value for name, kind, value in fields(after) if name == b"address"]
            if inner:
                judge(at[0][1], inner[0], {"city": meant})
                judge(raw, after, {"address": (DOC, inner[0])})
            else:
                assert meant is None, f"seed {seed}"
                assert set(names(fields(at[0][1]))) == {b"city"}, f"seed {seed}"
                judge(raw, after, {"address": None})
        else:
            new = doc(("city", text("new")), ("tags", (NULL, b"")))  # that there are no tags is null
            judge(raw, after, {"address": new})


LINE = ("new", 7, None, [], None)
"""A line inserted by SQL: sku, cents, no sizes, no notes, no residue."""
NEW_LINE = doc(("sku", text("new")), ("price", doc(("cents", int64(7)))))


@pytest.mark.parametrize("off", [0.0, 0.1, 0.5])
def test_rows_of_a_child_table_come_go_and_change_among_those_that_stay(off: float) -> None:
    seed = randrange(2**32)
    random = Random(seed)
    judged = 0
    while judged < 60:
        raw = repeated(random, document(random, SHAPE, off))
        row = MAPPERS["residue"].project(raw)
        if not row[LINES]:
            continue
        judged += 1
        first = next(value for name, _, value in fields(raw) if name == b"lines")
        elements: list[Value] = [(kind, value) for _, kind, value in fields(first)]
        lines = list(row[LINES])
        for _ in range(random.randrange(3)):
            at = random.randrange(len(lines) + 1)
            if at < len(lines) and random.random() < 0.6:
                del lines[at], elements[at]
            else:
                lines.insert(at, list(LINE))
                elements.insert(at, NEW_LINE)
        row[LINES] = lines
        judge(raw, MAPPERS["residue"].unproject(row), {"lines": array(*elements)})


@pytest.mark.parametrize("off", [0.0, 0.1, 0.5])
def test_a_changed_column_of_an_element_changes_nothing_beside_it(off: float) -> None:
    seed = randrange(2**32)
    random = Random(seed)
    for _ in range(200):
        element = repeated(random, document(random, SHAPE["lines"][0], off))  # type: ignore[index,arg-type]
        raw = raw_of(("_id", int32(1)), ("lines", array((DOC, element))))
        row = MAPPERS["residue"].project(raw)
        value = random.choice([None, "new"])
        if row[LINES][0][0] == value:
            continue
        row[LINES][0][0] = value
        ((_, _, lines),) = [field for field in fields(MAPPERS["residue"].unproject(row)) if field[0] == b"lines"]
        ((_, kind, after),) = fields(lines)
        assert kind == DOC
        judge(element, after, {"sku": None if value is None else text(value)})


@pytest.mark.parametrize("off", [0.1, 0.5])
def test_rows_without_their_residue_are_what_their_columns_say(off: float) -> None:
    """A row that SQL has inserted, from the columns of another one: no field but those of columns, in the plan's types,
    in the plan's order."""
    seed = randrange(2**32)
    random = Random(seed)
    order = [b"_id", *[name.encode() for name in dict.fromkeys(column.path[0] for column in STREAM.columns)]]
    order += [b"lines", b"grid"]
    for _ in range(60):
        row = MAPPERS["residue"].project(document(random, SHAPE, off))
        touched = touch(random, row)
        row[-1] = None
        found = fields(MAPPERS["residue"].unproject(row))
        assert [name for name in order if name in names(found)] == names(found), f"seed {seed}"
        for name, value in touched.items():
            assert [field[1:] for field in found if field[0] == name.encode()] == ([] if value is None else [value])


# --- single cases -----------------------------------------------------------------------------------------------------

ID = Column("id", ("_id",), T.INT32, "int32")
SMALL = Stream(
    "s",
    "c",
    "t",
    (ID,),
    (
        Column("g", ("g",), T.INT32, "int32"),
        Column("n", ("n",), T.INT32, "int32", null="null"),
        Column("b", ("sub", "b"), T.INT32, "int32"),
        Column("c", ("sub", "c"), T.INT32, "int32"),
    ),
    (Child("kids", ("kids",), (Column("k", ("k",), T.INT32, "int32"),), empty="missing"),),
    rest_column="rest",
)
G, N, B, C, REST, KIDS = range(2, 8)


def changed(before: bytes, **to: Any) -> bytes:
    """The document of its row, with these columns changed."""
    mapper = Mapper(SMALL)
    row = mapper.project(before)
    assert mapper.unproject(row) == before
    places = {"g": G, "n": N, "b": B, "c": C, "rest": REST, "kids": KIDS}
    for name, value in to.items():
        row[places[name]] = value
    return mapper.unproject(row)


ONE = ("_id", int32(1))
NULL_N = ("n", (NULL, b""))
CASES: dict[str, tuple[list[tuple[str, Value]], dict[str, Any], list[tuple[str, Value]]]] = {
    "a repeated field that becomes NULL": (
        [ONE, ("g", int32(1)), NULL_N, ("g", int32(2))], {"g": None}, [ONE, NULL_N]),
    "a repeated field whose first is off-type and becomes a value": (
        [ONE, ("g", text("x")), NULL_N, ("g", int32(2))], {"g": 5}, [ONE, ("g", int32(5)), NULL_N, ("g", int32(2))]),
    "a repeated field whose NULL is null": (
        [ONE, ("n", int32(1)), ("n", int32(2))], {"n": None}, [ONE, NULL_N, ("n", int32(2))]),
    "a repeated subdocument, emptied": (
        [ONE, NULL_N, ("sub", doc(("b", int32(1)))), ("sub", doc(("b", int32(2))))], {"b": None}, [ONE, NULL_N]),
    "a subdocument in another order, emptied": (
        [ONE, NULL_N, ("sub", doc(("c", int32(1)), ("b", int32(2))))], {"b": None, "c": None}, [ONE, NULL_N]),
    "a subdocument that was empty stays": (
        [ONE, NULL_N, ("sub", doc())], {"g": 5}, [ONE, NULL_N, ("sub", doc()), ("g", int32(5))]),
    "a repeated array, whose rows are deleted": (
        [ONE, NULL_N, ("kids", array(doc(("k", int32(1))))), ("kids", array())], {"kids": []}, [ONE, NULL_N]),
    "a repeated member of the rest column, deleted": (
        [ONE, NULL_N, ("x", int32(1)), ("x", int32(2))], {"rest": None}, [ONE, NULL_N]),
    "an array that was null and gets rows": (
        [ONE, NULL_N, ("kids", (NULL, b"")), ("x", int32(1))], {"kids": [[3, None]]},
        [ONE, NULL_N, ("kids", array(doc(("k", int32(3))))), ("x", int32(1))]),
    "a null where NULL is missing, set": (
        [ONE, ("g", (NULL, b"")), NULL_N], {"g": 5}, [ONE, ("g", int32(5)), NULL_N]),
    "a missing field where NULL is null, set": (
        [ONE, ("g", int32(5))], {"n": 6}, [ONE, ("g", int32(5)), ("n", int32(6))]),
    "an equal number of another type, left": (
        [ONE, ("g", int64(5)), NULL_N], {"n": 6}, [ONE, ("g", int64(5)), ("n", int32(6))]),
    "an equal number of another type, changed": (
        [ONE, ("g", int64(5)), NULL_N], {"g": 6}, [ONE, ("g", int32(6)), NULL_N]),
    "U+0000 in a member of the rest column, beside a new one": (
        [ONE, NULL_N, ("x", text("a\0b"))], {"rest": '{"y": 1}'}, [ONE, NULL_N, ("x", text("a\0b")), ("y", int32(1))]),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_cases(case: str) -> None:
    before, to, after = CASES[case]
    assert changed(raw_of(*before), **to) == raw_of(*after)


def test_a_repeated_field_of_an_element() -> None:
    element = doc(("k", int32(1)), ("k", int32(2)))
    mapper = Mapper(SMALL)
    row = mapper.project(raw_of(ONE, NULL_N, ("kids", array(element, element))))
    row[KIDS][0][0] = None
    assert mapper.unproject(row) == raw_of(ONE, NULL_N, ("kids", array(doc(), element)))


def test_what_no_bson_value_can_hold_is_refused() -> None:
    mapper = MAPPERS["residue"]
    row = mapper.project(raw_of(("_id", int32(1))))
    row[PLACES["at"]] = 1  # a microsecond
    with pytest.raises(UnmappableError):
        mapper.unproject(row)
