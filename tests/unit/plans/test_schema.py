"""The published JSON Schema: up to date, and in agreement with the loader about what a plan may look like."""

from __future__ import annotations

from pathlib import Path

import pytest

import tranship.plans
from tests.unit.plans.jsonschema_check import valid
from tests.unit.plans.test_messages import CASES, LATER
from tests.unit.plans.test_rules import GOOD
from tests.unit.plans.texts import HEAD, STREAMS
from tranship.plans import json_schema, schema_text
from tranship.plans.document import read_document
from tranship.plans.schema import keys_at

PLANS = Path(tranship.plans.__file__).parent

SCHEMA = json_schema()

# What the schema cannot tell, because it takes two keys or a computation.
BEYOND = {
    "unknown key of a column",
    "decimal without scale",
    "pair that is not lossless",
    "scale beyond the precision",
    "scale without decimal",
    "canonical key with a path",
    "path with an empty step",
    "path with U+0000",
    "filter that is not JSON",
    "integer beyond 64 bits",
    "too small",
    "long key of a type that is short",
    "array without items",
    "items without an array",
    "an array's pair that is not lossless",
    "an array of decimals without scale",
    "an array that is unique",
    "an array of references",
}


def is_valid(text: str) -> bool:
    return valid(read_document(text, "plan.yaml").data, SCHEMA, SCHEMA)


def test_the_generated_file_is_up_to_date() -> None:
    message = "run: tranship plan schema > plans/schema.json"
    assert (PLANS / "schema.json").read_text(encoding="utf-8") == schema_text(), message


@pytest.mark.parametrize("path", sorted((PLANS / "examples").glob("*.yaml")), ids=lambda path: path.stem)
def test_examples_are_valid(path: Path) -> None:
    assert is_valid(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("code", GOOD)
def test_plans_that_keep_the_rules_are_valid(code: str) -> None:
    assert all(is_valid(text) for text in GOOD[code])


@pytest.mark.parametrize("name", sorted(set(CASES) - BEYOND))
def test_mistakes_are_not_valid(name: str) -> None:
    assert not is_valid(CASES[name][0])


@pytest.mark.parametrize("line", LATER)
def test_what_is_not_available_yet_is_not_valid(line: str) -> None:
    assert not is_valid(f"{HEAD}{STREAMS}{line}\n")


def test_keys_of_a_place() -> None:
    assert keys_at(("target",)) == ("postgresql", "schema", "state_schema", "accept")
    assert keys_at(("streams", "x", "indexes", 0)) == ("columns", "unique", "where")
    assert keys_at(("streams", "x", "columns", "y", "references")) == ("to", "enforce")
    assert keys_at(("streams", "x", "children", "y", "children", "z", "columns", "c")) == (
        "type",
        "path",
        "bson",
        "precision",
        "scale",
        "items",
        "null",
        "filled",
        "values",
        "comment",
    )
    assert "soak" not in keys_at(())
