"""Array columns: which arrays they hold, what goes to the residue, and what comes back when the row has changed."""

from __future__ import annotations

import struct
from collections import Counter
from typing import Any

import bson
import pytest
from bson import Binary, DatetimeMS, Decimal128, Int64, ObjectId

from tests.residues import residues
from tests.unit.mongodb.bson_strategies import pack_array, pack_document, pack_string
from tranship.connectors.mongodb.fields import Row
from tranship.connectors.mongodb.mapper import Mapper
from tranship.plans.streams import Child, Column, LogicalType, Stream

T = LogicalType
ID = Column("id", ("_id",), T.INT64, "int32")


def array(items: LogicalType, bson_type: str, **options: Any) -> Column:
    return Column("x", ("x",), T.ARRAY, bson_type, items=items, **options)


def stream(column: Column) -> Stream:
    return Stream("s", "c", "t", (ID,), (column,))


def raw_of(value: Any) -> bytes:
    return bson.encode({"_id": 1, "x": value})


def project(of: Stream, raw: bytes) -> tuple[Row, Counter[tuple[str, str]]]:
    """The row of a document and its residues, after checking the law for it, also by way of Arrow."""
    mapper = Mapper(of)
    row = mapper.project(raw)
    assert mapper.unproject(row) == raw
    batch = mapper.batch([raw])
    assert batch.quarantined == ()
    assert mapper.documents(batch.rows) == [raw]
    return row, residues(batch)


BOOLS, INTS, LONGS = array(T.BOOL, "bool"), array(T.INT32, "int32"), array(T.INT64, "int32")
DOUBLES, TEXTS = array(T.FLOAT64, "double"), array(T.TEXT, "string")
MONEY = array(T.DECIMAL, "decimal128", precision=12, scale=2)
BLOBS, UUIDS, OIDS = array(T.BYTES, "binary"), array(T.UUID, "uuid"), array(T.OBJECTID, "objectid")
ATS, DAYS = array(T.TIMESTAMP, "date"), array(T.DATE, "date")


@pytest.mark.parametrize(
    ("of", "value", "held", "reason"),
    [
        (BOOLS, [True, None, False], [True, None, False], None),
        (TEXTS, [], [], None),
        (TEXTS, [None], [None], None),
        (TEXTS, ["", "é", "NULL"], ["", "é", "NULL"], None),
        (TEXTS, None, None, "null"),
        (TEXTS, "a", None, "type string"),
        (TEXTS, {"0": "a"}, None, "type document"),
        (TEXTS, ["a", 1], None, "element: type int32"),
        (TEXTS, ["a", "b\0c"], None, "element: U+0000 in text"),
        (TEXTS, [["a"]], None, "element: type array"),
        (TEXTS, [[], []], None, "element: type array"),
        (INTS, [1, -(2**31)], [1, -(2**31)], None),
        (INTS, [1, Int64(2)], [1, 2], "representation"),
        (INTS, [1, 2**40], None, "element: out of range"),
        (INTS, [1, 2.0], None, "element: type double"),
        (LONGS, [1, 2**40], [1, 2**40], None),
        (LONGS, [Int64(1)], [1], "representation"),
        (DOUBLES, [1.5, None], [1.5, None], None),
        (DOUBLES, [1.5, 2], [1.5, 2.0], "representation"),
        (MONEY, [Decimal128("1.10"), None], [110, None], None),
        (MONEY, [Decimal128("1.1")], [110], "representation"),
        (MONEY, [Decimal128("1.101")], None, "element: out of range"),
        (MONEY, [Decimal128("NaN")], None, "element: out of range"),
        (BLOBS, [b"", b"\0"], [b"", b"\0"], None),
        (BLOBS, [Binary(b"a", 5)], None, "element: binary subtype 5"),
        (UUIDS, [Binary(bytes(16), 4)], [bytes(16)], None),
        (OIDS, [ObjectId("5" * 24)], ["5" * 24], None),
        (ATS, [DatetimeMS(253_402_300_800_000)], [253_402_300_800_000_000], None),
        (ATS, [DatetimeMS(0), DatetimeMS(2**63 - 1)], None, "element: out of range"),
        (DAYS, [DatetimeMS(86_400_000)], [1], None),
        (DAYS, [DatetimeMS(1)], None, "element: time of day"),
    ],
)
def test_what_an_array_column_holds_of_a_value(of: Column, value: Any, held: Any, reason: str | None) -> None:
    row, residues = project(stream(of), raw_of(value))
    assert row[2] == held
    assert residues == Counter({("x", reason): 1} if reason else {})
    assert (row[-1] is None) == (reason is None)


