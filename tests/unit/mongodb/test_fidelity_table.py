"""docs/fidelity.md walked line by line: the mapper does what the table says, and the table leaves nothing out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.bsonvalues import INT32, TYPES, VALUES, document, int32
from tests.fidelity_table import COLUMNS, EXACT, KEYS, MISSING, QUARANTINE, Line, lines
from tests.residues import residues
from tests.unit.mongodb.bson_strategies import pack_array
from tests.unit.mongodb.fidelity_mapper import KEY, outcome, printed, stream
from tranship.connectors.mongodb import bsonwalk
from tranship.connectors.mongodb.mapper import Mapper
from tranship.plans.streams import Child, LogicalType, Stream

LINES = lines()
KINDS = list(dict.fromkeys(line.kind for line in LINES))
FIELDS = [line for line in LINES if not line.is_key]
PRESENT = [line for line in FIELDS if line.kind != MISSING]


@pytest.mark.parametrize("kind", KINDS)
def test_the_mapper_does_what_the_table_says(kind: str) -> None:
    of_kind = [line for line in LINES if line.kind == kind]
    assert [(line, outcome(line)) for line in of_kind] == [
        (line, (line.held, line.outcome, line.reason)) for line in of_kind
    ]


def test_every_type_has_its_rows() -> None:
    assert TYPES.keys() - {"unknown type"} == set(bsonwalk.TYPE_NAMES.values())
    assert {bsonwalk.TYPE_NAMES[number]: number for number in bsonwalk.TYPE_NAMES} == {
        name: number for name, number in TYPES.items() if name != "unknown type"
    }
    assert TYPES.keys() == VALUES.keys() == {line.kind for line in LINES} - {MISSING}


def test_every_value_has_a_line_for_every_column() -> None:
    expected = {(kind, name, column) for kind in VALUES for name in VALUES[kind] for column in COLUMNS}
    found = {(line.kind, line.name, line.column) for line in FIELDS}
    assert found == expected | {(MISSING, MISSING, column) for column in COLUMNS}


def test_every_type_of_column_and_key_has_its_lines() -> None:
    assert {declared["type"] for declared in COLUMNS.values()} == {kind.value for kind in LogicalType}
    assert {line.column for line in LINES if line.is_key} == set(KEYS)


@pytest.mark.parametrize("kind", VALUES)
def test_the_rest_column_does_as_a_json_column(kind: str) -> None:
    mapper = Mapper(Stream("s", "c", "t", (KEY,), (), rest_column="rest"))
    for line in PRESENT:
        if (line.kind, line.column) != (kind, "json"):
            continue
        raw = line.document(7)
        batch = mapper.batch([raw])
        if line.outcome == QUARANTINE:
            assert [entry.reason for entry in batch.quarantined] == [line.reason], line.label
            continue
        assert mapper.documents(batch.rows) == [raw], line.label
        [rest] = batch.rows.column("rest").to_pylist()
        assert rest == (None if line.held is None else f'{{"json": {line.held}}}'), line.label
        assert [reason for _, reason in residues(batch)] == ([] if line.outcome == EXACT else [line.reason]), line.label


@pytest.mark.parametrize("kind", VALUES)
def test_an_element_does_as_a_field(kind: str) -> None:
    for line in PRESENT:
        # In an array no element is missing, so NULL stands for null there whatever the column says.
        if line.kind == kind and (kind != "null" or "(null)" in line.column):
            _check_element(line)


def _check_element(line: Line) -> None:
    [column] = stream(line).columns
    element = Child("elements", ("list",), (replace(column, path=()),))
    mapper = Mapper(Stream("s", "c", "t", (KEY,), (), (element,)))
    assert line.value is not None
    values = pack_array([line.value, line.value])
    raw = document(("_id", (INT32, int32(7))), ("list", (bsonwalk.ARRAY, values)))
    batch = mapper.batch([raw])
    if line.outcome == QUARANTINE:
        assert [entry.reason for entry in batch.quarantined] == [line.reason], line.label
        return
    assert mapper.documents(batch.rows) == [raw], line.label
    row = mapper.project(raw)
    assert row[-1] is None, "the residue lies in the rows of the child table"
    for value, residue in row[mapper.schema.names.index("elements")]:
        assert printed(column, value) == line.held, line.label
        assert (residue is None) == (line.outcome == EXACT), line.label
    assert dict(residues(batch)) == ({} if line.outcome == EXACT else {("list", line.reason): 2}), line.label
