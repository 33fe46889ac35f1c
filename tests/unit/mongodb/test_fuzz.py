"""Any bytes: the mapper makes a row that comes back byte for byte, or a quarantine entry; nothing else ever."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from random import Random, randrange

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bsonvalues import ARRAY, CODE_WITH_SCOPE, DOCUMENT, ONE, Value, code_with_scope, document, nested
from tests.unit.mongodb import mutations, oracle, random_bson
from tests.unit.mongodb.test_mapper_law import MAPPERS, SHAPE, STREAM, STREAMS
from tranship.connectors import keycodec
from tranship.connectors.mongodb.mapper import Mapper
from tranship.connectors.mongodb.projection import key_of
from tranship.plans.streams import Child, Column, LogicalType, Stream

TYPED_KEYS = {
    kind: Mapper(replace(STREAM, key=(Column("id", ("_id",), LogicalType(kind), bson),)))
    for kind, bson in (("text", "string"), ("int64", "int64"), ("uuid", "uuid"), ("objectid", "objectid"))
}
COMPOSITE = Mapper(
    replace(
        STREAM,
        key=(
            Column("a", ("_id", "a"), LogicalType.TEXT, "string"),
            Column("b", ("_id", "b", "c"), LogicalType.INT32, "int32"),
        ),
    )
)
ALL = [*MAPPERS.values(), *TYPED_KEYS.values(), COMPOSITE]

PEAK_FACTOR, PEAK_BASE = 40, 2_000_000
"""Bytes of memory for each byte of a document, and beside that: much less than what a length that lies asks for."""


def check(mapper: Mapper, raw: bytes) -> bool:
    """The law for any bytes; whether they became a row."""
    batch = mapper.batch([raw])
    key_of(raw)
    if batch.quarantined:
        [entry] = batch.quarantined
        assert entry.document == raw
        assert entry.reason
        assert batch.rows.num_rows == 0
        return False
    assert mapper.documents(batch.rows) == [raw]
    return True


def check_in_bounds(mapper: Mapper, raw: bytes) -> bool:
    """`check`, with an eye on the memory it takes."""
    tracemalloc.start()
    try:
        held = check(mapper, raw)
        assert tracemalloc.get_traced_memory()[1] < PEAK_BASE + PEAK_FACTOR * len(raw)
    finally:
        tracemalloc.stop()
    return held


def test_mutated_documents() -> None:
    seed = randrange(2**32)
    random = Random(seed)
    held = 0
    for number in range(200):
        raw = mutations.mutated(random, SHAPE)
        try:
            held += check(ALL[number % len(ALL)], raw)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {raw.hex()}") from error
    assert 0 < held < 200, "some are still documents"


def test_what_has_a_row_after_a_mutation_is_what_an_independent_reader_sees() -> None:
    seed = randrange(2**32)
    random = Random(seed)
    mapper, stream = MAPPERS["residue"], STREAMS["residue"]
    for _ in range(100):
        raw = mutations.mutated(random, SHAPE)
        if not mapper.batch([raw]).quarantined:
            assert oracle.found(stream, mapper.project(raw)) == oracle.expected(stream, raw), (
                f"seed {seed}: {raw.hex()}"
            )


@given(raw=st.binary(max_size=60))
@settings(max_examples=60, deadline=None)
def test_any_bytes(raw: bytes) -> None:
    framed = (len(raw) + 5).to_bytes(4, "little") + raw + b"\0"
    for mapper in (MAPPERS["rest column"], COMPOSITE):
        check(mapper, raw)
        check(mapper, framed)


JSON = Mapper(Stream("s", "c", "t", (Column("_id", ("_id",), LogicalType.INT32, "int32"),),
                     (Column("j", ("j",), LogicalType.JSON, "any"),)))  # fmt: skip


ANY_ID = Mapper(replace(STREAM, key=(replace(STREAM.key[0], long=True),)))
PLACES = [(JSON, "j"), (JSON, "other"), (MAPPERS["rest column"], "other"), (ANY_ID, "_id")]
LEVELS_OF = {0x03: 1, 0x04: 1, 0x0F: 3}
"""Levels that one turn of `mutations.deep` makes: a code's scope lies two levels down."""


