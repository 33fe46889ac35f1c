"""Comparing two sides: every difference is named, nothing else is."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tranship.connectors.arrowtypes import schema
from tranship.connectors.batch import Batch, Quarantined
from tranship.connectors.fit import filled
from tranship.connectors.protocols import NAMELESS, Mismatch
from tranship.orchestrator.dataplane.comparison import (
    NOTHING,
    Comparison,
    Tally,
    compare,
    compare_nameless,
    row_digests,
)
from tranship.orchestrator.dataplane.merge import Side, parts
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
    nothing = Comparison(filled=filled(STREAM, batch().rows))
    assert compare(STREAM, [], []) == nothing
    assert compare(STREAM, [batch()], []) == nothing


# --- what is kept aside


def entry(key: str, document: bytes = b"...", path: str = "weight", reason: str = "too heavy") -> Quarantined:
    return Quarantined(key.encode(), path, reason, document)


def beside(rows: Batch, *entries: Quarantined) -> Batch:
    """The rows with entries beside them."""
    return Batch(rows.rows, entries)


ROW: Any = {"k1": (1.0, []), "k5": (5.0, [])}


def test_equal_entries_are_no_mismatch() -> None:
    source = [beside(batch(k1=(1.0, [])), entry("k2"), entry("k9")), batch(k5=(5.0, []))]
    target = [beside(batch(), entry("k2")), batch(**ROW), beside(batch(), entry("k9"))]
    assert compare(STREAM, source, target) == Comparison(Tally(4, 2, 2), filled=filled(STREAM, batch(**ROW).rows))


@pytest.mark.parametrize(
    ("source", "target", "tally"),
    [
        pytest.param(beside(batch(), entry("k3")), batch(), Tally(1, 0, 0), id="neither row nor entry"),
        pytest.param(batch(), beside(batch(), entry("k3")), Tally(0, 0, 1), id="stale"),
        pytest.param(
            beside(batch(), entry("k3", b"1")), beside(batch(), entry("k3", b"2")), Tally(1, 0, 1), id="bytes"
        ),
        pytest.param(beside(batch(), entry("k3")), beside(batch(), entry("k3", path="")), Tally(1, 0, 1), id="path"),
        pytest.param(
            beside(batch(), entry("k3")), beside(batch(), entry("k3", reason="")), Tally(1, 0, 1), id="reason"
        ),
        pytest.param(beside(batch(), entry("k3")), batch(k3=(3.0, [])), Tally(1, 1, 0), id="row instead of entry"),
        pytest.param(batch(k3=(3.0, [])), beside(batch(), entry("k3")), Tally(1, 0, 1), id="entry instead of row"),
        pytest.param(batch(k3=(3.0, [])), beside(batch(k3=(3.0, [])), entry("k3")), Tally(1, 1, 1), id="both"),
        pytest.param(
            batch(k3=(3.0, [])), beside(batch(k3=(4.0, [])), entry("k3")), Tally(1, 1, 1), id="both, other row"
        ),
    ],
)
def test_entries_that_differ_are_one_mismatch(source: Batch, target: Batch, tally: Tally) -> None:
    before, behind = beside(batch(k1=(1.0, [])), entry("k2")), batch(k5=(5.0, []))
    comparison = compare(STREAM, [before, source, behind], [before, target, behind])
    assert comparison.apart == {Mismatch("things", b"k3", "quarantine"): tally}
    assert comparison.agreed == Tally(3, 2, 1)


def test_a_boundary_between_path_and_reason_cannot_move() -> None:
    one, other = entry("k3", path="ab", reason="c"), entry("k3", path="a", reason="bc")
    assert compare(STREAM, [beside(batch(), one)], [beside(batch(), other)]).mismatches


def test_rows_apart_and_entries_apart_are_told_together() -> None:
    source = beside(batch(k1=(1.0, []), k2=(2.0, [])), entry("k4"))
    target = beside(batch(k1=(1.5, []), k3=(3.0, [])), entry("k5"))
    comparison = compare(STREAM, [source], [target])
    assert {m.key: (m.kind, tally) for m, tally in comparison.apart.items()} == {
        b"k1": ("different", Tally(1, 1, 0)),
        b"k2": ("missing", Tally(1, 0, 0)),
        b"k3": ("extra", Tally(0, 1, 0)),
        b"k4": ("quarantine", Tally(1, 0, 0)),
        b"k5": ("quarantine", Tally(0, 0, 1)),
    }
    assert comparison.agreed == NOTHING


def test_nameless_documents_are_compared_per_stream() -> None:
    """The source gives one with the first span, the target with the last."""
    everywhere, gone, new = (Quarantined(NAMELESS + name, "", "malformed", name) for name in (b"1", b"2", b"3"))
    first = compare(STREAM, [beside(batch(), everywhere, new)], [batch()])
    last = compare(STREAM, [batch(**ROW)], [beside(batch(**ROW), everywhere, gone)])
    assert (first.apart, last.apart) == ({}, {})
    assert first.agreed + last.agreed == Tally(2, 2, 0)
    assert compare_nameless(STREAM, first.nameless | last.nameless) == Comparison(
        Tally(1, 0, 1),
        {
            Mismatch("things", gone.key, "quarantine"): Tally(0, 0, 1),
            Mismatch("things", new.key, "quarantine"): Tally(1, 0, 0),
        },
    )


def test_an_entry_that_changes_looks_different() -> None:
    row = batch(k1=(1.0, []))
    sides = [
        row,
        beside(row, entry("k1")),
        beside(batch(), entry("k1")),
        beside(batch(), entry("k1", b"other")),
        beside(batch(), entry("k1", path="other")),
        beside(batch(), entry("k1", reason="other")),
    ]
    assert len({row_digests(side)[b"k1"] for side in sides}) == len(sides)
    assert row_digests(beside(batch(), entry("k0"), entry("k1")))[b"k1"] == row_digests(sides[2])[b"k1"]


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
    assert len({row_digests(arrays(value))[b"k0"] for value in values}) == len(values)


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


@settings(deadline=None)
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


def _cut(rows: Batch, kept: list[Quarantined], sizes: list[int], held: list[int]) -> Iterator[Batch]:
    """Rows and entries in batches of the given sizes, all entries up to a row's key before or with it; `held` counts
    the rows that were given out."""
    at = 0
    for size in [*sizes, len(rows.keys)]:
        part = rows.rows.slice(at, size)
        last = part.column("_key")[-1].as_py() if part.num_rows else b""
        yield Batch(part, tuple(one for one in kept if one.key <= last))
        kept = [one for one in kept if one.key > last]
        at += part.num_rows
        held[0] = at
    yield Batch(rows.rows.slice(at), tuple(kept))


WITH_ENTRIES_AND_CUTS = st.tuples(
    SIDE,
    st.dictionaries(st.integers(0, 400), st.binary(max_size=1), max_size=100),
    st.lists(st.integers(0, 40), max_size=20),
)


@given(WITH_ENTRIES_AND_CUTS, WITH_ENTRIES_AND_CUTS)
def test_batches_may_end_anywhere(source: Any, target: Any) -> None:
    """The result is that of one batch of each side."""
    whole, parted = [], []
    for side, kept, sizes in (source, target):
        rows, entries = _rows(side), [entry(f"k{number:03}", kept[number]) for number in sorted(kept)]
        whole.append([beside(rows, *entries)])
        parted.append(_cut(rows, entries, sizes, [0]))
    assert compare(STREAM, *parted) == compare(STREAM, *whole)


def test_a_batch_of_each_side_is_held_and_no_more() -> None:
    rows = _rows({number: (1.0, []) for number in range(400)})
    read, read_there = [0], [0]
    ours, theirs = Side(STREAM, _cut(rows, [], [10] * 39, read)), Side(STREAM, _cut(rows, [], [7] * 57, read_there))
    done = 0
    for mine, other in parts(ours, theirs):
        assert mine.rows.column("_key").equals(other.rows.column("_key"))
        assert mine.rows.num_rows <= 7
        done += mine.rows.num_rows
        assert read[0] - done <= 10
        assert read_there[0] - done <= 7
    assert done == 400


@given(SIDE)
def test_a_row_looks_the_same_wherever_it_stands(side: Any) -> None:
    together = row_digests(_rows(side))
    for number, row in list(side.items())[:20]:
        alone = row_digests(_rows({number: row}))
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
    looks = {row_digests(batch(k1=row))[b"k1"] for row in rows}
    assert len(looks) == len(rows)
