"""The pure parts of logical decoding: messages as a server sent them, keys from texts, names, what a snapshot shows."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tranship.connectors.errors import ConnectorError, SourceChangedError
from tranship.connectors.keys import KeyForm, TypedValue
from tranship.connectors.postgresql.decoding.keytexts import KeyTexts
from tranship.connectors.postgresql.decoding.messages import (
    UNSENT,
    Attribute,
    Begin,
    Change,
    Commit,
    Relation,
    Truncate,
    parse,
)
from tranship.connectors.postgresql.decoding.naming import feed_name
from tranship.connectors.postgresql.decoding.slot import Snapshot, lsn_of, lsn_text, position_of
from tranship.connectors.postgresql.layout import layout
from tranship.plans.streams import Column, LogicalType, Stream

L = LogicalType

# What PostgreSQL 18.4 sent for a table r (k text, kd a stored generated column of it and the primary key, t text).
BEGIN = b"B\x00\x00\x00\x00\x01r\xba\x10\x00\x03\x04ZA!\xfeT\x00\x00\x02\xf3"
RELATION = (
    b"R\x00\x00@\x00public\x00r\x00d\x00\x03\x00k\x00\x00\x00\x00\x19\xff\xff\xff\xff\x01kd\x00\x00\x00\x00\x11"
    b"\xff\xff\xff\xff\x00t\x00\x00\x00\x00\x19\xff\xff\xff\xff"
)
INSERT = b"I\x00\x00@\x00N\x00\x03t\x00\x00\x00\x03a\\bt\x00\x00\x00\x04\\xc6t\x00\x00\x00\x01x"
UPDATE = b"U\x00\x00@\x00K\x00\x03nt\x00\x00\x00\x04\\xc6nN\x00\x03t\x00\x00\x00\x02zzt\x00\x00\x00\x04\\x4au"
DELETE = b"D\x00\x00@\x00K\x00\x03nt\x00\x00\x00\x04\\x4an"
COMMIT = b"C\x00\x00\x00\x00\x00\x01r\xba\x10\x00\x00\x00\x00\x01r\xba@\x00\x03\x04ZA!\xfeT"


def test_messages() -> None:
    begin = parse(BEGIN)
    assert isinstance(begin, Begin)
    assert (begin.lsn, begin.xid) == (0x172BA10, 755)
    assert datetime.fromtimestamp(begin.committed_us / 1e6, UTC).date().isoformat() == "2026-11-28"
    text, raw = 25, 17
    columns = (Attribute("k", text, -1), Attribute("kd", raw, -1), Attribute("t", text, -1))
    assert parse(RELATION) == Relation(0x4000, "public", "r", "d", columns)
    assert parse(INSERT) == Change(0x4000, None, (b"a\\b", b"\\xc6", b"x"))
    assert parse(UPDATE) == Change(0x4000, (None, b"\\xc6", None), (b"zz", b"\\x4a", UNSENT))
    assert parse(DELETE) == Change(0x4000, (None, b"\\x4a", None), None)
    assert parse(COMMIT) == Commit(0x172BA40)
    assert parse(b"T\x00\x00\x00\x02\x00\x00\x00@\x00\x00\x00@\x01") == Truncate((0x4000, 0x4001))


@pytest.mark.parametrize("message", [b"Oxxxxxxxxname\0", b"Y\x00\x00\x00\x01\0name\0", b"M\x00"])
def test_messages_that_change_no_row(message: bytes) -> None:
    assert parse(message) is None


@pytest.mark.parametrize("message", [b"", b"S\0\0\0\1", b"P", b"b", b"\xff"])
def test_a_message_of_an_unknown_kind_is_not_passed_over(message: bytes) -> None:
    with pytest.raises(SourceChangedError):
        parse(message)


def _texts(kind: LogicalType, bson: str = "") -> tuple[KeyTexts, KeyForm]:
    decimals = {"precision": 20, "scale": 3} if kind is L.DECIMAL else {}
    stream = Stream("s", "s", "s", (Column("_id", ("_id",), kind, bson or kind.value, **decimals),), ())
    return KeyTexts(stream, layout(stream, "shop")), KeyForm(stream.key)


DAY_US = 86_400_000_000


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (L.INT64, "-9223372036854775808", -(2**63)),
        (L.TEXT, "a'\\x00\n", "a'\\x00\n"),
        (L.BYTES, "\\x00ff", b"\0\xff"),
        (L.UUID, "00112233-4455-6677-8899-aabbccddeeff", bytes.fromhex("00112233445566778899aabbccddeeff")),
        (L.OBJECTID, "0123456789abcdef01234567", "0123456789abcdef01234567"),
        (L.DATE, "1970-01-01", 0),
        (L.DATE, "2000-02-29", 11_016),
        (L.DATE, "1900-03-01", -25_508),
        (L.DATE, "4714-11-24 BC", -2_440_588),
        (L.DATE, "0001-12-31 BC", -719_163),
        (L.TIMESTAMP, "1969-12-31 23:59:59.999+00", -1000),
        (L.TIMESTAMP, "1970-01-02 01:02:03.5+00", DAY_US + 3_723_500_000),
        (L.TIMESTAMP, "4714-11-24 00:00:00+00 BC", -2_440_588 * DAY_US),
    ],
)
def test_keys_from_texts(kind: LogicalType, text: str, value: TypedValue) -> None:
    texts, form = _texts(kind)
    assert texts.key([text]) == form.encode([value])


@given(st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)).map(lambda t: t.replace(microsecond=0, tzinfo=UTC)))
def test_times_are_those_of_the_calendar(moment: datetime) -> None:
    texts, form = _texts(L.TIMESTAMP)
    seconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()
    assert texts.key([f"{moment.date()} {moment:%H:%M:%S}+00"]) == form.encode([int(seconds) * 10**6])


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (L.DECIMAL, "NaN"),
        (L.TIMESTAMP, "infinity"),
        (L.TIMESTAMP, "2000-01-01 00:00:00.0001+00"),
        (L.TIMESTAMP, "2000-01-01 00:00:00+01"),
        (L.DATE, "-infinity"),
        (L.OBJECTID, "0123456789ABCDEF01234567"),
        (L.BYTES, "escaped"),
    ],
)
def test_a_key_that_no_document_has_is_an_error(kind: LogicalType, text: str) -> None:
    texts, _ = _texts(kind)
    with pytest.raises(ConnectorError, match="table s, key _id") as caught:
        texts.key([text])
    assert "ABCDEF" not in str(caught.value)


@given(st.text(), st.text(min_size=1), st.text(min_size=1))
def test_names_fit_and_are_a_slots(database: str, state: str, run: str) -> None:
    clean = [part.encode("utf-8", "ignore").decode() for part in (database, state, run)]
    name = feed_name(*clean)
    assert len(name) <= 63
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_")


def test_names_tell_runs_apart() -> None:
    places = [
        ("a", "b", "shop-1"),
        ("a", "b", "shop_1"),
        ("a", "b", "SHOP-1"),
        ("a", "bs", "hop-1"),
        ("ab", "", "shop-1"),
    ]
    places += [("a", "b", "x" * 80), ("a", "b", "x" * 81)]
    assert len({feed_name(*place) for place in places}) == len(places)
    assert feed_name("a", "b", "shop-1").startswith("tranship_shop_1_")


def test_positions() -> None:
    assert position_of(0x1_0000_00FF).token == b"1/FF"
    assert lsn_of(position_of(0xABC_DEF0_1234)) == 0xABC_DEF0_1234
    assert lsn_text(0) == "0/0"


@pytest.mark.parametrize(
    ("upper", "running", "xid", "shown"),
    [
        (100, {98}, 97, True),
        (100, {98}, 98, False),
        (100, {98}, 99, True),
        (100, set(), 100, False),
        (2**32 + 5, {2**32 + 3}, 3, False),
        (2**32 + 5, set(), 4, True),
        (2**32 + 5, set(), 2**32 - 1, True),
        (2**32 + 5, {2**32 - 1}, 2**32 - 1, False),
        (2**32 - 2, set(), 3, False),
    ],
)
def test_what_a_snapshot_shows(upper: int, running: set[int], xid: int, shown: bool) -> None:
    assert Snapshot(upper, frozenset(running)).shows(xid) is shown
