"""Every type of key column, single and as a part, against the borders of every BSON type: a row or quarantine."""

from __future__ import annotations

from itertools import product
from typing import Any

import bson
import pytest
from bson import Binary, Code, DatetimeMS, Decimal128, Int64, MaxKey, MinKey, ObjectId, Timestamp

from tranship.connectors.keys import KEY_TYPES, KeyForm
from tranship.connectors.mongodb.mapper import Mapper
from tranship.connectors.mongodb.projection import key_of as key_of_raw
from tranship.connectors.protocols import Span
from tranship.plans.streams import Column, LogicalType, Stream

LOWEST, HIGHEST = -(2**63), 2**63 - 1
DAY = 86_400_000

BORDERS: list[Any] = [
    MinKey(), float("nan"), float("-inf"), Decimal128("-9.999999999999999999999999999999999E+6144"), -1.7e308,
    Int64(LOWEST), -(2**31), -(2**31) - 1, -1, Decimal128("-1E-6176"), -5e-324, 0, -0.0, Decimal128("-0E+6111"), 1, 1.0,
    Decimal128("1.00"), 0.5, 2**31 - 1, 2**31, 2.0**53, Int64(HIGHEST), 2.0**63, Decimal128("9223372036854775808"),
    Decimal128("1E+6144"), float("inf"), "", "a", "a\0b", "\U0010ffff", "x" * 1000, "x" * 1001, {}, {"a": 1}, {"k": 1},
    Binary(b""), Binary(b"x" * 1000), Binary(b"x" * 1001), Binary(bytes(16), 4), Binary(bytes(16), 3),
    Binary(bytes(15), 4), Binary(b"x", 2), Binary(b"x", 128), ObjectId("0" * 24), ObjectId("f" * 24), False, True,
    DatetimeMS(LOWEST), DatetimeMS(LOWEST + 1), DatetimeMS(-106751991167 * DAY), DatetimeMS(-106751991167 * DAY - 1),
    DatetimeMS(-1), DatetimeMS(0), DatetimeMS(1), DatetimeMS(DAY), DatetimeMS(106751991167 * DAY),
    DatetimeMS(106751991167 * DAY + 1), DatetimeMS(HIGHEST - 1), DatetimeMS(HIGHEST), Timestamp(0, 1),
    Timestamp(2**32 - 1, 2**32 - 1), Code("a"), Code("a", {}), MaxKey(),
]  # fmt: skip
"""106,751,991,167 days and some hours are the end of int64 milliseconds."""


def key_column(kind: LogicalType, *path: str) -> Column:
    options = {"precision": 30, "scale": 2} if kind is LogicalType.DECIMAL else {}
    return Column("key", path, kind, _bson(kind), **options)  # type: ignore[arg-type]


def _bson(kind: LogicalType) -> str:
    natural = {
        LogicalType.INT32: "int32",
        LogicalType.INT64: "int64",
        LogicalType.DECIMAL: "decimal128",
        LogicalType.TEXT: "string",
        LogicalType.BYTES: "binary",
        LogicalType.UUID: "uuid",
        LogicalType.OBJECTID: "objectid",
        LogicalType.TIMESTAMP: "date",
        LogicalType.DATE: "date",
    }
    return natural[kind]


def stream(*key: Column) -> Stream:
    return Stream("s", "s", "s", key, ())


@pytest.mark.parametrize("kind", sorted(KEY_TYPES))
def test_each_document_is_a_row_or_in_quarantine(kind: LogicalType) -> None:
    one, part = stream(key_column(kind, "_id")), stream(key_column(kind, "_id", "k"))
    for value in BORDERS:
        for of, identity in ((one, value), (part, {"k": value})):
            raw = bson.encode({"_id": identity})
            batch = Mapper(of).batch([raw])
            assert batch.rows.num_rows + len(batch.quarantined) == 1, value
            if batch.rows.num_rows:
                assert Mapper(of).documents(batch.rows) == [raw], value


@pytest.mark.parametrize("kind", sorted(KEY_TYPES))
def test_each_border_bounds_a_span_of_rows(kind: LogicalType) -> None:
    """The values of a span are those whose keys lie in it, by the order of bytes."""
    form = KeyForm([key_column(kind, "_id")])
    keys = [key_of_raw(bson.encode({"_id": value})) for value in BORDERS]
    rows = [(key, typed) for key in keys if (typed := form.decode(key)) is not None]
    assert rows
    for lower, upper in product(keys, keys):
        span = form.range(Span(lower, upper))
        inside = {key for key, typed in rows if _is_in(span, form, typed)}
        assert inside == {key for key, _ in rows if lower <= key < upper}, (lower, upper)


def _is_in(span: Any, form: KeyForm, typed: Any) -> bool:
    key = form.encode(typed)
    above = span.lower is None or _at_or_above(form, key, span.lower)
    below = span.upper is None or not _at_or_above(form, key, span.upper)
    return bool(above and below and not span.empty)


def _at_or_above(form: KeyForm, key: bytes, cut: Any) -> bool:
    if not cut.values:
        return not cut.after
    bound = form.encode(cut.values)
    return key > bound if cut.after else key >= bound
