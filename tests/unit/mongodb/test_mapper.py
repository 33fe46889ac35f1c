"""What becomes of single values: in which column, with which residue, and what comes back when the row has changed."""

from __future__ import annotations

import math
import struct
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from typing import Any

import bson
import pytest
from bson import Binary, Code, DatetimeMS, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp

from tests.residues import residues
from tests.unit.mongodb.bson_strategies import pack_document, pack_string
from tranship.connectors import keycodec
from tranship.connectors.errors import UnmappableError
from tranship.connectors.mongodb.fields import Row
from tranship.connectors.mongodb.mapper import Mapper
from tranship.connectors.mongodb.residue import Residue
from tranship.connectors.mongodb.roots import UnfitError
from tranship.plans.streams import Child, Column, LogicalType, Rest, Stream

T = LogicalType
ID = Column("id", ("_id",), T.INT64, "int32")


def stream(*columns: Column, **options: Any) -> Stream:
    return Stream("s", "c", "t", (ID,), columns, **options)


def column(kind: LogicalType, bson_type: str, **options: Any) -> Column:
    return Column("x", ("x",), kind, bson_type, **options)


def project(of: Stream, document: dict[str, Any] | bytes) -> Row:
    """The row of a document, after checking the law for it."""
    raw = document if isinstance(document, bytes) else bson.encode(document)
    mapper = Mapper(of)
    row = mapper.project(raw)
    assert mapper.unproject(row) == raw
    assert mapper.documents(mapper.batch([raw]).rows) == [raw]
    return row


INT32, INT64 = column(T.INT32, "int32"), column(T.INT64, "int64")
MOSTLY_INT32 = column(T.INT64, "int32")
DOUBLE, WHOLE = column(T.FLOAT64, "double"), column(T.FLOAT64, "int32")
MONEY = column(T.DECIMAL, "decimal128", precision=12, scale=2)
COUNT = column(T.DECIMAL, "int64", precision=20, scale=0)
TEXT, BYTES, UUID = column(T.TEXT, "string"), column(T.BYTES, "binary"), column(T.UUID, "uuid")
OID, BOOL = column(T.OBJECTID, "objectid"), column(T.BOOL, "bool")
AT, DAY, JSON = column(T.TIMESTAMP, "date"), column(T.DATE, "date"), column(T.JSON, "any")


@pytest.mark.parametrize(
    ("of", "value", "held", "reason"),
    [
        (BOOL, True, True, None),
        (BOOL, 1, None, "type int32"),
        (INT32, 5, 5, None),
        (INT32, Int64(5), 5, "representation"),
        (INT32, 2**31, None, "out of range"),
        (INT32, 5.0, None, "type double"),
        (INT32, "1", None, "type string"),
        (INT32, True, None, "type bool"),
        (INT64, Int64(5), 5, None),
        (INT64, 5, 5, "representation"),
        (MOSTLY_INT32, 5, 5, None),
        (MOSTLY_INT32, Int64(5), 5, "representation"),
        (MOSTLY_INT32, 2**40, 2**40, None),
        (DOUBLE, 1.5, 1.5, None),
        (DOUBLE, float("inf"), math.inf, None),
        (DOUBLE, 5, 5.0, "representation"),
        (DOUBLE, 2**53 + 1, None, "out of range"),
        (DOUBLE, Decimal128("1.5"), None, "type decimal128"),
        (WHOLE, 5, 5.0, None),
        (WHOLE, 5.5, 5.5, None),
        (WHOLE, 5.0, 5.0, "representation"),
        (WHOLE, -0.0, -0.0, None),
        (MONEY, Decimal128("1.10"), 110, None),
        (MONEY, Decimal128("-1.10"), -110, None),
        (MONEY, Decimal128("1.1"), 110, "representation"),
        (MONEY, Decimal128("1E+3"), 100_000, "representation"),
        (MONEY, Decimal128("1.101"), None, "out of range"),
        (MONEY, Decimal128("12345678901.00"), None, "out of range"),
        (MONEY, Decimal128("-0.00"), 0, "representation"),
        (MONEY, Decimal128("0.00"), 0, None),
        (MONEY, Decimal128("NaN"), None, "out of range"),
        (MONEY, Decimal128("-Infinity"), None, "out of range"),
        (MONEY, Decimal128("1E-6176"), None, "out of range"),
        (MONEY, 5, 500, "representation"),
        (MONEY, 1.5, None, "type double"),
        (COUNT, Int64(5), 5, None),
        (COUNT, Decimal128("5"), 5, "representation"),
        (TEXT, "é", "é", None),
        (TEXT, "a\0b", None, "U+0000 in text"),
        (TEXT, 1, None, "type int32"),
        (BYTES, b"ab", b"ab", None),
        (BYTES, Binary(b"ab", 5), None, "binary subtype 5"),
        (UUID, Binary(bytes(16), 4), bytes(16), None),
        (UUID, Binary(bytes(16), 3), None, "binary subtype 3"),
        (UUID, Binary(bytes(15), 4), None, "length"),
        (OID, ObjectId("5" * 24), "5" * 24, None),
        (OID, "5" * 24, None, "type string"),
        (AT, DatetimeMS(5), 5000, None),
        (AT, DatetimeMS(253_402_300_800_000), 253_402_300_800_000_000, None),
        (AT, DatetimeMS(-210_866_803_200_000), -210_866_803_200_000_000, None),
        (AT, DatetimeMS(-210_866_803_200_001), None, "out of range"),
        (AT, DatetimeMS(2**63 - 1), None, "out of range"),
        (AT, DatetimeMS(-(2**63)), None, "out of range"),
        (AT, Timestamp(1, 1), None, "type timestamp"),
        (DAY, DatetimeMS(-86_400_000), -1, None),
        (DAY, DatetimeMS(1), None, "time of day"),
        (JSON, None, "null", None),
        (JSON, {"b": 1, "a": 2}, '{"a": 2, "b": 1}', "not exact as jsonb"),
        (JSON, "a\0b", None, "not exact as jsonb"),
        (TEXT, None, None, "null"),
        (TEXT, MinKey(), None, "type minkey"),
        (TEXT, Code("x", {"y": 1}), None, "type code with scope"),
    ],
)
def test_what_a_column_holds_of_a_value(of: Column, value: Any, held: Any, reason: str | None) -> None:
    row = project(stream(of), {"_id": 1, "x": value})
    assert row[2] == held
    assert type(row[2]) is type(held)
    batch = Mapper(stream(of)).batch([bson.encode({"_id": 1, "x": value})])
    assert residues(batch) == Counter({("x", reason): 1} if reason else {})
    assert (row[-1] is None) == (reason is None)


