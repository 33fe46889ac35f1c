"""Static rules: what no single key can tell, checked over the whole plan without any server.

Each rule is one small function with a code that stays its own for ever. Rules see a plan whose form is right.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import combinations

from tranship.plans.indexrules import (
    conditions_can_be_asked,
    index_columns_exist,
    indexes_are_narrow,
    no_index_over_arrays,
    unique_values_can_pass,
)
from tranship.plans.levels import Level, Subject, levels
from tranship.plans.models import Plan
from tranship.plans.naming import columns_differ, identifier_fits, name_is_free, tables_differ
from tranship.plans.problems import Path, Problem, near_spelling, render_path
from tranship.plans.resolution import resolve, top_fields
from tranship.plans.streams import Column, Stream

MAX_COLUMNS = 1500
"""PostgreSQL allows 1,600 with dropped ones; tables need a few for their own."""

MANY_COLUMNS = 200
"""Wider rows may not fit a page (8,160 bytes)."""

MARKER_COLLECTION = "tranship_markers"
"""Where the drain proof is written."""
SWITCH_COLLECTION = "tranship_switches"
"""Where the routing records are kept."""
ROUTER_COLLECTION = "tranship_routers"
"""Where routers say that they live; written by applications (`docs/router-protocol.md`)."""
WRITTEN_COLLECTIONS = (MARKER_COLLECTION, SWITCH_COLLECTION)
"""What tranship writes itself."""
MARK_COLLECTION = "tranship_marks"
"""Where the marks of a feed are kept that writes into this database (`connectors.mongodb.target`)."""
OWN_COLLECTIONS = (*WRITTEN_COLLECTIONS, ROUTER_COLLECTION, MARK_COLLECTION)
"""Collections of the source database that are never a stream."""

_SYSTEM_SCHEMA = re.compile(r"pg_.*|information_schema", re.DOTALL)
SYSTEM_DATABASES = ("admin", "config", "local")


Rule = Callable[[Subject], Iterator[Problem]]


def check(plan: Plan) -> list[Problem]:
    """Every problem that the rules find, warnings too."""
    subject = Subject(plan, resolve(plan))
    return [problem for rule in RULES for problem in rule(subject)]


def paths_apart(subject: Subject) -> Iterator[Problem]:
    """P105: no two columns or child tables of a table read the same field, or one a part of the other's."""
    for level in subject.levels:
        places: dict[tuple[str, ...], Path] = {}
        for field, path in level.fields():
            if field in places:
                yield Problem("P105", path, f"{render_path(places[field])} is the same field", _field(field))
            places.setdefault(field, path)
        for field, path in places.items():
            for size in range(len(field)):
                if outer := places.get(field[:size]):
                    yield Problem("P105", path, f"a part of {render_path(outer)}", _field(field))


def key_is_id(subject: Subject) -> Iterator[Problem]:
    """P106: the key is `_id` or parts of it, and nothing else reads `_id`."""
    for stream in subject.streams:
        for column in stream.key:
            if column.path[0] != "_id":
                path: Path = ("streams", stream.name, "key", column.name, "path")
                yield Problem("P106", path, "a key is read from _id", _field(column.path), ("_id", "_id.…"))
        for field, path in next(levels(stream)).fields_beside_key():
            if field[0] == "_id":
                yield Problem("P106", path, "_id belongs to the key", _field(field))


def reference_leads(subject: Subject) -> Iterator[Problem]:
    """P107: a reference leads to a stream whose key is one column of the same type."""
    streams = {stream.name: stream for stream in subject.streams}
    for stream in subject.streams:
        for column in stream.columns:
            if column.references is not None:
                yield from _check_reference(stream, column, streams)


def _check_reference(stream: Stream, column: Column, streams: dict[str, Stream]) -> Iterator[Problem]:
    assert column.references is not None
    path: Path = ("streams", stream.name, "columns", column.name, "references", "to")
    to = column.references.stream
    if to not in streams:
        yield Problem("P107", path, "no stream has this name", to, tuple(streams), near_spelling(to, streams))
        return
    key = streams[to].key
    if len(key) > 1:
        yield Problem("P107", path, f"the key of {to} has {len(key)} columns, a reference holds one", to)
    elif (key[0].type, key[0].bson == "any") != (column.type, column.bson == "any"):
        kind = "canonical" if key[0].bson == "any" else key[0].type
        yield Problem("P107", path, f"the key of {to} is {kind}, this column is {column.type}", to)


def columns_fit(subject: Subject) -> Iterator[Problem]:
    """P109: no table has more columns than PostgreSQL can hold."""
    for level in subject.levels:
        if _width(level) > MAX_COLUMNS:
            advice = f"at most {MAX_COLUMNS}; the rest fits one column by rest: {{json: NAME}}"
            yield Problem("P109", level.path, f"{_width(level)} columns", allowed=(advice,))


