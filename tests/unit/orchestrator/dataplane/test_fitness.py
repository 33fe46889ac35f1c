"""What of a stream's fit is against a switch."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tranship.connectors.fit import Cell, Effect, Fit, Kind
from tranship.orchestrator.dataplane.fitness import against, refusal
from tranship.plans.streams import Child, Column, LogicalType, Stream

NAME = Column("name", ("name",), LogicalType.TEXT, "string")
CITY = Column("city", ("address", "city"), LogicalType.TEXT, "string")
SKU = Column("sku", ("sku",), LogicalType.TEXT, "string")
ITEMS = Child("items", ("items",), (SKU,))
STREAM = Stream(
    "people",
    "people",
    "persons",
    (Column("_id", ("_id",), LogicalType.INT64, "int64"),),
    (NAME, CITY),
    children=(ITEMS,),
)

FULL = {
    Cell("persons"): 200,
    Cell("persons", "name"): 198,
    Cell("persons", "city"): 1,
    Cell("items"): 3,
    Cell("items", "sku"): 3,
}


def fit(*notes: tuple[str, str, int], **filled: int) -> Fit:
    cells = {Cell(*name.split("__")): count for name, count in filled.items()}
    return Fit({Kind(place, reason, Effect.MISFIT): n for place, reason, n in notes}, FULL | cells)


def test_what_fits_is_not_against_it() -> None:
    assert against(STREAM, fit(), 0.01) == []
    assert refusal([STREAM], {"people": fit()}, 0.01) is None


def test_a_stream_without_documents_is_not_against_it() -> None:
    empty = dict.fromkeys(FULL, 0)
    assert against(STREAM, Fit({}, empty), 0.01) == []
    assert against(STREAM, Fit(), 0.01) == []


def test_a_column_that_no_document_fills() -> None:
    (why,) = against(STREAM, fit(persons__name=0), 0.01)
    assert why == "stream people: column persons.name is NULL in all 200 rows: no document has filled it from name"
    optional = replace(STREAM, columns=(replace(NAME, filled="optional"), CITY))
    assert against(optional, fit(persons__name=0), 0.01) == []


def test_a_column_whose_documents_all_have_another_type_says_which() -> None:
    (why,) = against(STREAM, fit(("name", "type int32", 200), persons__name=0), 0.01)
    assert why == "stream people: column persons.name is NULL in all 200 rows: of the documents 200 have type int32"


def test_a_child_table_without_rows() -> None:
    (why,) = against(STREAM, fit(items=0, items__sku=0), 0.01)
    assert why == "stream people: child table items has no row: no document has filled it from items"
    optional = replace(STREAM, children=(replace(ITEMS, filled="optional"),))
    assert against(optional, fit(items=0, items__sku=0), 0.01) == []


def test_a_column_of_a_child_table() -> None:
    (why,) = against(STREAM, fit(items__sku=0), 0.01)
    assert why == "stream people: column items.sku is NULL in all 3 rows: no document has filled it from items.sku"


@pytest.mark.parametrize(("count", "most", "refused"), [(2, 0.01, False), (3, 0.01, True), (3, 0.1, False)])
def test_a_share_of_misfits(count: int, most: float, refused: bool) -> None:
    """Of the values that documents have, not of the rows: a column that few documents have is judged by these."""
    assert bool(against(STREAM, fit(("name", "type int32", count)), most)) is refused


def test_a_misfit_above_columns_counts_for_them() -> None:
    (why,) = against(STREAM, fit(("address", "type string", 1)), 0.01)
    assert why == (
        "stream people: 1 of 2 values at address are NULL because they did not fit (type string 1); "
        "that is 50.00%, and limits.misfit allows 1%"
    )


def test_an_optional_column_may_be_empty_but_not_for_misfits() -> None:
    optional = replace(STREAM, columns=(replace(NAME, filled="optional"), CITY))
    (why,) = against(optional, fit(("name", "type int32", 9), persons__name=0), 0.01)
    assert "9 of 9 values at name are NULL" in why


def test_a_refusal_names_a_few_and_says_what_to_do() -> None:
    columns = tuple(Column(f"c{n}", (f"c{n}",), LogicalType.TEXT, "string") for n in range(9))
    wide = replace(STREAM, columns=columns, children=())
    text = refusal([wide], {"people": Fit({}, {Cell("persons"): 1})}, 0.01)
    assert text is not None
    assert ("persons.c4" in text, "persons.c5" in text, "and 4 more" in text) == (True, False, True)
    assert "write `filled: optional` for what may be empty into the plan" in text


def test_a_refusal_offers_what_helps() -> None:
    misfits = Fit({Kind("name", "type int32", Effect.MISFIT): 9}, {Cell("persons"): 9, Cell("persons", "name"): 1})
    text = refusal([replace(STREAM, columns=(NAME,), children=())], {"people": misfits}, 0.01)
    assert text is not None
    assert "write a larger `limits.misfit` into the plan" in text