@pytest.mark.parametrize("bits", [0x7FF8000000000000, 0x7FF8000000000001, 0xFFF4000000000001, 0x8000000000000000])
def test_nan_payloads_and_minus_zero_stay_in_a_float_column(bits: int) -> None:
    raw = pack_document([(0x10, "_id", struct.pack("<i", 1)), (0x01, "x", struct.pack("<Q", bits))])
    row = project(stream(DOUBLE), raw)
    assert row[-1] is None
    assert struct.pack("<d", row[2]) == struct.pack("<Q", bits)


def test_arrow_holds_decimals_and_times_as_they_are() -> None:
    of = stream(MONEY, Column("at", ("at",), T.TIMESTAMP, "date"))
    (found,) = (
        Mapper(of).batch([bson.encode({"_id": 1, "x": Decimal128("-1.10"), "at": DatetimeMS(1)})]).rows.to_pylist()
    )
    assert found["x"] == Decimal("-1.10")
    assert found["at"].timestamp() == 0.001


class TestPresence:
    """Missing, null, empty: what is declared needs no residue, the others do."""

    @pytest.mark.parametrize(("null", "plain"), [("missing", {}), ("null", {"x": None})])
    def test_null_stands_for_what_is_declared(self, null: Any, plain: dict[str, Any]) -> None:
        of = stream(replace(TEXT, null=null))
        documents: tuple[dict[str, Any], ...] = ({}, {"x": None})
        for document in documents:
            row = project(of, {"_id": 1, **document})
            assert row[2] is None
            assert (row[-1] is None) == (document == plain)

    @pytest.mark.parametrize(("empty", "plain"), [("empty", {"l": []}), ("missing", {}), ("null", {"l": None})])
    def test_no_rows_stand_for_what_is_declared(self, empty: Any, plain: dict[str, Any]) -> None:
        of = stream(children=(Child("l", ("l",), (Column("a", ("a",), T.TEXT, "string"),), empty=empty),))
        documents: tuple[dict[str, Any], ...] = ({}, {"l": []}, {"l": None}, {"l": "none"}, {"l": {}})
        for document in documents:
            row = project(of, {"_id": 1, **document})
            assert list(row[2]) == []
            assert (row[-1] is None) == (document == plain)

    @pytest.mark.parametrize("document", [{}, {"a": {}}, {"a": None}, {"a": "x"}, {"a": {"b": None}}, {"a": {"z": 1}}])
    def test_subdocuments_without_values_stay_apart(self, document: dict[str, Any]) -> None:
        row = project(stream(Column("b", ("a", "b"), T.TEXT, "string")), {"_id": 1, **document})
        assert (row[-1] is None) == (document == {})


