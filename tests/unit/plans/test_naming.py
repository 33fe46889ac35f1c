"""Names that cannot stand in PostgreSQL: a problem says what to write instead, which stands for the same field."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plans.texts import ENV, HEAD, write
from tranship.plans import Plan, PlanError, load, resolve
from tranship.plans.document import flow, read_document
from tranship.plans.names import hashed
from tranship.plans.problems import Problem
from tranship.plans.rules import check
from tranship.plans.streams import Column, LogicalType, Stream

DATA = read_document(HEAD, "plan.yaml").data
ADDRESSES = {"mongodb": "mongodb://h", "postgresql": "postgresql://h"}


def plan_of(streams: dict[str, Any]) -> Plan:
    data = copy.deepcopy(DATA) | {"streams": copy.deepcopy(streams)}
    data["source"]["mongodb"], data["target"]["postgresql"] = ADDRESSES["mongodb"], ADDRESSES["postgresql"]
    return Plan.model_validate(data)


def mended(columns: dict[str, Any]) -> tuple[Stream, Stream]:
    """The stream with these columns before and after following every suggestion."""
    plan = plan_of({"s": {"columns": columns}})
    (before,) = resolve(plan)
    lines = {problem.path[-1]: problem.write for problem in check(plan) if problem.severity == "error"}
    renamed: dict[str, Any] = {}
    for name, declared in columns.items():
        renamed |= read_document(f"{{{lines[name]}}}", "line").data if name in lines else {name: declared}
    plan = plan_of({"s": {"columns": renamed}})
    assert check(plan) == []
    return before, resolve(plan)[0]


ODD = ["ctid", "XMIN", "oid", "_residue", "_root_x", "x" * 70, "x" * 64 + "y" * 6, "X" * 70, "é" * 40, "a", "A",
       "address.Oid", "City", "city", "CITY", "true", "null", "1e3", "$oid", "a b", "a: b", '"', "#", "\n" + "y" * 63,
       "\u2028" * 30, "CTID"]  # fmt: skip


@given(st.lists(st.sampled_from(ODD), unique=True, max_size=8))
def test_the_plan_is_right_once_every_suggestion_is_followed(names: list[str]) -> None:
    before, after = mended({name: {"type": "int64", "bson": "int32", "null": "null"} for name in names})
    assert [column.path for column in after.columns] == [column.path for column in before.columns]
    assert {(column.type, column.bson, column.null) for column in after.columns} <= {("int64", "int32", "null")}
    assert after.order == before.order


@pytest.mark.parametrize(
    "declared",
    [
        {"type": "decimal", "precision": 12, "scale": 2, "unique": True},
        {"type": "objectid", "references": {"to": "s"}},
        {"type": "array", "items": "text", "path": ["a.b", "c"]},
        {"type": "text", "filled": "optional"},
        {"type": "text", "path": ["", "no"]},
    ],
)
def test_a_suggestion_keeps_all_that_the_column_says(declared: dict[str, Any]) -> None:
    before, after = mended({"ctid": declared})
    (old,), (new,) = before.columns, after.columns
    assert old.name == "ctid"
    assert vars(new) | {"name": "ctid"} == vars(old)


def test_child_tables_and_their_columns_get_suggestions_too() -> None:
    child = {"path": "lines", "columns": {"xmin": {"type": "int32"}}}
    problems = check(plan_of({"a": {"children": {"T": child}}, "b": {"children": {"t": child}}}))
    assert [problem.write for problem in problems if problem.code == "P102"] == [
        f"{hashed(('b', 't'), 't')}: {{path: lines, columns: {{xmin: {{type: int32}}}}}}"
    ]
    assert {problem.write for problem in problems if problem.code == "P104"} == {
        f"{hashed(('xmin',))}: {{path: xmin, type: int32}}"
    }


LONG, LONGER = "x" * 64, "y" * 70
SIDES = {"source": {"mongodb": "mongodb://h", "database": "d"}, "target": {"postgresql": "postgresql://h"}}
CHILD = {"path": ["a.b"], "empty": "null", "columns": {"ctid": "text", LONG: {"type": "array", "items": "int32"}}}
CROOKED: dict[str, dict[str, Any]] = {
    "schemas": {"target": {**SIDES["target"], "schema": LONG, "state_schema": LONGER}},
    "tables": {"streams": {LONG: {"columns": {"a": "text"}}, "a": {"table": "T"}, "t": {"where": {"a": 1}}}},
    "keys": {"streams": {"a": {"key": {"oid": {"path": "_id.a", "type": "text", "long": True}, LONG: {"path": "_id.b",
             "type": "int32"}}, "children": {"x": CHILD}}}},
    "digests": {"streams": {"a": {"key": {"id": {"path": "_id", "type": "text", "long": True}},
                                  "columns": {"ID_sha256": "text"}}}},
    "children": {"streams": {"a": {"columns": {"lines": "text"}, "children": {"lines": CHILD, LONG: {
        "columns": {"n": "int32"}, "children": {"A": CHILD, "xmin": {"columns": {"v": {"path": [], "type": "uuid"}}}},
    }}}}},
    "rest": {"streams": {"a": {"columns": {"other": "text"}, "rest": {"json": "Other"}},
                         "b": {"rest": {"json": LONG}}}},
    "columns": {"streams": {"a": {"columns": {"ctid": {"type": "decimal", "scale": 2, "unique": True}, "City": "text",
                "city": {"type": "timestamp", "null": "null"}, LONG: {"path": "x.y", "type": "json"}}}}},
}  # fmt: skip


def pasted(text: str, problem: Problem) -> str:
    """The plan with a problem's line in the place that the problem names."""
    data = read_document(text, "plan.yaml").data
    line = read_document(problem.write, "line").data
    *way, last = problem.path
    place = data
    for step in way:
        place = place[step]
    if last in place:
        items = [pair for name, value in place.items() for pair in (line.items() if name == last else [(name, value)])]
        place.clear()
        place.update(items)
    else:
        place.update(line)
    return flow(data)


