"""What is counted of documents, against figures counted by hand; and that it does not matter how they were cut."""

from __future__ import annotations

import pickle
import random
from datetime import datetime
from typing import Any

import bson
import pytest
from bson import Binary, Decimal128, Int64, ObjectId, Regex
from bson.datetime_ms import DatetimeMS
from hypothesis import given, settings
from hypothesis import strategies as st

from tranship.connectors.mongodb import profiler
from tranship.connectors.mongodb.shapes import count_documents
from tranship.connectors.profile import FEW, MOST_FIELDS, START, CollectionProfile, Documents, Node, Part
from tranship.orchestrator.design.record import recorded
from tranship.orchestrator.design.survey import Extent

Document = dict[str, Any]


def seen(*documents: Document) -> Documents:
    found = Documents()
    count_documents(found, documents)
    return found


def field(*values: Any) -> Node:
    return seen(*({"a": value} for value in values)).fields["a"]


def test_types_nulls_and_what_is_missing() -> None:
    found = seen({"a": 1}, {"a": Int64(1)}, {"a": None}, {"a": 1.5}, {"a": "x"}, {"b": True}, {})
    node = found.fields["a"]
    assert (found.count, found.empty, node.count, node.nulls, node.filled) == (7, 1, 5, 1, 4)
    assert node.shares() == [("double", 1), ("int32", 1), ("int64", 1), ("string", 1)]
    assert found.fields["b"].shares() == [("bool", 1)]


def test_texts_have_bytes_and_not_characters() -> None:
    values = field("łódź", "a\0b", "").types["string"]
    assert (values.count, values.size, values.longest, values.odd) == (3, 10, 7, 1)


def test_decimals_have_digits() -> None:
    node = field(*map(Decimal128, ["12345.10", "-0.5", "7", "1E+3", "NaN", "Infinity", "9.99"]))
    values = node.types["decimal128"]
    assert values.scales == {2: 2, 1: 1, 0: 1, -3: 1}
    assert values.whole == {2: 5, 1: 0, 0: 1, -3: 4}
    assert values.odd == 2


def test_dates_know_their_time_of_day_and_postgresqls_limits() -> None:
    node = field(datetime(2026, 1, 1), datetime(2026, 1, 1, 12), DatetimeMS(2**62), DatetimeMS(-62_167_219_200_000))
    values = node.types["date"]
    assert (values.count, values.midnight, values.odd) == (4, 2, 1)


def test_doubles_without_a_fraction_and_numbers_that_are_none() -> None:
    values = field(1.0, 2.5, float("nan"), float("-inf")).types["double"]
    assert (values.integral, values.odd, values.least, values.greatest) == (1, 2, 1.0, 2.5)


def test_binaries_by_subtype() -> None:
    node = field(b"abc", Binary(b"x" * 16, 4), Binary(b"y", 0x80), Regex("a"))
    assert dict(node.shares()) == {"binary": 1, "uuid": 1, "binary subtype 128": 1, "regex": 1}


def test_arrays_and_what_is_in_them() -> None:
    node = field([], [1, 2], [{"x": 1}, {"x": None, "y": 2}], [[3]])
    assert node.lists is not None
    assert node.lists.elements is not None
    assert (node.lists.count, node.lists.empty, node.lists.longest) == (4, 1, 2)
    elements = node.lists.elements
    assert dict(elements.shares()) == {"int32": 2, "object": 2, "array": 1}
    assert elements.documents is not None
    assert elements.documents.fields["x"].nulls == 1


def test_orders_and_what_jsonb_would_change() -> None:
    found = seen({"b": 1, "a": 2}, {"a": 1, "b": 2, "aa": 3}, {"aa": 1, "b": 2})
    assert found.next == {(START, "b"): 1, ("b", "a"): 1, (START, "a"): 1, ("a", "b"): 1, ("b", "aa"): 1} | {
        (START, "aa"): 1,
        ("aa", "b"): 1,
    }
    assert found.sorted == 1


def test_references_of_drivers_are_documents() -> None:
    node = field(bson.DBRef("people", ObjectId(b"a" * 12)))
    assert node.documents is not None
    assert set(node.documents.fields) == {"$ref", "$id"}