class TestOrder:
    def test_the_declared_order_needs_no_residue(self) -> None:
        of = stream(TEXT, Column("y", ("y",), T.TEXT, "string"))
        assert project(of, {"_id": 1, "x": "1", "y": "2"})[-1] is None
        assert project(of, {"_id": 1, "y": "2", "x": "1"})[-1] is not None
        ordered = replace(of, order=("_id", "y", "x"))
        assert project(ordered, {"_id": 1, "y": "2", "x": "1"})[-1] is None

    def test_repeated_fields(self) -> None:
        raw = pack_document([(0x10, "_id", bytes(4)), *[(0x02, "x", pack_string(text)) for text in "abc"]])
        row = project(stream(TEXT), raw)
        assert row[2] == "a"

    def test_true_undefined_beside_markers(self) -> None:
        raw = pack_document(
            [
                (0x10, "_id", bytes(4)),
                (0x06, "x", b""),
                (0x06, "other", b""),
                (0x03, "d", pack_document([(6, "e", b"")])),
            ]
        )
        of = stream(TEXT, Column("e", ("d", "e"), T.TEXT, "string"), Column("f", ("d", "f"), T.TEXT, "string"))
        project(of, raw)


class TestChildren:
    LINES = Child("lines", ("lines",), (Column("sku", ("sku",), T.TEXT, "string"),))

    def test_residue_stays_with_the_element_it_belongs_to(self) -> None:
        row = project(
            stream(children=(self.LINES,)), {"_id": 1, "lines": [{"sku": "a"}, {"sku": 1}, 7, {"sku": "b", "x": 1}]}
        )
        assert [line[0] for line in row[2]] == ["a", None, None, "b"]
        assert [line[1] is None for line in row[2]] == [True, False, False, False]
        assert row[-1] is None

    def test_nested_children(self) -> None:
        notes = Child("notes", ("notes",), (Column("note", (), T.TEXT, "string"),))
        of = stream(children=(replace(self.LINES, children=(notes,)),))
        row = project(of, {"_id": 1, "lines": [{"sku": "a", "notes": ["x", None, 5]}, {"sku": "b", "notes": []}]})
        assert [[note[0] for note in line[1]] for line in row[2]] == [["x", None, None], []]

    def test_nested_arrays_are_kept(self) -> None:
        row = project(stream(children=(self.LINES,)), {"_id": 1, "lines": [[1], [2]]})
        assert [line[0] for line in row[2]] == [None, None]


class TestRest:
    OF = stream(TEXT, rest_column="rest")

    @pytest.mark.parametrize(
        ("document", "text", "plain"),
        [
            ({"x": "1"}, None, True),
            ({"x": "1", "a": 1, "bb": [True]}, '{"a": 1, "bb": [true]}', True),
            ({"x": "1", "bb": 2, "a": 1}, '{"a": 1, "bb": 2}', False),
            ({"a": 1, "x": "1"}, '{"a": 1}', False),
            ({"x": "1", "a": {"d": 1, "c": 2}}, '{"a": {"c": 2, "d": 1}}', False),
            ({"x": "1", "a": "\0", "b": 1}, '{"b": 1}', False),
            ({"x": "1", "$a": 1, "$$b": 2}, '{"$$a": 1, "$$$b": 2}', True),
        ],
    )
    def test_unnamed_fields_go_to_the_rest_column(
        self, document: dict[str, Any], text: str | None, plain: bool
    ) -> None:
        row = project(self.OF, {"_id": 1, **document})
        assert row[3] == text
        assert (row[-1] is None) == plain

    def test_members_that_changed_in_the_target_win(self) -> None:
        mapper = Mapper(self.OF)
        row = mapper.project(bson.encode({"_id": 1, "b": 1, "a": {"d": 1, "c": 2}, "e": 5}))
        row[3] = '{"a": {"c": 2, "d": 1}, "b": 7, "n": "new"}'
        assert bson.decode(mapper.unproject(row)) == {"_id": 1, "b": 7, "a": {"d": 1, "c": 2}, "n": "new"}


