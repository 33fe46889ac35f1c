"""Canonical keys: one key per value, ordered, decodable; and what typed key columns make of them."""

from __future__ import annotations

import struct
from decimal import Decimal
from fractions import Fraction
from typing import Any

import bson
import pytest
from bson import Binary, Code, DatetimeMS, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.mongodb.bson_strategies import NUMBERS, VALUES
from tranship.connectors import keycodec
from tranship.connectors.keys import BOTTOM, TOP, Cut, KeyForm, TypedRange, from_typed, to_typed, typed_range
from tranship.connectors.protocols import NAMELESS, Span
from tranship.plans.streams import Column, LogicalType

T = LogicalType

ASCENDING: list[Any] = [
    MinKey(), None, float("nan"), float("-inf"), Decimal128("-1E+6144"), -1e308, -(2**63), -1.5, -1,
    Decimal128("-1E-6176"), 0, Decimal128("1E-6176"), 5e-324, Decimal128("0.1"), 0.1, Decimal128("0.11"), 0.5, 1,
    Decimal128("1.000000000000000000000000000000001"), 1.5, 2.0**53, 2**53 + 1, 2**63 - 1, 2.0**63, 1e308,
    Decimal128("9.999999999999999999999999999999999E+6144"), float("inf"),
    "", "\0", "\0a", "a", "a\0", "a\0b", "a\x01", "aa", "é", "😀",
    {}, {"a": None}, {"a": None, "b": 1}, {"a": 1}, {"a": 1, "b": None}, {"a": 2}, {"aa": 0}, {"b": 1}, {"a": ""},
    {"a": {}}, [], [None], [1], [1, 2], [2],
    Binary(b""), Binary(b"", 5), Binary(b"b"), Binary(b"aa"), Binary(b"aa", 3), Binary(bytes(254)), Binary(bytes(255)),
    Binary(bytes(256)), ObjectId("0" * 24), ObjectId("f" * 24), False, True, DatetimeMS(-(2**63)), DatetimeMS(-1),
    DatetimeMS(0), DatetimeMS(2**63 - 1), Timestamp(0, 1), Timestamp(1, 0), Timestamp(2**32 - 1, 0), Regex("a"),
    Regex("a", "i"), Regex("b"), Code(""), Code("a"), Code("a", {}), Code("a", {"x": 1}), Code("b", {}), MaxKey(),
]  # fmt: skip

EQUAL: list[tuple[Any, Any]] = [
    (1, Int64(1)),
    (1, 1.0),
    (1, Decimal128("1.00")),
    (1000, Decimal128("1E+3")),
    (0, -0.0),
    (0, Decimal128("-0E+6111")),
    (0.5, Decimal128("0.5")),
    (2.0**63, Decimal128("9223372036854775808")),
    (float("nan"), Decimal128("NaN")),
    (float("nan"), Decimal128("sNaN")),
    (float("-inf"), Decimal128("-Infinity")),
    ({"a": {"b": 1}}, {"a": {"b": 1.0}}),
    ([1, [2]], [1.0, [Decimal128("2.0")]]),
]


def raw(value: object) -> tuple[int, bytes]:
    """A value as (type byte, value bytes)."""
    document = bson.encode({"v": value})
    return document[4], document[7:-1]


def key(value: object) -> bytes:
    return keycodec.encode(*raw(value))


class TestCodec:
    def test_keys_are_in_the_servers_order(self) -> None:
        keys = [key(value) for value in ASCENDING]
        assert keys == sorted(keys)
        assert len(set(keys)) == len(keys)

    @pytest.mark.parametrize(("left", "right"), EQUAL)
    def test_equal_values_have_one_key(self, left: object, right: object) -> None:
        assert key(left) == key(right)

    def test_a_symbol_is_its_string(self) -> None:
        assert keycodec.encode(0x0E, raw("a")[1]) == key("a")

    @given(left=NUMBERS, right=NUMBERS)
    @settings(max_examples=100, deadline=None)
    def test_numbers_compare_by_exact_value(self, left: tuple[int, bytes], right: tuple[int, bytes]) -> None:
        numbers = [exact(*left), exact(*right)]
        keys = [keycodec.encode(*left), keycodec.encode(*right)]
        assert (keys[0] < keys[1]) == (numbers[0] < numbers[1])
        assert (keys[0] == keys[1]) == (numbers[0] == numbers[1])

    @given(value=VALUES)
    @settings(max_examples=60, deadline=None)
    def test_a_decoded_value_has_the_same_key(self, value: tuple[int, bytes]) -> None:
        found = keycodec.encode(*value)
        assert keycodec.encode(*keycodec.decode(found)) == found

    @given(data=st.binary(max_size=40), start=st.sampled_from([b"", b"F", b"P", b"Z", b"<", b'"', b" ", b"\xaa"]))
    @settings(max_examples=150, deadline=None)
    def test_arbitrary_bytes_are_a_key_or_refused(self, data: bytes, start: bytes) -> None:
        try:
            kind, value = keycodec.decode(start + data)
        except keycodec.MalformedKeyError:
            return
        bson.decode(keycodec.document([bytes([kind]), b"v\0", value]), RAW)

    def test_deep_keys_are_refused_not_followed(self) -> None:
        with pytest.raises(keycodec.MalformedKeyError, match="deep"):
            keycodec.decode(b"P" * 10_000)

    def test_a_binary_key_keeps_its_length(self) -> None:
        for size in (0, 1, 254, 255, 256, 70_000):
            assert keycodec.decode(key(Binary(bytes(size), 7))) == raw(Binary(bytes(size), 7))


