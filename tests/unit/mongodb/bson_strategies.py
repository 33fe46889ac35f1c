"""Hypothesis strategies for raw BSON, independent of the code under test: bytes put together from the specification.

An element is (type byte, value bytes). Values are biased towards what goes wrong: limits, zeros, NaN payloads, U+0000,
numbers that are equal in different types, empty and repeated names.
"""

from __future__ import annotations

import struct

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

Value = tuple[int, bytes]


def pack_document(elements: list[tuple[int, str, bytes]]) -> bytes:
    """A document of (type, name, value) elements."""
    body = b"".join(bytes([kind]) + name.encode() + b"\0" + value for kind, name, value in elements)
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def pack_string(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<i", len(raw) + 1) + raw + b"\0"


def pack_array(values: list[Value]) -> bytes:
    return pack_document([(kind, str(place), value) for place, (kind, value) in enumerate(values)])


_text = st.text(st.sampled_from('ab\0$. é€😀"\\\n\x7f'), max_size=6)
_cstring = st.text(st.sampled_from("abi$.é😀"), max_size=4)
_names = st.one_of(
    st.sampled_from(["a", "b", "c", "s", "n", "", "$oid", "$a", "a.b", "_id", "v", "u", "e", "0"]), _cstring
)

_int32 = st.one_of(st.sampled_from([0, 1, -1, 2**31 - 1, -(2**31)]), st.integers(-(2**31), 2**31 - 1))
_int64 = st.one_of(
    _int32, st.sampled_from([2**31, 2**53, 2**53 + 1, 2**63 - 1, -(2**63)]), st.integers(-(2**63), 2**63 - 1)
)
_doubles = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, 1.5, 0.1, 2.0**53, 2.0**63, 1e16, 1e300, 5e-324, 1e-7]).map(
        lambda number: struct.pack("<d", number)
    ),
    st.sampled_from([0x7FF8000000000000, 0x7FF8000000000001, 0xFFF8000000000000, 0x7FF0000000000000,
                     0xFFF0000000000000, 0x7FF4000000000000]).map(lambda bits: struct.pack("<Q", bits)),
    st.floats().map(lambda number: struct.pack("<d", number)),
)  # fmt: skip


def decimal128(sign: int, coefficient: int, exponent: int) -> bytes:
    """The 16 bytes of ±coefficient · 10^exponent."""
    return ((sign << 127) | ((exponent + 6176) << 113) | coefficient).to_bytes(16, "little")


_decimals = st.one_of(
    st.builds(
        decimal128,
        st.integers(0, 1),
        st.one_of(st.sampled_from([0, 1, 110, 10**34 - 1]), st.integers(0, 10**34 - 1), st.integers(0, 100_000)),
        st.one_of(st.integers(-3, 3), st.sampled_from([-6176, 6111]), st.integers(-6176, 6111)),
    ),
    st.sampled_from([0x7C << 120, 0x78 << 120, 0xF8 << 120, 0x7E << 120, (0x7C << 120) | 5, 0x6C << 120]).map(
        lambda bits: bits.to_bytes(16, "little")
    ),
)
_dates = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-(10**13), 10**13),
    st.integers(-40_000, 40_000).map(lambda days: days * 86_400_000),
    st.sampled_from([-(2**63), 2**63 - 1, -210_866_803_200_000, -210_866_803_200_001, 9_223_372_036_854_774,
                     9_223_372_036_854_775, 253_402_300_800_000]),
).map(lambda number: struct.pack("<q", number))  # fmt: skip
_binaries = st.builds(
    lambda subtype, content: struct.pack("<i", len(content)) + bytes([subtype]) + content,
    st.sampled_from([0, 0, 2, 3, 4, 5, 128, 255]),
    st.one_of(st.binary(max_size=5), st.binary(min_size=16, max_size=16), st.binary(min_size=253, max_size=258)),
)
_regexes = st.builds(lambda p, o: p.encode() + b"\0" + o.encode() + b"\0", _cstring, st.sampled_from(["", "i", "imsx"]))
_db_pointers = st.builds(lambda ns, oid: pack_string(ns) + oid, _text, st.binary(min_size=12, max_size=12))

