"""The table of `docs/fidelity.md` as tests read it: what each value is in each column, and what has to be kept beside.

Two tests walk it: one asks the mapper (`tests/unit/mongodb/test_fidelity_table.py`), the other moves every value with
`tranship run` and asks PostgreSQL (`tests/integration/test_exact_arrival.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.bsonvalues import INT32, VALUES, Value, document, int32, value

PAGE = Path(__file__).parents[1] / "docs" / "fidelity.md"
HEAD = ["BSON", "value", "column", "PostgreSQL", "kept as"]
ANY = "any"
OTHERS = "others"
EXACT, RESIDUE, QUARANTINE = "exact", "residue", "quarantine"

COLUMNS: dict[str, dict[str, Any]] = {
    "bool": {"type": "bool"},
    "int32": {"type": "int32"},
    "int64": {"type": "int64"},
    "int64 of int32": {"type": "int64", "bson": "int32"},
    "float64": {"type": "float64"},
    "float64 of int32": {"type": "float64", "bson": "int32"},
    "decimal": {"type": "decimal", "precision": 12, "scale": 2},
    "decimal of int32": {"type": "decimal", "precision": 12, "scale": 2, "bson": "int32"},
    "text": {"type": "text"},
    "bytes": {"type": "bytes"},
    "uuid": {"type": "uuid"},
    "objectid": {"type": "objectid"},
    "timestamp": {"type": "timestamp"},
    "date": {"type": "date"},
    "json": {"type": "json"},
    "array of text": {"type": "array", "items": "text"},
    "array of int64": {"type": "array", "items": "int64"},
    "text (null)": {"type": "text", "null": "null"},
    "json (null)": {"type": "json", "null": "null"},
}
"""The columns of the table, as a plan declares them."""

KEYS: dict[str, dict[str, Any]] = {
    "key int64": {"type": "int64"},
    "key decimal": {"type": "decimal", "precision": 12, "scale": 2},
    "key text": {"type": "text"},
    "key bytes": {"type": "bytes"},
    "key uuid": {"type": "uuid"},
    "key objectid": {"type": "objectid"},
    "key timestamp": {"type": "timestamp"},
    "key canonical": {"type": "canonical"},
}
"""The key columns of the table: there the value is the `_id`."""

MISSING = "missing"


@dataclass(frozen=True)
class Line:
    """One value in one column. `held` is how PostgreSQL prints it, None for NULL; `outcome` one of `EXACT`, `RESIDUE`,
    `QUARANTINE`, and `reason` why."""

    kind: str
    name: str
    column: str
    held: str | None
    outcome: str
    reason: str

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.kind} {self.name} in {self.column}"

    @property
    def value(self) -> Value | None:
        """Type and bytes; None for a field that is missing."""
        return None if self.kind == MISSING else value(self.kind, self.name)

    @property
    def field(self) -> str:
        """The field that the column takes."""
        return self.column.replace(" ", "_")

    @property
    def is_key(self) -> bool:
        """Whether the value is the `_id`."""
        return self.column in KEYS

    def identity(self, number: int) -> Value:
        """The `_id` of `document`."""
        found = self.value if self.is_key else (INT32, int32(number))
        assert found is not None
        return found

    def document(self, number: int) -> bytes:
        """A document that has the value in the column's field; or as its `_id`, and then `n` is its number."""
        identity = ("_id", self.identity(number))
        if self.is_key:
            return document(identity, ("n", (INT32, int32(number))))
        return document(identity) if self.value is None else document(identity, (self.field, self.value))


@cache
def lines() -> tuple[Line, ...]:
    """All lines, in the page's order. A row may stand for several values and columns; `others` are the columns that no
    row above names for the value."""
    found: dict[tuple[str, str, str], Line] = {}
    for kind, names, columns, held, kept in _rows():
        outcome, _, reason = kept.partition(": ")
        assert (outcome == EXACT) == (not reason), f"{kind} {names}: exact has no reason, all else has one"
        text = None if held in ("NULL", "no row") else held.strip("`")
        assert (held == "no row") == (outcome == QUARANTINE), f"{kind} {names}: only quarantine has no row"
        for name in _names(kind, names):
            for column in columns.split(", "):
                assert column in COLUMNS or column in KEYS or column == OTHERS, f"{kind} {names}: no column {column}"
                for one in COLUMNS if column == OTHERS else [column]:
                    line = Line(kind, name, one, text, outcome, reason)
                    first = found.setdefault((kind, name, one), line)
                    assert first is line or column == OTHERS, f"{line.label} stands twice"
    return tuple(found.values())


def _names(kind: str, names: str) -> list[str]:
    assert kind in VALUES or kind == MISSING, f"{kind} is no BSON type"
    known = list(VALUES.get(kind, {MISSING: b""}))
    return known if names == ANY else [known[known.index(name)] for name in names.split("; ")]


def _rows() -> list[list[str]]:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    head, rule, *cells = ([cell.strip() for cell in row.split("|")[1:-1]] for row in rows)
    assert head == HEAD, "the page has one table, with this head"
    assert set("".join(rule)) == {"-"}
    assert all(len(row) == len(HEAD) for row in cells)
    return cells
