"""Turns the declared form into the resolved one (`plans.streams`): every short form and default written out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace

from tranship.plans.addresses import Surroundings, read_address
from tranship.plans.columns import (
    MAX_PRECISION,
    ChildColumnPlan,
    ChildPlan,
    ColumnPlan,
    KeyColumnPlan,
    default_bson,
)
from tranship.plans.indexes import IndexPlan
from tranship.plans.models import SOURCE_SCHEMES, STATE_SCHEMA, TARGET_SCHEMES, Plan, StreamPlan
from tranship.plans.streams import Child, Column, Endpoint, Index, LogicalType, Reference, Stream

CANONICAL_BSON = "any"
"""`bson` of a key column that holds the canonical key itself."""


SESSIONS, SESSIONS_PER_WORKER = 11, 3
"""What a run opens on its target at once, counted: 11 with one worker, 14 with two, 32 with eight, and two for commands
beside it."""


def resolve(plan: Plan) -> tuple[Stream, ...]:
    """The streams of a plan, in the order of the file."""
    return tuple(_stream(name, declared) for name, declared in plan.streams.items())


def source_endpoint(plan: Plan) -> Endpoint:
    """The source, with secrets put in."""
    return Endpoint("mongodb", plan.source.mongodb, database=plan.source.database)


def writer_logins(plan: Plan) -> tuple[tuple[str, str, Endpoint | None], ...]:
    """The writers that are declared: user, the database that keeps it, and its own login where that is given."""
    return tuple(
        (one.user, one.database, Endpoint("mongodb", one.login, database=plan.source.database) if one.login else None)
        for one in plan.cutover.writers
    )


def target_endpoint(plan: Plan) -> Endpoint:
    """The target, with secrets put in."""
    target = plan.target
    return Endpoint(
        "postgresql",
        target.postgresql,
        schema=target.schema_name,
        state_schema=target.state_schema,
        accept=target.accept,
        sessions=SESSIONS + SESSIONS_PER_WORKER * plan.limits.workers,
    )


def state_endpoint(template: str, state_schema: str | None = None) -> Endpoint:
    """The state schema of a target without a plan; the address is as in one. Raises `AddressError`."""
    address = read_address(template, TARGET_SCHEMES, Surroundings())
    return Endpoint("postgresql", address, state_schema=state_schema or STATE_SCHEMA)


def source_of(template: str, database: str) -> Endpoint:
    """A source without a plan; the address is as in one. Raises `AddressError`."""
    return Endpoint("mongodb", read_address(template, SOURCE_SCHEMES, Surroundings()), database=database)


def _stream(name: str, declared: StreamPlan) -> Stream:
    key = tuple(_key_column(column, spec) for column, spec in declared.key.items())
    columns = tuple(_column(column, spec) for column, spec in declared.columns.items())
    children = _children(declared.children)
    return Stream(
        name=name,
        collection=declared.collection or name,
        table=declared.table or name,
        key=key,
        columns=columns,
        children=children,
        indexes=tuple(_index(index) for index in declared.indexes),
        where=_filter_text(declared.where),
        rest=declared.rest.policy,
        rest_column=declared.rest.json_column,
        order=declared.order if declared.order is not None else top_fields(key, columns, children),
        comment=declared.comment or "",
    )


def _index(declared: IndexPlan) -> Index:
    where = [condition for column, plan in declared.where.items() for condition in plan.conditions(column)]
    names = tuple(name for name, _ in declared.columns)
    return Index(names, tuple(name for name, down in declared.columns if down), declared.unique, tuple(where))


def top_fields(key: Iterable[Column], columns: Iterable[Column], children: Iterable[Child]) -> tuple[str, ...]:
    """The documents' top fields that the plan names, in the order of declaration."""
    paths = [column.path for column in (*key, *columns)] + [child.path for child in children]
    return tuple(dict.fromkeys(path[0] for path in paths if path))


def _key_column(name: str, declared: KeyColumnPlan) -> Column:
    if declared.type == "canonical":
        about = declared.comment or ""
        return Column(name, ("_id",), LogicalType.BYTES, CANONICAL_BSON, long=declared.long, comment=about)
    return replace(_typed(name, LogicalType(declared.type), declared), long=declared.long)


def _column(name: str, declared: ColumnPlan) -> Column:
    to = declared.references
    reference = Reference(to.to, to.enforce) if to is not None else None
    return replace(_data_column(name, declared), unique=declared.unique, references=reference)


def _data_column(name: str, declared: ColumnPlan | ChildColumnPlan) -> Column:
    column = _typed(name, declared.single, declared)
    column = replace(column, null=declared.null, filled=declared.filled, values=declared.values or ())
    return column if declared.items is None else replace(column, type=declared.type, items=declared.single)


def _children(declared: Mapping[str, ChildPlan]) -> tuple[Child, ...]:
    return tuple(_child(table, child) for table, child in declared.items())


def _child(table: str, declared: ChildPlan) -> Child:
    return Child(
        table=table,
        path=declared.path or _path(table),
        columns=tuple(_data_column(name, column) for name, column in declared.columns.items()),
        children=_children(declared.children),
        empty=declared.empty,
        filled=declared.filled,
        order=declared.order or (),
        comment=declared.comment or "",
    )


def _typed(name: str, logical: LogicalType, declared: KeyColumnPlan | ColumnPlan | ChildColumnPlan) -> Column:
    decimal = logical is LogicalType.DECIMAL
    return Column(
        name=name,
        path=declared.path if declared.path is not None else _path(name),
        type=logical,
        bson=declared.bson or default_bson(logical),
        precision=(declared.precision or MAX_PRECISION) if decimal else None,
        scale=declared.scale,
        comment=declared.comment or "",
    )


def _path(name: str) -> tuple[str, ...]:
    return tuple(name.split("."))


def _filter_text(where: Mapping[str, object] | None) -> str | None:
    # Not sorted: in a filter that compares whole documents, the order of fields has a meaning.
    return json.dumps(where, ensure_ascii=False, separators=(",", ":")) if where else None