def test_missing_null_and_empty_stay_apart() -> None:
    for null, exact in (("missing", bson.encode({"_id": 1})), ("null", raw_of(None))):
        of = stream(array(T.TEXT, "string", null=null))
        rows = {raw: project(of, raw)[0] for raw in (bson.encode({"_id": 1}), raw_of(None), raw_of([]))}
        assert [row[2] for row in rows.values()] == [None, None, []]
        assert [raw for raw, row in rows.items() if row[-1] is None] == [exact, raw_of([])]


@pytest.mark.parametrize("names", [("1", "0"), ("0", "0"), ("0", "01"), ("0", "a"), ("", "1")])
def test_an_array_with_other_names_fills_the_column_and_keeps_its_names(names: tuple[str, str]) -> None:
    value = pack_document([(0x02, name, pack_string("v")) for name in names])
    raw = pack_document([(0x10, "_id", struct.pack("<i", 1)), (0x04, "x", value)])
    row, residues = project(stream(TEXTS), raw)
    assert row[2] == ["v", "v"]
    assert residues == Counter({("x", "representation"): 1})


@pytest.mark.parametrize("bits", [0x7FF8000000000000, 0x7FF8000000000001, 0xFFF4000000000001, 0x8000000000000000])
def test_nan_payloads_and_minus_zero_stay(bits: int) -> None:
    number = struct.pack("<Q", bits)
    raw = pack_document([(0x10, "_id", struct.pack("<i", 1)), (0x04, "x", pack_array([(0x01, number)]))])
    row, residues = project(stream(DOUBLES), raw)
    assert not residues
    assert struct.pack("<d", row[2][0]) == number


def test_a_later_change_of_the_row_wins_over_the_residue() -> None:
    mapper = Mapper(stream(INTS))
    near, off = mapper.project(raw_of([1, Int64(2)])), mapper.project(raw_of([1, "2"]))
    near[2] = [1, 3]
    assert mapper.unproject(near) == raw_of([1, 3])
    near[2] = None
    assert mapper.unproject(near) == bson.encode({"_id": 1})
    off[2] = []
    assert mapper.unproject(off) == raw_of([])


def test_a_change_back_uses_the_residue_again() -> None:
    mapper = Mapper(stream(DOUBLES))
    row = mapper.project(raw_of([0.0, 2]))
    row[2] = [-0.0, 2.0]
    assert mapper.unproject(row) == raw_of([-0.0, 2.0])
    row[2] = [0.0, 2.0]
    assert mapper.unproject(row) == raw_of([0.0, 2])


def test_arrays_of_arrays_are_a_child_table_of_arrays() -> None:
    grid = Child("grid", ("x",), (Column("line", (), T.ARRAY, "int32", items=T.INT32),))
    row, residues = project(Stream("s", "c", "t", (ID,), (), (grid,)), raw_of([[1], [], None, [2, None]]))
    assert [child[0] for child in row[2]] == [[1], [], None, [2, None]]
    assert not residues


@pytest.mark.parametrize(
    ("value", "path", "reason"),
    [
        (pack_array([(0x02, b"\2\0\0\0\xff\0")]), "x.0", "malformed: string is not UTF-8"),
        (pack_array([(0x08, b"\2")]), "x.0", "malformed: boolean is neither 0 nor 1"),
        (pack_array([(0x02, b"\x7f\0\0\0a\0")]), "x", "malformed: a value reaches beyond the end of its document"),
        (b"\6\0\0\0\1\0", "x", "malformed: unterminated field name"),
    ],
)
def test_a_malformed_array_is_quarantined_with_its_place(value: bytes, path: str, reason: str) -> None:
    raw = pack_document([(0x10, "_id", struct.pack("<i", 1)), (0x04, "x", value)])
    for of in (TEXTS, BOOLS, INTS):
        (entry,) = Mapper(stream(of)).batch([raw]).quarantined
        assert (entry.path, entry.reason) == (path, reason)