SCALARS: dict[str, SearchStrategy[Value]] = {
    "double": _doubles.map(lambda raw: (0x01, raw)),
    "string": _text.map(lambda text: (0x02, pack_string(text))),
    "binary": _binaries.map(lambda raw: (0x05, raw)),
    "undefined": st.just((0x06, b"")),
    "objectid": st.binary(min_size=12, max_size=12).map(lambda raw: (0x07, raw)),
    "bool": st.booleans().map(lambda flag: (0x08, bytes([flag]))),
    "date": _dates.map(lambda raw: (0x09, raw)),
    "null": st.just((0x0A, b"")),
    "regex": _regexes.map(lambda raw: (0x0B, raw)),
    "dbpointer": _db_pointers.map(lambda raw: (0x0C, raw)),
    "code": _text.map(lambda text: (0x0D, pack_string(text))),
    "symbol": _text.map(lambda text: (0x0E, pack_string(text))),
    "int32": _int32.map(lambda number: (0x10, struct.pack("<i", number))),
    "timestamp": st.binary(min_size=8, max_size=8).map(lambda raw: (0x11, raw)),
    "int64": _int64.map(lambda number: (0x12, struct.pack("<q", number))),
    "decimal128": _decimals.map(lambda raw: (0x13, raw)),
    "minkey": st.just((0xFF, b"")),
    "maxkey": st.just((0x7F, b"")),
}

NUMBERS = st.one_of(SCALARS["int32"], SCALARS["int64"], SCALARS["double"], SCALARS["decimal128"])


def _containers(inner: SearchStrategy[Value]) -> SearchStrategy[Value]:
    fields = st.lists(st.builds(lambda name, value: (value[0], name, value[1]), _names, inner), max_size=4)
    documents = fields.map(pack_document)
    return st.one_of(
        documents.map(lambda raw: (0x03, raw)),
        st.lists(inner, max_size=3).map(lambda values: (0x04, pack_array(values))),
        documents.map(lambda raw: (0x04, raw)),  # an array whose names are not its places
        st.builds(_code_with_scope, _text, documents),
    )


def _code_with_scope(code: str, scope: bytes) -> Value:
    body = pack_string(code) + scope
    return 0x0F, struct.pack("<i", len(body) + 4) + body


VALUES: SearchStrategy[Value] = st.recursive(st.one_of(*SCALARS.values()), _containers, max_leaves=8)
"""Any well formed BSON value."""

IDS = VALUES.filter(lambda value: value[0] not in {0x04, 0x06, 0x0B})
"""Values that an `_id` can have: no array, undefined or regex."""

_PLAIN_SCALARS = [
    _int32.map(lambda number: (0x10, struct.pack("<i", number))),
    st.integers(-(2**53), 2**53).map(lambda number: (0x12, struct.pack("<q", number))),
    *(SCALARS[name] for name in ("objectid", "bool", "null", "minkey", "maxkey", "timestamp")),
    st.text("ab\0$.é😀", max_size=4).map(lambda text: (0x02, pack_string(text))),
    st.binary(min_size=3, max_size=3).map(lambda raw: (0x05, b"\3\0\0\0\0" + raw)),
    st.integers(-(10**12), 10**13).map(lambda number: (0x09, struct.pack("<q", number))),
]
_PLAIN_FIELDS = st.lists(
    st.builds(
        lambda name, value: (value[0], name, value[1]), st.sampled_from(["a", "b", "ab"]), st.one_of(_PLAIN_SCALARS)
    ),
    max_size=3,
    unique_by=lambda field: field[1],
)
PLAIN_IDS = st.one_of(
    *_PLAIN_SCALARS,
    st.sampled_from([0.0, -0.0, 1.0, 1.5, -2.5, 1e300, float("inf"), float("-inf"), float("nan")]).map(
        lambda number: (0x01, struct.pack("<d", number))
    ),
    _PLAIN_FIELDS.map(lambda fields: (0x03, pack_document(fields))),
)
"""`_id`s of common types and shapes."""


@st.composite
def documents(draw: st.DrawFn, fitting: dict[str, SearchStrategy[Value]]) -> bytes:
    """Documents with an `_id` and a mixture of fitting and other values, in any order, some fields repeated.

    `fitting` gives for each known name a strategy of values that belong there.
    """
    elements: list[tuple[int, str, bytes]] = []
    for name, values in fitting.items():
        choice = draw(st.sampled_from(["fits", "fits", "fits", "any", "missing"]))
        if name == "_id" or choice != "missing":
            kind, raw = draw(values if choice != "any" or name == "_id" else VALUES)
            elements.append((kind, name, raw))
    for name in draw(st.lists(_names.filter(lambda name: name != "_id"), max_size=2)):
        kind, raw = draw(VALUES)
        elements.append((kind, name, raw))
    if draw(st.booleans()):
        elements = draw(st.permutations(elements))
    return pack_document(elements)
