"""From what was seen at a path to its column, by hand-written expectations."""

from __future__ import annotations

from typing import Any

import pytest
from bson import Binary, Decimal128, Int64

from tranship.connectors.mongodb.shapes import count_documents
from tranship.connectors.profile import Documents
from tranship.orchestrator.design.columns import fill
from tranship.orchestrator.design.proposals import Table


def table_of(*documents: dict[str, Any]) -> Table:
    found = Documents()
    count_documents(found, documents)
    table = Table((), len(documents))
    fill(table, found)
    return table


def spec_of(*values: Any) -> dict[str, Any]:
    (column,) = table_of(*({"a": value} for value in values)).columns
    return column.spec


@pytest.mark.parametrize(
    ("values", "spec"),
    [
        pytest.param([1, 2], {"type": "int32"}, id="int32"),
        pytest.param([Int64(2**40), Int64(-(2**62))], {"type": "int64"}, id="int64"),
        pytest.param([*range(9), Int64(2**40)], {"type": "int64", "bson": "int32"}, id="mostly int32"),
        pytest.param([*range(300), Int64(5)], {"type": "int32"}, id="an int64 that an int32 holds"),
        pytest.param([*range(300), Int64(2**40)], {"type": "int64", "bson": "int32"}, id="one that it does not"),
        pytest.param([1, 2, 0.5], {"type": "float64", "bson": "int32"}, id="whole numbers are int32"),
        pytest.param([1.0, 2.0, 3.0, 0.5, 4], {"type": "float64"}, id="whole numbers are doubles"),
        pytest.param([Int64(2**60), 0.5], {"type": "json"}, id="no double holds them"),
        pytest.param([*[0.5] * 300, Int64(2**60)], {"type": "float64"}, id="one in three hundred"),
        pytest.param([Decimal128("1.10"), Decimal128("2.5")], {"type": "decimal", "scale": 2}, id="decimals"),
        pytest.param([Decimal128("1.10"), 2], {"type": "decimal", "scale": 2, "bson": "int32"}, id="and whole numbers"),
        pytest.param([Decimal128("1.10"), 2.5], {"type": "json"}, id="decimals and doubles"),
        pytest.param(
            [*map(Decimal128, ["1.10"] * 300), Decimal128("1E+600")], {"type": "decimal", "scale": 2}, id="far"
        ),
        pytest.param(["x", 1], {"type": "json"}, id="texts and numbers"),
        pytest.param(["x", None, None], {"type": "text", "null": "null"}, id="null"),
        pytest.param([["x"], []], {"type": "array", "items": "text"}, id="array"),
        pytest.param([[1, "x"]], {"type": "json"}, id="mixed array"),
        pytest.param([[[1]]], {"type": "json"}, id="array in an array"),
        pytest.param([None], {"type": "json", "null": "null", "filled": "optional"}, id="never anything"),
    ],
)
def test_a_column(values: list[Any], spec: dict[str, Any]) -> None:
    assert spec_of(*values) == spec


def test_documents_are_columns_and_arrays_of_documents_tables() -> None:
    table = table_of(*({"a": {"b": {"c": n}, "d": "x"}, "e": [{"f": n, "g": [{"h": 1}]}]} for n in range(5)))
    assert [(column.path, column.spec["type"]) for column in table.columns] == [
        (("a", "b", "c"), "int32"),
        (("a", "d"), "text"),
    ]
    (child,) = table.children
    assert (child.path, [column.path for column in child.columns]) == (("e",), [("f",)])
    assert [below.path for below in child.children] == [("g",)]


def test_names_that_are_data_are_json() -> None:
    table = table_of(*({"a": {f"id{n * 7 + m}": m for m in range(5)}} for n in range(50)))
    assert [(column.path, column.spec["type"]) for column in table.columns] == [(("a",), "json")]


def test_no_rows_that_could_mean_two_things_are_json() -> None:
    documents = [{"e": [{"f": 1}]}, {"e": []}, {}]
    assert [column.spec["type"] for column in table_of(*documents).columns] == ["json"]
    assert [child.empty for child in table_of(*documents[:2]).children] == ["empty"]
    assert [child.empty for child in table_of(documents[0], documents[2]).children] == ["missing"]


def test_what_no_column_holds_is_left_to_the_residue() -> None:
    """A column of it would be empty in all rows, which nobody switches over."""
    documents = [{"a": n, "b": {"c": n} | ({"text": "x\0y"} if n % 100 == 7 else {})} for n in range(1000)]
    table = table_of(*documents)
    assert [column.path for column in table.columns] == [("a",), ("b", "c")]
    assert (table.rare, table.off) == (["b.text"], 10)
    assert spec_of("x\0y", "fine") == {"type": "text"}, "one that holds some is a column"
    assert spec_of(Binary(b"short", 4)) == {"type": "json"}, "no UUID, whatever it calls itself"
    amounts = table_of(*({"a": n} for n in range(50)), {"a": 50, "amounts": [Decimal128("NaN"), Decimal128("1.10")]})
    assert ([column.path for column in amounts.columns], amounts.rare) == ([("a",)], ["amounts"])


def test_what_is_rare_is_left_to_the_residue() -> None:
    table = table_of(*({"a": n} for n in range(2000)), {"a": 1, "typo": 1})
    assert [column.path for column in table.columns] == [("a",)]
    assert (table.rare, table.residues) == (["typo"], 1)


def test_elements_of_another_form_are_no_misfits() -> None:
    (column,) = table_of(*({"a": [1, 2, 3]} for _ in range(50)), *({"a": [4, Int64(5)]} for _ in range(1))).columns
    assert (column.spec["items"], column.off) == ("int32", 1)
    (column,) = table_of(*({"a": [0.5, 1.0]} for _ in range(50)), {"a": [0.5, 7]}).columns
    assert (column.spec["items"], column.off, column.form) == ("float64", 0, 1)


def test_documents_within_documents_are_no_more_columns_than_a_table_can_have() -> None:
    table = table_of({f"part{n}": {f"f{m}": m for m in range(180)} for n in range(12)})
    kinds = [column.spec["type"] for column in table.columns]
    assert len(kinds) < 1200
    assert kinds.count("json") == 12 - 5