@pytest.mark.parametrize("kind", LEVELS_OF)
@pytest.mark.parametrize("turns", [60, 83, 84, 100, 249, 250, 1000, 10_000])
def test_deep_nesting(turns: int, kind: int) -> None:
    fits = 1 + turns * LEVELS_OF[kind] <= keycodec.MAX_DEPTH
    for mapper, name in PLACES:
        raw = mutations.deep(turns, kind, name)
        assert check_in_bounds(mapper, raw) is fits, name
        if not fits:
            [entry] = mapper.batch([raw]).quarantined
            assert entry.reason == "malformed: nested deeper than 250 levels"
            assert entry.path.startswith(name)


def _below(path: str, inner: Value) -> bytes:
    """A document with an `_id` and a value at a path, whose places in arrays are numbers."""
    names = path.split(".")
    for name in reversed(names[1:]):
        inner = (ARRAY if name.isdecimal() else DOCUMENT), document((name, inner))
    return document(("_id", ONE), (names[0], inner))


def _lines(*columns: Column) -> Stream:
    return Stream("s", "c", "t", (KEY,), (), (Child("lines", ("a", "lines"), columns),))


KEY = Column("_id", ("_id",), LogicalType.INT32, "int32")
FAR = Column("j", ("a", "b", "j"), LogicalType.JSON, "any")
BELOW = {
    "a json column": (Stream("s", "c", "t", (KEY,), (FAR,)), "a.b.j"),
    "an unmapped field": (Stream("s", "c", "t", (KEY,), (FAR,)), "a.b.other"),
    "a json column of a child": (_lines(Column("j", ("x", "j"), LogicalType.JSON, "any")), "a.lines.0.x.j"),
    "elements as json": (_lines(Column("j", (), LogicalType.JSON, "any")), "a.lines.0"),
    "an unmapped field of a child": (_lines(Column("n", ("n",), LogicalType.INT32, "int32")), "a.lines.0.j"),
    "a document where a value belongs": (_lines(Column("n", (), LogicalType.INT32, "int32")), "a.lines.0"),
}
"""Streams, and where in their documents something is that can be deep."""


@pytest.mark.parametrize("place", BELOW)
def test_levels_are_counted_from_the_document(place: str) -> None:
    stream, path = BELOW[place]
    mapper = Mapper(stream)
    above = len(path.split("."))
    for levels, fits in ((250, True), (251, False)):
        raw = _below(path, (DOCUMENT, nested(levels - above)))
        assert check(mapper, raw) is fits
        assert check(mapper, _below(path, (CODE_WITH_SCOPE, code_with_scope("x", nested(levels - above - 1))))) is fits


@pytest.mark.parametrize("lie", [2**31 - 1, 2**30, 2**24, -1, -(2**31)])
@pytest.mark.parametrize("at", [0, 22])
def test_lengths_that_lie(lie: int, at: int) -> None:
    raw = bytearray(mutations.deep(2, 0x03, "other"))
    raw[at : at + 4] = lie.to_bytes(4, "little", signed=True)
    for mapper in ALL:
        assert not check_in_bounds(mapper, bytes(raw))


def test_long_names_deep_down() -> None:
    raw = mutations.long_names(240, 5_000)
    assert not check_in_bounds(MAPPERS["residue"], raw)
    [entry] = MAPPERS["residue"].batch([raw]).quarantined
    assert len(entry.path) < 100_000


@given(key=st.binary(max_size=40))
@settings(max_examples=200, deadline=None)
def test_any_bytes_as_a_key(key: bytes) -> None:
    check_key(key)


def test_mutated_keys() -> None:
    seed = randrange(2**32)
    random = Random(seed)
    for _ in range(300):
        shape = {"_id": random.choice([0x02, 0x03, 0x05, 0x0F, 0x13])}
        raw = bytearray(key_of(random_bson.document(random, shape, 0.0)) + b"\0")
        random.choice(mutations.MUTATIONS)(random, raw)
        check_key(bytes(raw))


def check_key(key: bytes) -> None:
    """Bytes are no key, or they are the key of the value that they stand for."""
    try:
        kind, value = keycodec.decode(key)
    except keycodec.MalformedKeyError:
        return
    assert keycodec.encode(kind, value) == key