def test_a_few_values_are_known_and_many_are_estimated() -> None:
    assert field("a", "b", "a").distinct.few == {"a", "b"}
    many = field(*(f"value {n}" for n in range(20_000))).distinct
    assert many.few is None
    assert abs(many.count - 20_000) < 1_000
    assert field(*range(FEW)).distinct.count == FEW
    assert field("x" * 100, "y").distinct.few is None


def test_names_that_are_data_are_one_field() -> None:
    found = seen(*({f"id{n}": n, "stable": "x"} for n in range(MOST_FIELDS + 1)))
    assert found.other is not None
    assert (found.fields, found.next) == ({}, None)
    assert found.other.count == 2 * (MOST_FIELDS + 1)
    assert found.names is not None
    assert found.names["stable"] == MOST_FIELDS + 1
    kept = Documents(kept=frozenset({"stable"}))
    count_documents(kept, ({f"id{n}": n, "stable": "x"} for n in range(MOST_FIELDS + 5)))
    assert list(kept.fields) == ["stable"]
    assert kept.fields["stable"].count == MOST_FIELDS + 5


def test_what_cannot_be_decoded_is_counted_and_hides_nothing() -> None:
    good, bad = bson.encode({"a": "x"}), bson.encode({"a": "xyz"}).replace(b"xyz", b"x\xffz")
    part = profiler._counted([good + bad + good, bad], "", frozenset())
    assert (part.read, part.unread) == (4, 2)
    assert part.roots[None].fields["a"].count == 2


def test_documents_are_told_apart_by_a_field() -> None:
    block = b"".join(map(bson.encode, [{"t": "a", "x": 1}, {"t": "b"}, {"t": 5}, {}]))
    part = profiler._counted([block], "t", frozenset())
    assert {kind: documents.count for kind, documents in part.roots.items()} == {"a": 1, "b": 1, None: 2}


def text_of(part: Part) -> str:
    profile = CollectionProfile("c", part.read, 0, part.read, part.unread, part.roots.get(None, Documents()))
    order = sorted((part.roots.get(None, Documents()).next or {}).items())
    return recorded([profile], [], source="", taken_at="", extent=Extent(None, 0)) + repr(order)


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**31), 2**31 - 1),
    st.integers(-(2**63), 2**63 - 1).map(Int64),
    st.floats(),
    st.text(max_size=5).filter(lambda text: "\0" not in text),
    st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-(10**6), max_value=10**6).map(Decimal128),
)
NAMES = st.sampled_from(["a", "b", "c", "aa"])
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3))
DOCUMENTS = st.lists(st.dictionaries(NAMES, VALUES, max_size=4), min_size=1, max_size=30)


@settings(max_examples=60, deadline=None)
@given(DOCUMENTS, st.randoms(use_true_random=False))
def test_parts_give_the_same_figures_however_they_are_cut(documents: list[Document], chance: random.Random) -> None:
    raw = list(map(bson.encode, documents))
    whole = profiler._counted([b"".join(raw)], "", frozenset())
    chance.shuffle(raw)
    pieces: list[list[bytes]] = [[] for _ in range(3)]
    for one in raw:
        chance.choice(pieces).append(one)
    together = Part()
    for piece in pieces:
        travelled: Part = pickle.loads(pickle.dumps(profiler._counted([b"".join(piece)], "", frozenset())))
        together.merge(travelled)
    assert text_of(together) == text_of(whole)


@pytest.mark.parametrize("cut", [1, 7, 64, 1500])
def test_estimates_do_not_depend_on_parts(cut: int) -> None:
    raw = [bson.encode({"a": f"v{n % 3000}"}) for n in range(6000)]
    whole = profiler._counted([b"".join(raw)], "", frozenset())
    parts = Part()
    for start in range(0, len(raw), len(raw) // cut + 1):
        parts.merge(profiler._counted([b"".join(raw[start : start + len(raw) // cut + 1])], "", frozenset()))
    assert text_of(parts) == text_of(whole)