RAW = bson.CodecOptions[dict[str, Any]](
    unicode_decode_error_handler="replace", datetime_conversion=bson.DatetimeConversion.DATETIME_MS
)


def exact(kind: int, value: bytes) -> tuple[int, Fraction]:
    """A number as (class, value) that compares as the server does: NaN first, then by exact value."""
    if kind == 0x01:
        number = Decimal(struct.unpack("<d", value)[0])
    elif kind == 0x13:
        number = Decimal128.from_bid(value).to_decimal()
    else:
        number = Decimal(int.from_bytes(value, "little", signed=True))
    if not number.is_finite():
        return (0 if number.is_nan() else 1 if number < 0 else 3), Fraction(0)
    return 2, Fraction(number)


TYPED: dict[LogicalType, st.SearchStrategy[Any]] = {
    T.INT32: st.integers(-(2**31), 2**31 - 1),
    T.INT64: st.integers(-(2**63), 2**63 - 1),
    T.DECIMAL: st.decimals(allow_nan=False, allow_infinity=False, places=2, max_value=10**12, min_value=-(10**12)),
    T.TEXT: st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8),
    T.UUID: st.binary(min_size=16, max_size=16),
    T.BYTES: st.binary(max_size=20),
    T.OBJECTID: st.binary(min_size=12, max_size=12).map(bytes.hex),
    T.TIMESTAMP: st.integers(-(10**13), 10**13).map(lambda milliseconds: milliseconds * 1000),
    T.DATE: st.integers(-100_000, 100_000),
}


def order(kind: LogicalType, value: Any) -> Any:
    """What values of a type sort by."""
    if kind is T.TEXT:
        return value.encode()
    return (len(value), value) if kind is T.BYTES else value


class TestTyped:
    @pytest.mark.parametrize("kind", TYPED)
    @given(data=st.data())
    @settings(max_examples=25, deadline=None)
    def test_values_come_back_and_keep_their_order(self, kind: LogicalType, data: st.DataObject) -> None:
        left, right = data.draw(TYPED[kind]), data.draw(TYPED[kind])
        keys = from_typed(kind, left), from_typed(kind, right)
        assert (to_typed(kind, keys[0]), to_typed(kind, keys[1])) == (left, right)
        assert (keys[0] < keys[1]) == (order(kind, left) < order(kind, right))

    @pytest.mark.parametrize("kind", TYPED)
    @given(data=st.data())
    @settings(max_examples=40, deadline=None)
    def test_a_range_holds_just_the_values_of_the_span(self, kind: LogicalType, data: st.DataObject) -> None:
        bounds = st.one_of(
            st.none(),
            TYPED[kind].map(lambda value: from_typed(kind, value)),
            st.one_of(NUMBERS, VALUES).map(lambda value: keycodec.encode(*value)),
        )
        span = Span(data.draw(bounds), data.draw(bounds))
        found = typed_range(span, kind)
        for value in data.draw(st.lists(TYPED[kind], max_size=5)):
            inside = (span.lower is None or span.lower <= from_typed(kind, value)) and (
                span.upper is None or from_typed(kind, value) < span.upper
            )
            assert inside == contains(found, kind, value)

    @pytest.mark.parametrize("kind", TYPED)
    def test_keys_of_other_types_are_no_values(self, kind: LogicalType) -> None:
        others = [None, True, {"a": 1}, MinKey(), MaxKey(), float("nan"), float("inf"), Binary(b"x", 9), "a\0b"]
        assert {to_typed(kind, key(value)) for value in others} == {None}

    @pytest.mark.parametrize("kind", [*TYPED, None])
    def test_no_row_has_the_key_of_a_nameless_document(self, kind: LogicalType | None) -> None:
        column = Column("_id", ("_id",), kind or T.BYTES, "any" if kind is None else kind.value)
        assert KeyForm([column]).decode(NAMELESS + bytes(32)) is None

    def test_a_number_fits_by_its_value(self) -> None:
        assert to_typed(T.INT64, key(5.0)) == 5
        assert to_typed(T.INT64, key(5.5)) is None
        assert to_typed(T.INT32, key(2**31)) is None
        assert to_typed(T.DECIMAL, key(0.5)) == Decimal("0.5")

    def test_bounds_that_no_value_can_have_are_moved_to_the_next_one(self) -> None:
        assert typed_range(Span(key(1.5), key(2.5)), T.INT64) == TypedRange(2, 3, empty=False)
        assert typed_range(Span(key("a\0b"), key("z")), T.TEXT) == TypedRange("a\x01", "z", empty=False)
        assert typed_range(Span(key(Binary(b"ab", 3)), None), T.BYTES) == TypedRange(bytes(3), None, empty=False)
        assert typed_range(Span(key(True), None), T.TEXT).empty
        assert typed_range(Span(None, key(1)), T.TEXT).empty

    def test_text_bounds_that_are_not_utf8(self) -> None:
        broken = b"<a\xff\0"
        found = typed_range(Span(broken, None), T.TEXT)
        assert isinstance(found.lower, str)
        assert from_typed(T.TEXT, found.lower) > broken > from_typed(T.TEXT, "a\U0010ffff")


