"""The projection law over generated BSON: what is projected comes back byte for byte, also by way of Arrow."""

from __future__ import annotations

from dataclasses import replace
from random import Random, randrange
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.residues import residues
from tests.unit.mongodb import oracle
from tests.unit.mongodb.bson_strategies import SCALARS, VALUES, documents, pack_array, pack_document
from tests.unit.mongodb.random_bson import Shape, document
from tranship.connectors.errors import UnmappableError
from tranship.connectors.mongodb.mapper import Mapper
from tranship.plans.streams import Child, Column, LogicalType, Rest, Stream

T = LogicalType

PLAIN = (
    Column("flag", ("flag",), T.BOOL, "bool"),
    Column("small", ("small",), T.INT32, "int32"),
    Column("big", ("big",), T.INT64, "int64"),
    Column("mostly_small", ("mostly_small",), T.INT64, "int32"),
    Column("ratio", ("ratio",), T.FLOAT64, "double"),
    Column("whole", ("whole",), T.FLOAT64, "int32", null="null"),
    Column("price", ("price",), T.DECIMAL, "decimal128", precision=12, scale=2),
    Column("wide", ("wide",), T.DECIMAL, "int64", precision=38, scale=1),
    Column("text", ("text",), T.TEXT, "string", null="null"),
    Column("blob", ("blob",), T.BYTES, "binary"),
    Column("uuid", ("uuid",), T.UUID, "uuid"),
    Column("oid", ("oid",), T.OBJECTID, "objectid"),
    Column("at", ("at",), T.TIMESTAMP, "date"),
    Column("day", ("day",), T.DATE, "date"),
    Column("json", ("json",), T.JSON, "any"),
    Column("json_or_null", ("json_or_null",), T.JSON, "any", null="null"),
)
ARRAYS = (
    Column("flags", ("flags",), T.ARRAY, "bool", items=T.BOOL),
    Column("smalls", ("smalls",), T.ARRAY, "int32", items=T.INT32),
    Column("bigs", ("bigs",), T.ARRAY, "int32", items=T.INT64, null="null"),
    Column("ratios", ("ratios",), T.ARRAY, "double", items=T.FLOAT64),
    Column("wholes", ("wholes",), T.ARRAY, "int32", items=T.FLOAT64),
    Column("prices", ("prices",), T.ARRAY, "decimal128", items=T.DECIMAL, precision=12, scale=2),
    Column("words", ("words",), T.ARRAY, "string", items=T.TEXT, null="null"),
    Column("blobs", ("blobs",), T.ARRAY, "binary", items=T.BYTES),
    Column("uuids", ("uuids",), T.ARRAY, "uuid", items=T.UUID),
    Column("oids", ("oids",), T.ARRAY, "objectid", items=T.OBJECTID),
    Column("ats", ("ats",), T.ARRAY, "date", items=T.TIMESTAMP),
    Column("days", ("days",), T.ARRAY, "date", items=T.DATE),
)
COLUMNS = (
    *PLAIN,
    *ARRAYS,
    Column("city", ("address", "city"), T.TEXT, "string"),
    Column("zip", ("address", "place", "zip"), T.INT32, "int32"),
    Column("codes", ("address", "codes"), T.ARRAY, "int32", items=T.INT32),
)
CHILDREN = (
    Child(
        "lines",
        ("lines",),
        (
            Column("sku", ("sku",), T.TEXT, "string"),
            Column("cents", ("price", "cents"), T.INT64, "int64"),
            Column("sizes", ("sizes",), T.ARRAY, "decimal128", items=T.DECIMAL, precision=9, scale=2),
        ),
        (Child("notes", ("notes",), (Column("note", (), T.TEXT, "string"),), empty="missing"),),
    ),
    Child("tags", ("address", "tags"), (Column("tag", (), T.JSON, "any"),), empty="null"),
    Child("grid", ("grid",), (Column("line", (), T.ARRAY, "double", items=T.FLOAT64),)),
)
STREAM = Stream("s", "c", "t", (Column("id", ("_id",), T.BYTES, "any"),), COLUMNS, CHILDREN)