class TestChangedRows:
    """A residue value counts only while the row still has what was taken from it."""

    OF = stream(
        MOSTLY_INT32,
        Column("city", ("address", "city"), T.TEXT, "string"),
        children=(Child("l", ("l",), (Column("a", ("a",), T.TEXT, "string"),)),),
    )

    def changed(self, document: dict[str, Any], place: int, value: Any) -> dict[str, Any]:
        mapper = Mapper(self.OF)
        row = mapper.project(bson.encode({"_id": 1, **document}))
        row[place] = value
        return bson.decode(mapper.unproject(row))

    def test_a_kept_representation(self) -> None:
        assert isinstance(self.changed({"x": Int64(5), "l": []}, 2, 5)["x"], Int64)
        assert not isinstance(self.changed({"x": Int64(5), "l": []}, 2, 6)["x"], Int64)

    def test_an_off_type_value(self) -> None:
        assert self.changed({"x": "5", "l": []}, 2, 6) == {"_id": 1, "x": 6, "l": []}

    def test_an_unmapped_field_stays_beside_a_change(self) -> None:
        assert self.changed({"x": 5, "note": "n", "l": []}, 2, None) == {"_id": 1, "note": "n", "l": []}

    def test_a_subdocument_that_was_no_document(self) -> None:
        assert self.changed({"x": 5, "address": "a street", "l": []}, 3, "Rome")["address"] == {"city": "Rome"}

    def test_a_subdocument_that_was_missing(self) -> None:
        assert self.changed({"x": 5, "l": [], "z": 1}, 3, "Rome")["address"] == {"city": "Rome"}

    def test_rows_in_the_place_of_no_array(self) -> None:
        assert self.changed({"x": 5, "l": "none"}, 4, [["a", None]])["l"] == [{"a": "a"}]

    def test_an_element_that_was_no_document(self) -> None:
        assert self.changed({"x": 5, "l": [7]}, 4, [["a", bson.encode({"e": 7})]])["l"] == [{"a": "a"}]


class TestKeys:
    def test_an_equal_id_of_another_form_is_kept(self) -> None:
        for value in (1.0, Int64(1), Decimal128("1.0")):
            row = project(stream(), {"_id": value})
            assert row[:2] == [keycodec.encode(0x10, b"\1\0\0\0"), 1]
            assert row[-1] is not None

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            (ID, "1"), (ID, 1.5), (ID, True), (ID, None), (ID, 2.0**63), (ID, MaxKey()),
            (Column("id", ("_id",), T.TEXT, "string"), "a\0b"),
            (Column("id", ("_id",), T.TEXT, "string"), ObjectId()),
            (Column("id", ("_id",), T.UUID, "uuid"), Binary(bytes(16), 3)),
            (Column("id", ("_id",), T.DECIMAL, "decimal128", precision=5, scale=2), Decimal128("1.001")),
            (Column("id", ("_id",), T.DECIMAL, "decimal128", precision=5, scale=2), Decimal128("1E+6144")),
            (Column("id", ("_id",), T.TIMESTAMP, "date"), DatetimeMS(2**62)),
            (Column("id", ("_id", "a"), T.INT64, "int64"), {"b": 1}),
        ],
    )  # fmt: skip
    def test_an_id_that_does_not_fit_is_quarantined_with_its_key(self, key: Column, value: Any) -> None:
        raw = bson.encode({"_id": value})
        (entry,) = Mapper(replace(stream(), key=(key,))).batch([raw]).quarantined
        assert entry.path.startswith("_id")
        assert entry.document == raw
        kind, inner = raw[4], raw[9:-1]
        assert entry.key == keycodec.encode(kind, inner)

    @pytest.mark.parametrize(
        ("key", "short", "long"),
        [
            (Column("id", ("_id",), T.TEXT, "string"), "é" * 500, "é" * 500 + "x"),
            (Column("id", ("_id",), T.BYTES, "binary"), b"x" * 1000, b"x" * 1001),
            (Column("id", ("_id",), T.BYTES, "any"), {"a": "x" * 980}, {"a": "x" * 1000}),
            (Column("id", ("_id", "a"), T.TEXT, "string"), {"a": "x" * 1000}, {"a": "x" * 1001}),
        ],
    )
    def test_a_long_id_needs_a_long_column(self, key: Column, short: Any, long: Any) -> None:
        of = replace(stream(), key=(key,))
        project(of, {"_id": short})
        (entry,) = Mapper(of).batch([bson.encode({"_id": long})]).quarantined
        assert "longer than 1000 bytes" in entry.reason
        project(replace(of, key=(replace(key, long=True),)), {"_id": long})

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            (Column("id", ("_id",), T.DECIMAL, "decimal128", precision=5, scale=2), Decimal128("1.10")),
            (Column("id", ("_id",), T.DECIMAL, "decimal128", precision=5, scale=2), 2.5),
            (Column("id", ("_id",), T.TIMESTAMP, "date"), DatetimeMS(-5)),
            (Column("id", ("_id",), T.DATE, "date"), DatetimeMS(86_400_000)),
            (Column("id", ("_id",), T.BYTES, "binary"), b"ab"),
            (Column("id", ("_id",), T.BYTES, "any"), {"a": [1, None, Regex("x")]}),
            (Column("id", ("_id", "a"), T.INT64, "int64"), {"a": Int64(1)}),
            (Column("id", ("_id", "a"), T.INT64, "int64"), {"a": 1.0}),
        ],
    )
    def test_ids_come_back(self, key: Column, value: Any) -> None:
        project(replace(stream(), key=(key,)), {"_id": value})

    def test_mixed_ids_are_different_rows(self) -> None:
        of = replace(stream(), key=(Column("key", ("_id",), T.BYTES, "any"),))
        ids = [1, True, "1", float("nan"), None, {"a": 1}, Binary(bytes(16), 3), Binary(bytes(16), 4)]
        keys = [project(of, {"_id": value})[0] for value in ids]
        assert len(set(keys)) == len(ids)