def columns_are_few(subject: Subject) -> Iterator[Problem]:
    """P110 (warning): wide rows may not fit a page, and then single rows fail to load."""
    for level in subject.levels:
        if MANY_COLUMNS < _width(level) <= MAX_COLUMNS:
            message = f"{_width(level)} columns: a row may not fit a page; consider rest: {{json: NAME}}"
            yield Problem("P110", level.path, message, severity="warning")


def _field(path: tuple[str, ...]) -> str:
    return ".".join(path) or "the element itself"


def _width(level: Level) -> int:
    return len(level.key) + len(level.columns) + (level.rest_column is not None)


def schemas_are_free(subject: Subject) -> Iterator[Problem]:
    """P111: the target's two schemas differ, and neither is PostgreSQL's own."""
    target = subject.plan.target
    if target.schema_name == target.state_schema:
        yield Problem("P111", ("target", "state_schema"), "the state needs a schema of its own", target.state_schema)
    for key, name in (("schema", target.schema_name), ("state_schema", target.state_schema)):
        if _SYSTEM_SCHEMA.fullmatch(name):
            yield Problem("P111", ("target", key), "this schema belongs to PostgreSQL", name)


def source_is_data(subject: Subject) -> Iterator[Problem]:
    """P112: no system database, system collection or marker collection is moved."""
    database = subject.plan.source.database
    if database in SYSTEM_DATABASES:
        yield Problem("P112", ("source", "database"), "this database belongs to MongoDB", database)
    for stream in subject.streams:
        path: Path = ("streams", stream.name, "from")
        if stream.collection in OWN_COLLECTIONS:
            yield Problem("P112", path, "tranship writes its markers into this collection", stream.collection)
        elif stream.collection.startswith("system."):
            yield Problem("P112", path, "this collection belongs to MongoDB", stream.collection)


def streams_are_apart(subject: Subject) -> Iterator[Problem]:
    """P113 (warning): two streams of one collection that surely share documents."""
    for first, second in combinations(subject.streams, 2):
        if first.collection != second.collection:
            continue
        if first.where is None or second.where is None or first.where == second.where:
            message = f"documents of {first.collection} go to {first.name} and to {second.name}: give both a where"
            yield Problem("P113", ("streams", second.name), message, severity="warning")


def order_is_whole(subject: Subject) -> Iterator[Problem]:
    """P114: an `order` names every top field that the stream, or the child table, maps, and none twice."""
    for stream in subject.streams:
        mapped = top_fields(stream.key, stream.columns, stream.children)
        yield from _check_order(stream.order, mapped, ("streams", stream.name, "order"))
    for level in subject.levels:
        if level.child is not None and level.child.order:
            mapped = top_fields((), level.columns, level.children)
            yield from _check_order(level.child.order, mapped, (*level.path, "order"))


def _check_order(order: tuple[str, ...], mapped: tuple[str, ...], path: Path) -> Iterator[Problem]:
    for position, name in enumerate(order):
        if name in order[:position]:
            yield Problem("P114", (*path, position), "this field is already in the order", name)
    missing = [name for name in mapped if name not in order]
    if missing:
        yield Problem("P114", path, f"these mapped fields are missing: {', '.join(missing)}")


WORKER_BYTES = 256 << 20
"""What a worker process takes, measured: interpreter and drivers, and a batch of each side in several forms."""


def workers_fit_memory(subject: Subject) -> Iterator[Problem]:
    """P115: the memory is enough for the workers."""
    limits = subject.plan.limits
    needed = limits.workers * WORKER_BYTES
    if limits.memory is not None and limits.memory < needed:
        message = f"{limits.workers} workers need {needed >> 20}MiB"
        yield Problem("P115", ("limits", "memory"), message, f"{limits.memory >> 20}MiB")


def writers_are_declared(subject: Subject) -> Iterator[Problem]:
    """P120: a fence by roles is of users that are declared, each once; where nobody fences users, none are."""
    cutover = subject.plan.cutover
    if cutover.fence == "roles" and not cutover.writers:
        message = "with `fence: roles` the users that lose their writing have to be declared"
        yield Problem("P120", ("cutover", "writers"), message, "none")
    if cutover.writers and cutover.fence in ("external", "router"):
        message = f"`fence: {cutover.fence}` takes nothing from users: name another fence, or leave this out"
        yield Problem("P120", ("cutover", "writers"), message, str(len(cutover.writers)))
    seen = set[tuple[str, str]]()
    for position, writer in enumerate(cutover.writers):
        if (writer.user, writer.database) in seen:
            yield Problem("P120", ("cutover", "writers", position), "this user is declared already", writer.user)
        seen.add((writer.user, writer.database))


RULES: tuple[Rule, ...] = (
    identifier_fits,
    tables_differ,
    columns_differ,
    name_is_free,
    paths_apart,
    key_is_id,
    reference_leads,
    index_columns_exist,
    columns_fit,
    columns_are_few,
    schemas_are_free,
    source_is_data,
    streams_are_apart,
    order_is_whole,
    workers_fit_memory,
    no_index_over_arrays,
    indexes_are_narrow,
    conditions_can_be_asked,
    unique_values_can_pass,
    writers_are_declared,
)