_NAMES = {
    T.BOOL: "bool", T.INT32: "int32", T.INT64: "int64", T.FLOAT64: "double", T.DECIMAL: "decimal128",
    T.TEXT: "string", T.BYTES: "binary", T.UUID: "binary", T.OBJECTID: "objectid", T.TIMESTAMP: "date",
    T.DATE: "date",
}  # fmt: skip


def _document_of(**fields: st.SearchStrategy[tuple[int, bytes]]) -> st.SearchStrategy[tuple[int, bytes]]:
    chosen = st.fixed_dictionaries({}, optional=fields)
    return chosen.map(lambda found: (0x03, pack_document([(kind, name, raw) for name, (kind, raw) in found.items()])))


def _array_of(inner: st.SearchStrategy[tuple[int, bytes]]) -> st.SearchStrategy[tuple[int, bytes]]:
    return st.lists(inner, max_size=3).map(lambda values: (0x04, pack_array(values)))


def _values_of(column: Column) -> st.SearchStrategy[tuple[int, bytes]]:
    """Arrays for an array column: their elements fit it, now and then one does not."""
    fitting = SCALARS[_NAMES[column.element.type]]
    return _array_of(st.one_of(fitting, fitting, SCALARS["null"], SCALARS["int32"], SCALARS["int64"]))


_LINE = _document_of(
    sku=SCALARS["string"],
    price=_document_of(cents=SCALARS["int64"]),
    sizes=_array_of(SCALARS["decimal128"]),
    notes=_array_of(st.one_of(SCALARS["string"], SCALARS["null"])),
)
FITTING = {
    "_id": VALUES,
    **{column.name: SCALARS[_NAMES[column.type]] for column in PLAIN if column.type in _NAMES},
    **{column.name: _values_of(column) for column in ARRAYS},
    "json": VALUES,
    "json_or_null": VALUES,
    "address": _document_of(
        city=SCALARS["string"],
        place=_document_of(zip=SCALARS["int32"]),
        codes=_array_of(SCALARS["int32"]),
        tags=_array_of(VALUES),
        more=VALUES,
    ),
    "lines": _array_of(st.one_of(_LINE, _LINE, VALUES)),
    "grid": _array_of(_array_of(SCALARS["double"])),
}

STREAMS = {
    "residue": STREAM,
    "rest column": replace(STREAM, rest_column="rest", order=("_id", "b", "text", "a")),
    "no columns": Stream("s", "c", "t", STREAM.key, ()),
    "reversed": replace(STREAM, order=tuple(reversed([column.name for column in PLAIN]))),
}
MAPPERS = {name: Mapper(stream) for name, stream in STREAMS.items()}


@pytest.mark.parametrize("name", STREAMS)
@given(raw=documents(FITTING))
@settings(max_examples=10, deadline=None)
def test_documents_come_back_byte_for_byte(name: str, raw: bytes) -> None:
    mapper = MAPPERS[name]
    assert mapper.unproject(mapper.project(raw)) == raw


SHAPE: dict[str, Shape] = {
    "_id": 0x07, "flag": 0x08, "small": 0x10, "big": 0x12, "mostly_small": 0x10, "ratio": 0x01, "whole": 0x10,
    "price": 0x13, "wide": 0x12, "text": 0x02, "blob": 0x05, "uuid": 0x05, "oid": 0x07, "at": 0x09, "day": 0x09,
    "flags": [0x08], "smalls": [0x10], "bigs": [0x10], "ratios": [0x01], "wholes": [0x10], "prices": [0x13],
    "words": [0x02], "blobs": [0x05], "uuids": [0x05], "oids": [0x07], "ats": [0x09], "days": [0x09],
    "json": 0x03, "json_or_null": 0x02,
    "address": {"city": 0x02, "place": {"zip": 0x10}, "codes": [0x10], "tags": [0x02]},
    "lines": [{"sku": 0x02, "price": {"cents": 0x12}, "sizes": [0x13], "notes": [0x02]}],
    "grid": [[0x01]],
}  # fmt: skip


