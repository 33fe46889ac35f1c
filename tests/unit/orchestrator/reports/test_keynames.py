"""Keys as people name them: every name leads back to its key, and to no other."""

from __future__ import annotations

import json
import uuid
from typing import Any

import bson
import pytest
from bson import ObjectId
from hypothesis import example, given
from hypothesis import strategies as st

from tranship.connectors import keycodec
from tranship.connectors.keys import KeyForm, from_typed
from tranship.connectors.protocols import NAMELESS
from tranship.orchestrator.reports.keynames import NoKeyError, key_text, key_values, keys_named
from tranship.plans.streams import Column, LogicalType, Stream

T = LogicalType


def stream(*key: Column) -> Stream:
    return Stream("things", "things", "things", key, ())


def single(kind: LogicalType, bson_type: str = "") -> Stream:
    return stream(Column("_id", ("_id",), kind, bson_type or kind.value))


COMPOSITE = stream(Column("a", ("_id", "a"), T.TEXT, "string"), Column("b", ("_id", "b"), T.INT64, "int64"))
CANONICAL = single(T.BYTES, "any")


def key(value: Any) -> bytes:
    raw = bson.encode({"": value})
    return keycodec.encode(raw[4], raw[6:-1])


@pytest.mark.parametrize(
    ("of", "value", "name"),
    [
        (single(T.TEXT), "a name", "a name"),
        (single(T.TEXT), "5", "5"),
        (single(T.TEXT), "Zürich", "Zürich"),
        (single(T.TEXT), "", f"canonical:{key('').hex()}"),
        (single(T.TEXT), "-x", f"canonical:{key('-x').hex()}"),
        (single(T.TEXT), "a\x1b[2J", f"canonical:{key(chr(97) + chr(27) + '[2J').hex()}"),
        (single(T.TEXT), "canonical:3c00", f"canonical:{key('canonical:3c00').hex()}"),
        (single(T.TEXT), 7, f"canonical:{key(7).hex()}"),
        (single(T.INT64), -5, "-5"),
        (single(T.INT64), "5", f"canonical:{key('5').hex()}"),
        (single(T.OBJECTID), ObjectId("a" * 24), "a" * 24),
        (single(T.UUID), uuid.UUID(int=7), uuid.UUID(int=7).hex),
        (CANONICAL, "a name", f"canonical:{key('a name').hex()}"),
        (COMPOSITE, {"a": "x é", "b": 5}, '{"a": "x é", "b": 5}'),
        (COMPOSITE, {"a": "x\n", "b": 5}, '{"a": "x\\n", "b": 5}'),
        (COMPOSITE, {"b": 5}, f"canonical:{key({'b': 5}).hex()}"),
    ],
)
def test_names(of: Stream, value: Any, name: str) -> None:
    raw = bson.encode(
        {"": value}, codec_options=bson.CodecOptions(uuid_representation=bson.UuidRepresentation.STANDARD)
    )
    encoded = keycodec.encode(raw[4], raw[6:-1])
    assert key_text(of, encoded) == name
    assert encoded in keys_named(of, name)


def test_a_nameless_document_has_a_name_too() -> None:
    for of in (single(T.TEXT), CANONICAL, COMPOSITE):
        name = key_text(of, NAMELESS + bytes(32))
        assert name == "canonical:ff" + "00" * 32
        assert keys_named(of, name)[0] == NAMELESS + bytes(32)


@given(st.text())
@example("canonical:")
@example("--help")
def test_every_text_leads_back(text: str) -> None:
    of = single(T.TEXT)
    name = key_text(of, from_typed(T.TEXT, text))
    assert name.isprintable()
    assert not name.startswith("-")
    found = keys_named(of, name)
    assert found[0] == from_typed(T.TEXT, text)


@given(st.text(), st.integers(-(2**63), 2**63 - 1))
def test_every_composite_key_leads_back(text: str, number: int) -> None:
    encoded = KeyForm(COMPOSITE.key).encode((text, number))
    name = key_text(COMPOSITE, encoded)
    assert name.isprintable()
    assert keys_named(COMPOSITE, name) == [encoded]


@pytest.mark.parametrize(
    "kind", [T.INT32, T.INT64, T.DECIMAL, T.TEXT, T.BYTES, T.UUID, T.OBJECTID, T.TIMESTAMP, T.DATE]
)
@given(value=st.binary(min_size=16, max_size=16))
def test_every_type_of_key_leads_back(kind: LogicalType, value: bytes) -> None:
    of, number = single(kind), int.from_bytes(value[:4], "big", signed=True)
    typed: dict[LogicalType, Any] = {T.TEXT: value.hex(), T.BYTES: value, T.UUID: value, T.OBJECTID: value[:12].hex()}
    # A date of MongoDB counts milliseconds.
    scaled = number * 1000 if kind is T.TIMESTAMP else number
    encoded = from_typed(kind, typed.get(kind, scaled)) if kind is not T.DECIMAL else key(bson.Int64(number))
    assert keys_named(of, key_text(of, encoded)) == [encoded]
    assert json.dumps(key_values(of, encoded))


@pytest.mark.parametrize(
    ("of", "name"),
    [
        (single(T.INT64), "x"),
        (single(T.INT64), "canonical:xy"),
        (single(T.OBJECTID), "abc"),
        (single(T.UUID), "00"),
        (single(T.DECIMAL), "one"),
        (CANONICAL, "a name"),
        (COMPOSITE, "x"),
        (COMPOSITE, '{"a": "x"}'),
        (COMPOSITE, '["x", 1]'),
        (COMPOSITE, '{"a": "x", "b": "y"}'),
    ],
)
def test_what_names_no_key(of: Stream, name: str) -> None:
    with pytest.raises(NoKeyError, match="as `tranship quarantine list` shows it"):
        keys_named(of, name)