@pytest.mark.parametrize("kind", CROOKED)
def test_each_line_can_be_pasted_and_its_problem_is_gone(kind: str, tmp_path: Path) -> None:
    """Over the whole plan as a file, for each rule of names and each place that one can be in."""
    data = {"version": 1, "plan": "p", **SIDES, "streams": {"a": {"columns": {"a": "text"}}}, **CROOKED[kind]}
    text, followed = flow(data), 0
    while True:
        try:
            load(write(tmp_path, text), ENV)
            break
        except PlanError as error:
            (problem, *others) = error.problems
            assert problem.write, str(problem)
            text = pasted(text, problem)
            followed += 1
            assert str(problem).partition(f"; write {problem.write}")[1], "the line is shown whole"
            assert followed < 20, others
    assert followed >= 1


# --- any field can be named ----------------------------------------------------------------------------------------


PREFIX = "customer_shipping_address_of_the_very_last_confirmed_order_line"  # 63 bytes
FIELDS = [PREFIX + "_street", PREFIX + "_street2", "", "$oid", "a.b", "ctid", "City", "city"]


def test_any_field_can_be_a_column(tmp_path: Path) -> None:
    columns = {
        f"{PREFIX[:54]}_1": [FIELDS[0]],
        f"{PREFIX[:54]}_2": [FIELDS[1]],
        "empty name": [""],
        "$oid": ["$oid"],
        "a.b": ["a.b"],
        "ctid_of_it": ["ctid"],
        "City": ["City"],
        "small city": ["city"],
    }
    body = ", ".join(f"{json.dumps(name)}: {{path: {json.dumps(path)}, type: text}}" for name, path in columns.items())
    (stream,) = resolve(load(write(tmp_path, f"{HEAD}streams: {{s: {{columns: {{{body}}}}}}}\n"), ENV))
    assert [column.path for column in stream.columns] == [(field,) for field in FIELDS]
    assert len({column.name.casefold()[:63] for column in stream.columns}) == len(FIELDS)
    assert stream.columns[2] == Column("empty name", ("",), LogicalType.TEXT, "string")


def test_a_column_without_a_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanError) as caught:
        load(write(tmp_path, f'{HEAD}streams: {{s: {{columns: {{"": text}}}}}}\n'), ENV)
    (problem,) = caught.value.problems
    assert (problem.code, problem.allowed) == ("P009", ("a text that is not empty",))


# --- the one line of YAML ---------------------------------------------------------------------------------------------

TEXTS = st.one_of(st.sampled_from(ODD), st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8))
VALUES = st.recursive(
    st.one_of(TEXTS, st.integers(-5, 5), st.booleans()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)


@given(st.dictionaries(TEXTS, VALUES, max_size=3))
def test_a_line_of_yaml_is_read_back_as_the_same(data: dict[str, Any]) -> None:
    assert read_document(flow(data), "line").data == data