@pytest.mark.parametrize("off", [0.0, 0.1, 0.5])
def test_many_documents_come_back_byte_for_byte(off: float) -> None:
    seed = randrange(2**32)
    random = Random(seed)
    raws = [document(random, SHAPE, off) for _ in range(60)]
    for name, mapper in MAPPERS.items():
        batch = mapper.batch(raws)
        assert batch.quarantined == ()
        assert mapper.documents(batch.rows) == raws, f"seed {seed}, stream {name}"


@pytest.mark.parametrize("name", STREAMS)
@given(raw=documents(FITTING))
@settings(max_examples=10, deadline=None)
def test_columns_hold_what_an_independent_reader_finds(name: str, raw: bytes) -> None:
    assert oracle.found(STREAMS[name], MAPPERS[name].project(raw)) == oracle.expected(STREAMS[name], raw)


@pytest.mark.parametrize("off", [0.0, 0.1, 0.5])
def test_columns_of_many_documents_hold_what_an_independent_reader_finds(off: float) -> None:
    seed = randrange(2**32)
    random = Random(seed)
    for _ in range(40):
        raw = document(random, SHAPE, off)
        for name, stream in STREAMS.items():
            row = MAPPERS[name].project(raw)
            assert oracle.found(stream, row) == oracle.expected(stream, raw), f"seed {seed}, stream {name}"


@given(raws=st.lists(documents(FITTING), max_size=4))
@settings(max_examples=10, deadline=None)
def test_documents_come_back_through_arrow(raws: list[bytes]) -> None:
    mapper = MAPPERS["rest column"]
    batch = mapper.batch(raws)
    assert batch.quarantined == ()
    assert batch.size == sum(map(len, raws))
    batch.rows.validate(full=True)
    assert mapper.documents(batch.rows) == raws
    for at in range(len(raws)):
        assert mapper.documents(batch.rows.slice(at, 1)) == [raws[at]]


@given(raw=documents(FITTING))
@settings(max_examples=10, deadline=None)
def test_residue_is_counted_or_there_is_none(raw: bytes) -> None:
    mapper = MAPPERS["residue"]
    assert bool(residues(mapper.batch([raw]))) == _has_residue(mapper.project(raw))


def _has_residue(row: list[Any]) -> bool:
    """Whether the row or any child row of it has residue."""
    inner = [child for value in row[:-1] if isinstance(value, list) for child in value]
    return row[-1] is not None or any(_has_residue(child) for child in inner)


@pytest.mark.parametrize("rest", [Rest.QUARANTINE, Rest.FAIL])
@given(raw=documents(FITTING))
@settings(max_examples=10, deadline=None)
def test_other_policies_take_just_the_documents_without_residue(rest: Rest, raw: bytes) -> None:
    mapper = Mapper(replace(STREAM, rest=rest))
    if not residues(MAPPERS["residue"].batch([raw])):
        assert mapper.documents(mapper.batch([raw]).rows) == [raw]
    elif rest is Rest.FAIL:
        with pytest.raises(UnmappableError):
            mapper.batch([raw])
    else:
        (entry,) = mapper.batch([raw]).quarantined
        assert entry.document == raw
        assert entry.path
        assert entry.reason


def test_arbitrary_bytes_become_rows_or_quarantine() -> None:
    seed = randrange(2**32)
    random = Random(seed)
    mapper = MAPPERS["rest column"]
    for _ in range(150):
        shape = {name: inner for name, inner in SHAPE.items() if name == "_id" or random.random() < 0.3}
        shape["_id"] = random.choice([0x02, 0x03, 0x04, 0x05, 0x0B, 0x0C, 0x0F])
        raw = bytearray(document(random, shape, 0.3))
        for _ in range(random.randrange(1, 4)):
            raw[random.randrange(len(raw))] = random.choice([0, 1, 255, random.randrange(256)])
        broken = bytes(raw[: random.randrange(1, len(raw))]) if random.random() < 0.1 else bytes(raw)
        batch = mapper.batch([broken])
        outcome = [entry.document for entry in batch.quarantined] or mapper.documents(batch.rows)
        assert outcome == [broken], f"seed {seed}"