class TestPolicies:
    @pytest.mark.parametrize("document", [{"y": 1}, {"x": 1}, {"x": None}])
    def test_quarantine_and_fail(self, document: dict[str, Any]) -> None:
        raw = bson.encode({"_id": 1, **document})
        (path,) = document
        (entry,) = Mapper(stream(TEXT, rest=Rest.QUARANTINE)).batch([raw]).quarantined
        assert (entry.path, entry.document) == (path, raw)
        with pytest.raises(UnmappableError, match=path):
            Mapper(stream(TEXT, rest=Rest.FAIL)).batch([raw])

    def test_two_columns_cannot_share_a_field(self) -> None:
        with pytest.raises(ValueError, match="x"):
            Mapper(stream(TEXT, Column("z", ("x", "y"), T.TEXT, "string")))


class TestMalformed:
    @pytest.mark.parametrize(
        ("elements", "path"),
        [
            ([(0x02, "x", b"\2\0\0\0\xff\0")], "x"),
            ([(0x02, "y", b"\2\0\0\0\xff\0")], "y"),
            ([(0x03, "y", pack_document([(0x02, "z", b"\4\0\0\0\xed\xa0\x80\0")]))], "y.z"),
            ([(0x08, "y", b"\2")], "y"),
            ([(0x02, "x", b"\2\0\0\0aa")], "x"),
            ([(0x20, "y", b"")], "y"),
            ([(0x03, "y", b"\4\0\0\0")], "y"),
        ],
    )
    def test_malformed_documents_are_quarantined_where_they_are(self, elements: list[Any], path: str) -> None:
        raw = pack_document([(0x10, "_id", b"\1\0\0\0"), *elements])
        for of in (stream(TEXT), stream(TEXT, rest_column="rest")):
            (entry,) = Mapper(of).batch([raw]).quarantined
            assert (entry.path, entry.key, entry.document) == (path, keycodec.encode(0x10, b"\1\0\0\0"), raw)
            assert entry.reason.startswith("malformed")

    def test_deep_nesting_is_followed_to_the_servers_limit(self) -> None:
        deep = pack_document([])
        for _ in range(245):
            deep = pack_document([(0x03, "a", deep)])
        raw = pack_document([(0x10, "_id", bytes(4)), (0x03, "x", deep)])
        for of in (stream(JSON), stream(rest_column="rest"), stream()):
            project(of, raw)
        too_deep = pack_document([(0x10, "_id", bytes(4)), (0x03, "x", deep)])
        for _ in range(10):
            too_deep = pack_document([(0x10, "_id", bytes(4)), (0x03, "x", too_deep)])
        (entry,) = Mapper(stream()).batch([too_deep]).quarantined
        assert "deep" in entry.reason

    def test_a_document_without_an_id(self) -> None:
        with pytest.raises(UnfitError, match="_id"):
            Mapper(stream()).project(bson.encode({"x": 1}))


def test_two_thousand_fields_and_sixteen_megabytes() -> None:
    project(stream(TEXT), {"_id": 1, **{f"field {n}": n for n in range(2000)}})
    row = project(stream(TEXT), {"_id": 1, "x": "y" * 15_900_000})
    assert row[-1] is None


def test_a_residue_names_what_it_holds() -> None:
    row = project(stream(TEXT), {"_id": 1, "x": 5, "z": 1})
    residue = Residue(row[-1])
    assert [name for name, _, _ in residue.fields(residue.root)] == [b"_id", b"x", b"z"]
