"""Short forms and defaults, written out: the declared and the resolved form of a plan mean the same."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from tests.unit.plans.texts import HEAD, STREAMS, plan_of
from tranship.plans import (
    STRATEGIES,
    Child,
    Column,
    Condition,
    Index,
    LogicalType,
    Plan,
    Reference,
    Rest,
    Stream,
    meaning,
    resolve,
)
from tranship.plans.columns import ChildColumnPlan, ChildPlan, ColumnPlan, KeyColumnPlan, ReferencePlan
from tranship.plans.models import (
    CutoverPlan,
    IndexPlan,
    LimitsPlan,
    ReconcilePlan,
    RestPlan,
    RollbackPlan,
    SourcePlan,
    StreamPlan,
    TargetPlan,
)
from tranship.plans.pairs import PAIRS
from tranship.plans.strategies import Group

ID = Column("_id", ("_id",), LogicalType.OBJECTID, "objectid")


def only(folder: Path, body: str) -> Stream:
    """The stream `s` with this body."""
    (stream,) = resolve(plan_of(folder, f"{HEAD}streams: {{s: {body}}}\n"))
    return stream


def test_a_stream_of_defaults(tmp_path: Path) -> None:
    assert only(tmp_path, "{}") == Stream("s", "s", "s", (ID,), (), order=("_id",))


def test_everything_written_out(tmp_path: Path) -> None:
    body = """{
        from: c, where: {kind: order}, table: t,
        key: {id: {path: _id, type: int64, bson: int32}},
        columns: {
          total: {path: sums.total, type: decimal, precision: 12, scale: 2, bson: int64, null: null, unique: true},
          other: {type: int64, references: {to: s, enforce: report}, values: [1, 2], comment: "one, or two"}},
        children: {
          items: {path: lines, empty: missing, columns: {sku: {path: p.sku, type: text, null: "null"}},
            children: {parts: {columns: {"n.o": bool}}}}},
        indexes: [{columns: [id, total]}, {columns: [other]},
          {columns: [{other: desc}, {id: asc}], unique: true, where: {total: {gte: 1, is: present}, other: {in: [2]}}}],
        rest: {json: free, policy: fail},
        order: [_id, x, lines, sums, other]}"""
    assert only(tmp_path, body) == Stream(
        name="s",
        collection="c",
        table="t",
        key=(Column("id", ("_id",), LogicalType.INT64, "int32"),),
        columns=(
            Column(
                "total", ("sums", "total"), LogicalType.DECIMAL, "int64", "null", precision=12, scale=2, unique=True
            ),
            Column(
                "other",
                ("other",),
                LogicalType.INT64,
                "int64",
                references=Reference("s"),
                values=(1, 2),
                comment="one, or two",
            ),
        ),
        children=(
            Child(
                "items",
                ("lines",),
                (Column("sku", ("p", "sku"), LogicalType.TEXT, "string", "null"),),
                (Child("parts", ("parts",), (Column("n.o", ("n", "o"), LogicalType.BOOL, "bool"),)),),
                "missing",
            ),
        ),
        indexes=(
            Index(("id", "total")),
            Index(("other",)),
            Index(
                ("other", "id"),
                ("other",),
                unique=True,
                where=(Condition("total", "present"), Condition("total", "gte", (1,)), Condition("other", "in", (2,))),
            ),
        ),
        where='{"kind":"order"}',
        rest=Rest.FAIL,
        rest_column="free",
        order=("_id", "x", "lines", "sums", "other"),
    )


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("{columns: {a: text}}", "{columns: {a: {type: text, path: a, bson: string, null: missing, unique: false}}}"),
        ("{columns: {a.b: text}}", "{columns: {a.b: {type: text, path: [a, b]}}}"),
        ("{key: {_id: uuid}}", "{key: {_id: {type: uuid, path: _id, bson: uuid}}}"),
        ("{key: {k: canonical}}", "{key: {k: {type: canonical}}}"),
        ("{columns: {a: {type: objectid, references: s}}}", "{columns: {a: {type: objectid, references: {to: s}}}}"),
        ("{rest: quarantine}", "{rest: {policy: quarantine}}"),
        ("{rest: {json: x}}", "{rest: {json: x, policy: residue}}"),
        ("{columns: {a: {type: decimal, scale: 2}}}", "{columns: {a: {type: decimal, scale: 2, precision: 38}}}"),
        ("{children: {c: {columns: {a: text}}}}", "{children: {c: {path: c, empty: empty, columns: {a: text}}}}"),
        ("{where: {}}", "{}"),
        (
            "{columns: {a: text, b: text}, indexes: [{columns: [a, {b: asc}]}]}",
            "{columns: {a: text, b: text}, indexes: [{columns: [a, b], unique: false, where: {}}]}",
        ),
        (
            "{columns: {a: text}, indexes: [{columns: [a], where: {a: absent}}]}",
            "{columns: {a: text}, indexes: [{columns: [a], where: {a: {is: absent}}}]}",
        ),
        ("{columns: {a: text}}", "{columns: {a: text}, order: [_id, a]}"),
    ],
)
def test_short_forms(short: str, long: str, tmp_path: Path) -> None:
    assert only(tmp_path, short) == only(tmp_path, long)


def test_a_canonical_key_is_one_bytes_column_for_the_whole_id(tmp_path: Path) -> None:
    assert only(tmp_path, "{key: {k: canonical}}").key == (Column("k", ("_id",), LogicalType.BYTES, "any"),)


def test_a_composite_key(tmp_path: Path) -> None:
    stream = only(tmp_path, "{key: {a: {path: _id.a, type: text}, _id.b: int64}}")
    assert [(column.name, column.path) for column in stream.key] == [("a", ("_id", "a")), ("_id.b", ("_id", "b"))]
    assert stream.order == ("_id",)


def test_a_column_for_the_element_itself(tmp_path: Path) -> None:
    stream = only(tmp_path, "{children: {tags: {columns: {tag: {path: [], type: text}}}}}")
    assert stream.children[0].columns == (Column("tag", (), LogicalType.TEXT, "string"),)


@pytest.mark.parametrize("logical", PAIRS)
def test_every_type_expects_its_first_pair(logical: LogicalType, tmp_path: Path) -> None:
    scale = ", scale: 1" if logical is LogicalType.DECIMAL else ""
    (column,) = only(tmp_path, f"{{columns: {{a: {{type: {logical}{scale}}}}}}}").columns
    assert (column.type, column.bson) == (logical, PAIRS[logical][0])


@pytest.mark.parametrize(
    ("logical", "bson"),
    [(logical, bson) for logical in PAIRS if logical is not LogicalType.JSON for bson in PAIRS[logical]],
)
def test_an_array_says_of_its_elements_what_a_column_says_of_itself(
    logical: LogicalType, bson: str, tmp_path: Path
) -> None:
    about = f"bson: {bson}, precision: 9, scale: 1" if logical is LogicalType.DECIMAL else f"bson: {bson}"
    array = f"{{type: array, items: {logical}, {about}, null: null}}"
    body = f"{{columns: {{a: {array}, b: {{type: {logical}, {about}}}}}}}"
    column, single = only(tmp_path, body).columns
    assert (column.type, column.items, column.bson, column.null) == (LogicalType.ARRAY, logical, bson, "null")
    assert column.element == replace(single, name="a", path=(), null="null")


def test_an_array_is_a_column_of_a_child_table_too(tmp_path: Path) -> None:
    body = "{children: {grid: {columns: {line: {type: array, items: float64, path: []}}}}}"
    (child,) = only(tmp_path, body).children
    assert child.columns == (Column("line", (), LogicalType.ARRAY, "double", items=LogicalType.FLOAT64),)


@pytest.mark.parametrize(("logical", "bson"), [(logical, bson) for logical in PAIRS for bson in PAIRS[logical]])
def test_every_pair_can_be_asked_for(logical: LogicalType, bson: str, tmp_path: Path) -> None:
    scale = ", scale: 1" if logical is LogicalType.DECIMAL else ""
    (column,) = only(tmp_path, f"{{columns: {{a: {{type: {logical}, bson: {bson}{scale}}}}}}}").columns
    assert column.bson == bson


def test_the_default_order_is_that_of_declaration(tmp_path: Path) -> None:
    columns = "{b: text, x: {path: sub.x, type: text}, a: text, y: {path: sub.y, type: text}}"
    body = f"{{columns: {columns}, children: {{c: {{columns: {{v: text}}}}}}}}"
    assert only(tmp_path, body).order == ("_id", "b", "sub", "a", "c")


def test_a_filter_keeps_its_order_and_extended_json(tmp_path: Path) -> None:
    body = '{where: {z: {b: 1, a: 2}, _id: {$gt: {$oid: "65a000000000000000000000"}}, n: 1.5, é: null}}'
    where = only(tmp_path, body).where
    assert where == '{"z":{"b":1,"a":2},"_id":{"$gt":{"$oid":"65a000000000000000000000"}},"n":1.5,"é":null}'
    assert list(json.loads(where)["z"]) == ["b", "a"]


def test_streams_keep_the_order_of_the_file(tmp_path: Path) -> None:
    assert [s.name for s in resolve(plan_of(tmp_path, HEAD + "streams: {b: {}, a: {}, c: {}}\n"))] == ["b", "a", "c"]


def test_resolved_streams_are_hashable_and_travel_between_processes(tmp_path: Path) -> None:
    stream = only(tmp_path, "{columns: {a: text}, children: {c: {columns: {b: json}}}}")
    assert pickle.loads(pickle.dumps(stream)) == stream
    assert hash(stream) == hash(only(tmp_path, "{columns: {a: text}, children: {c: {columns: {b: json}}}}"))


def test_the_defaults_of_a_plan(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, HEAD.replace(", schema: shop", "") + STREAMS)
    assert (plan.target.schema_name, plan.target.state_schema) == ("public", "tranship")
    assert (plan.strategy, plan.phases) == ("expand-contract", STRATEGIES["expand-contract"])
    assert plan.approval == (Group.CUTOVER,)
    assert plan.reconcile.model_dump() == {"mode": "full", "max_divergences": 0, "on_divergence": "rollback"}
    assert plan.cutover.model_dump() == {
        "fence": "external",
        "writers": (),
        "quiet": 5.0,
        "deadline": 10.0,
        "max_lag": 2.0,
        "max_quarantined": 0,
        "final": "touched",
    }
    assert plan.limits.model_dump() == {
        "workers": 2,
        "memory": None,
        "chunk": 4 * 2**20,
        "lease": 15.0,
        "patience": 900.0,
        "misfit": 0.01,
    }


def test_the_spelling_of_a_plan_does_not_change_its_meaning(tmp_path: Path) -> None:
    short = plan_of(tmp_path, HEAD + STREAMS)
    long = plan_of(
        tmp_path, HEAD + "streams:\n  orders:\n    key: {_id: objectid}\n    columns:\n      status: {type: text}\n"
    )
    assert meaning(short) == meaning(long)


FORMS: list[type[BaseModel]] = [
    Plan, SourcePlan, TargetPlan, StreamPlan, KeyColumnPlan, ColumnPlan, ChildColumnPlan, ChildPlan, IndexPlan,
    RestPlan, ReferencePlan, ReconcilePlan, CutoverPlan, RollbackPlan, LimitsPlan,
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_no_key_may_be_left_without_a_value(form: type[BaseModel]) -> None:
    for name, field in form.model_fields.items():
        key = field.alias or name
        errors = _errors(form, {key: None})
        assert ((key,) in errors) is (key not in ("null", "empty")), key


def _errors(form: type[BaseModel], data: dict[str, None]) -> set[tuple[int | str, ...]]:
    try:
        form.model_validate(data)
    except ValidationError as error:
        return {details["loc"] for details in error.errors()}
    return set()