def contains(found: TypedRange, kind: LogicalType, value: Any) -> bool:
    if found.empty:
        return False
    above = found.lower is None or order(kind, value) >= order(kind, found.lower)
    return above and (found.upper is None or order(kind, value) < order(kind, found.upper))


COMPOSITE = KeyForm(
    [
        Column("tenant", ("_id", "tenant"), T.INT64, "int32"),
        Column("region", ("_id", "place", "region"), T.TEXT, "string"),
        Column("number", ("_id", "place", "number"), T.INT64, "int64"),
        Column("at", ("_id", "at"), T.TIMESTAMP, "date"),
    ]
)


def composite(tenant: object, region: object, number: object, at: object) -> dict[str, object]:
    return {"tenant": tenant, "place": {"region": region, "number": number}, "at": at}


class TestComposite:
    def test_key_columns_are_the_document_id(self) -> None:
        expected = key(composite(7, "eu", 9, DatetimeMS(5)))
        assert COMPOSITE.encode((7, "eu", 9, 5000)) == expected
        assert COMPOSITE.decode(expected) == (7, "eu", 9, 5000)

    @pytest.mark.parametrize(
        "other",
        [
            composite(7, "eu", 9.5, DatetimeMS(5)),
            composite("7", "eu", 9, DatetimeMS(5)),
            {"tenant": 7},
            {"place": {"region": "eu", "number": 9}, "tenant": 7, "at": DatetimeMS(5)},
            {**composite(7, "eu", 9, DatetimeMS(5)), "more": 1},
            {"tenant": 7, "place": {"region": "eu", "number": 9, "x": 1}, "at": DatetimeMS(5)},
            7,
        ],
    )
    def test_other_ids_are_no_rows(self, other: object) -> None:
        assert COMPOSITE.decode(key(other)) is None

    def test_cuts_of_other_ids_lie_between_rows(self) -> None:
        assert COMPOSITE.cut(key(1)) == BOTTOM
        assert COMPOSITE.cut(key(True)) == TOP
        assert COMPOSITE.cut(key({"tenant": 7})) == Cut((7,), False)
        assert COMPOSITE.cut(key({"tenant": 7.5})) == Cut((8,), False)
        assert COMPOSITE.cut(key({"tenant": 7, "zzz": {}})) == Cut((7,), True)
        assert COMPOSITE.cut(key({**composite(7, "eu", 9, DatetimeMS(5)), "x": 1})) == Cut((7, "eu", 9, 5000), True)

    @given(data=st.data())
    @settings(max_examples=60, deadline=None)
    def test_a_range_holds_just_the_rows_of_the_span(self, data: st.DataObject) -> None:
        small = st.integers(0, 2)
        rows = st.tuples(small, st.sampled_from(["", "a", "b"]), small, small.map(lambda ms: ms * 1000))
        parts = st.sampled_from([0, 1, 2, 0.5, 1.5, "", "a", "a\0", "b", None, True, DatetimeMS(1), {"a": 1}])
        bounds = st.one_of(
            st.none(),
            rows.map(COMPOSITE.encode),
            st.builds(composite, parts, parts, parts, parts).map(key),
            parts.map(key),
        )
        span = Span(data.draw(bounds), data.draw(bounds))
        found = COMPOSITE.range(span)
        for row in data.draw(st.lists(rows, max_size=6)):
            of_row = COMPOSITE.encode(row)
            inside = (span.lower is None or span.lower <= of_row) and (span.upper is None or of_row < span.upper)
            assert inside == (above(found.lower, row) and not above(found.upper, row))
            assert not (inside and found.empty)

    def test_a_canonical_key_column_holds_the_key_itself(self) -> None:
        form = KeyForm([Column("key", ("_id",), T.BYTES, "any")])
        mixed = key({"a": [1, None]})
        assert form.encode((mixed,)) == mixed
        assert form.decode(mixed) == (mixed,)
        assert form.range(Span(mixed, None)).lower == Cut((mixed,), False)


def above(cut: Cut, row: tuple[Any, ...]) -> bool:
    """Whether a row lies above a cut."""
    head = row[: len(cut.values)]
    return head > cut.values if cut.after else head >= cut.values
