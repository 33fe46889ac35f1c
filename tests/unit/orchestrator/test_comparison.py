"""Comparing two sides: every difference is named, nothing else is."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tranship.connectors.batch import Batch, Quarantined, schema
from tranship.orchestrator.dataplane.comparison import Comparison, compare, row_digests
from tranship.plans.streams import Child, Column, LogicalType, Stream

NAN = float("nan")
STREAM = Stream(
    name="things",
    collection="things",
    table="things",
    key=(Column("_id", ("_id",), LogicalType.INT64, "int64"),),
    columns=(Column("weight", ("weight",), LogicalType.FLOAT64, "double"),),
    children=(Child("parts", ("parts",), (Column("length", ("length",), LogicalType.FLOAT64, "double"),)),),
)


def batch(**rows: tuple[float | None, list[float | None]]) -> Batch:
    """Rows by key (`k1`, …): the weight, and the lengths of the parts."""
    lines: list[dict[str, Any]] = [
        {
            "_key": key.encode(),
            "_id": int(key[1:]),
            "weight": weight,
            "parts": [{"length": length, "_residue": None} for length in lengths],
            "_residue": None,
        }
        for key, (weight, lengths) in rows.items()
    ]
    return Batch(pa.RecordBatch.from_pylist(lines, schema(STREAM)))


def found(source: Batch, target: Batch) -> set[tuple[str, str, tuple[str, ...]]]:
    mismatches = compare(STREAM, [source], [target]).mismatches
    assert len(set(mismatches)) == len(mismatches)
    return {(m.key.decode(), m.kind, m.columns) for m in mismatches}


def test_equal_sides_have_no_mismatch() -> None:
    rows: Any = {"k1": (NAN, [NAN, 0.0]), "k2": (None, []), "k3": (-0.0, [None])}
    assert found(batch(**rows), batch(**rows)) == set()


@pytest.mark.parametrize(
    ("source", "target", "columns"),
    [
        ((1.0, []), (2.0, []), ("weight",)),
        ((0.0, []), (-0.0, []), ("weight",)),
        ((None, []), (0.0, []), ("weight",)),
        ((1.0, [1.0]), (1.0, []), ("parts",)),
        ((1.0, [1.0, 2.0]), (1.0, [2.0, 1.0]), ("parts",)),
        ((1.0, [0.0]), (1.0, [-0.0]), ("parts",)),
        ((1.0, [None]), (2.0, [0.0]), ("weight", "parts")),
    ],
)
def test_a_row_that_differs_is_named_with_its_columns(source: Any, target: Any, columns: tuple[str, ...]) -> None:
    same: Any = {"k1": (5.0, [6.0]), "k3": (7.0, [8.0, 9.0])}
    assert found(batch(**same, k2=source), batch(**same, k2=target)) == {("k2", "different", columns)}


def test_rows_of_one_side_only_are_named_beside_those_that_differ() -> None:
    source = batch(k1=(1.0, []), k2=(2.0, [1.0]), k3=(3.0, []))
    target = batch(k2=(2.0, [2.0]), k3=(3.0, []), k4=(4.0, []))
    expected = {("k1", "missing", ()), ("k2", "different", ("parts",)), ("k4", "extra", ())}
    assert found(source, target) == expected


def test_sides_without_a_key_in_common() -> None:
    one, other = batch(k1=(1.0, [1.0])), batch(k2=(2.0, [2.0]))
    assert found(one, batch()) == {("k1", "missing", ())}
    assert found(batch(), one) == {("k1", "extra", ())}
    assert found(one, other) == {("k1", "missing", ()), ("k2", "extra", ())}


def test_nothing_on_either_side() -> None:
    aside = Batch(batch().rows, (Quarantined(b"k9", "weight", "too heavy", b"..."),))
    assert compare(STREAM, [aside], []) == Comparison(0, 1, ())
    assert compare(STREAM, [], []) == Comparison(0, 0, ())


def _nan(payload: int) -> float:
    [value] = struct.unpack("<d", struct.pack("<Q", 0x7FF8_0000_0000_0000 | payload))
    return float(value)


def test_nans_are_equal_when_their_payloads_are() -> None:
    one, other = _nan(1), _nan(2)
    assert found(batch(k1=(one, [other])), batch(k1=(one, [other]))) == set()
    assert found(batch(k1=(one, [])), batch(k1=(other, []))) == {("k1", "different", ("weight",))}
    assert found(batch(k1=(0.0, [one])), batch(k1=(0.0, [other]))) == {("k1", "different", ("parts",))}


def arrays(*values: list[float | None] | None) -> Batch:
    lines = [{"_key": b"k%d" % n, "_id": n, "lengths": value, "parts": []} for n, value in enumerate(values)]
    return Batch(pa.RecordBatch.from_pylist(lines, schema(ARRAYS)))


ARRAYS = replace(
    STREAM,
    columns=(Column("lengths", ("lengths",), LogicalType.ARRAY, "double", items=LogicalType.FLOAT64),),
)


def test_arrays_are_equal_when_every_element_is_to_the_bit() -> None:
    values = [None, [], [None], [0.0], [-0.0], [_nan(1)], [_nan(2)], [0.0, 0.0], [NAN, None]]
    assert compare(ARRAYS, [arrays(*values)], [arrays(*values)]).mismatches == ()
    for one in values:
        for other in values:
            if one is not other:
                (mismatch,) = compare(ARRAYS, [arrays([1.0], one, None)], [arrays([1.0], other, None)]).mismatches
                assert (mismatch.key, mismatch.columns) == (b"k1", ("lengths",)), (one, other)
    assert len({row_digests(ARRAYS, arrays(value))[b"k0"] for value in values}) == len(values)


def test_a_gap_among_child_rows_is_no_row_of_nulls() -> None:
    """A target in which somebody deleted a child row rebuilds a null in its place."""
    whole = batch(k1=(1.0, [None, 2.0]))
    lists = whole.rows.column("parts")
    gap = pa.ListArray.from_arrays(lists.offsets, lists.values.take(pa.array([None, 1])), type=lists.type)
    rows = whole.rows.set_column(3, whole.rows.schema.field("parts"), gap)
    assert found(whole, Batch(rows)) == {("k1", "different", ("parts",))}


WEIGHTS = st.sampled_from([None, 0.0, -0.0, 1.0, 2.0])
SIDE = st.dictionaries(st.integers(0, 400), st.tuples(WEIGHTS, st.lists(WEIGHTS, max_size=2)), max_size=300)


def _rows(side: dict[int, tuple[float | None, list[float | None]]]) -> Batch:
    return batch(**{f"k{number:03}": side[number] for number in sorted(side)})


def _same(one: object, other: object) -> bool:
    return repr(one) == repr(other)  # tells -0.0 from 0.0


@given(SIDE, SIDE)
def test_every_difference_among_many_rows_is_named_and_nothing_else(source: Any, changes: Any) -> None:
    """Half of the changes replace rows of the source, the rest adds rows or takes some away."""
    target = {**source, **changes}
    for number in list(target)[::7]:
        del target[number]
    expected = {(f"k{n:03}", "missing") for n in source if n not in target}
    expected |= {(f"k{n:03}", "extra") for n in target if n not in source}
    expected |= {(f"k{n:03}", "different") for n in target if n in source and not _same(target[n], source[n])}
    assert {(key, kind) for key, kind, _ in found(_rows(source), _rows(target))} == expected


@given(SIDE)
def test_a_row_looks_the_same_wherever_it_stands(side: Any) -> None:
    together = row_digests(STREAM, _rows(side))
    for number, row in list(side.items())[:20]:
        alone = row_digests(STREAM, _rows({number: row}))
        assert alone[f"k{number:03}".encode()] == together[f"k{number:03}".encode()]


def test_a_row_that_changes_looks_different() -> None:
    rows: list[tuple[float | None, list[float | None]]] = [
        (0.0, []),
        (-0.0, []),
        (None, []),
        (0.0, [0.0]),
        (0.0, [None]),
        (_nan(1), []),
        (_nan(2), []),
    ]
    looks = {row_digests(STREAM, batch(k1=row))[b"k1"] for row in rows}
    assert len(looks) == len(rows)
