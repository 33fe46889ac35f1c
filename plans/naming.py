"""Static rules about names, each with the line that mends the plan: a name that can stand, for the same path."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import replace
from typing import Any

from tranship.plans.document import flow
from tranship.plans.levels import Level, Named, Subject
from tranship.plans.models import Plan
from tranship.plans.names import MAX_BYTES, free_identifier, hashed, is_reserved, written
from tranship.plans.problems import Path, Problem, render_path
from tranship.plans.streams import DIGEST_SUFFIX, Child, Column

_ROOT = "_root_"
"""Child tables have the root's key columns with this prefix."""


def identifier_fits(subject: Subject) -> Iterator[Problem]:
    """P101: every name is one that PostgreSQL keeps as it is."""
    target = subject.plan.target
    for key, name in (("schema", target.schema_name), ("state_schema", target.state_schema)):
        for problem in _check_size(name, ("target", key)):
            yield replace(problem, write=f"{key}: {flow(hashed((key,), name))}")
    for level in subject.levels:
        for problem in _check_size(level.table, level.table_path):
            yield replace(problem, write=_table_line(subject.plan, level))
        for named in level.column_names():
            most = _room(level, named)
            for problem in _check_size(named.name, named.path, most):
                yield replace(problem, write=_line(subject.plan, level, named, most))


def _room(level: Level, named: Named) -> int:
    """How many bytes the name may have: names made of it must fit too."""
    most = MAX_BYTES
    if named.what in level.key:
        most -= len(_ROOT) if level.children else 0
        most -= len(DIGEST_SUFFIX) if isinstance(named.what, Column) and named.what.long else 0
    return most


def _check_size(name: str, path: Path, most: int = MAX_BYTES) -> Iterator[Problem]:
    size = len(name.encode())
    if size > most:
        yield Problem("P101", path, f"the name has {size} bytes", allowed=(f"at most {most} bytes",))
    if "\0" in name:
        yield Problem("P101", path, "a name cannot hold U+0000")


def tables_differ(subject: Subject) -> Iterator[Problem]:
    """P102: table names differ over all streams and child tables, also without regard to case."""
    seen: dict[str, Path] = {}
    for level in subject.levels:
        first = seen.setdefault(level.table.casefold(), level.table_path)
        if first is not level.table_path:
            message = f"{render_path(first)} names the same table"
            yield Problem("P102", level.table_path, message, level.table, write=_table_line(subject.plan, level))


def columns_differ(subject: Subject) -> Iterator[Problem]:
    """P103: names of columns and arrays differ within a table, also without regard to case."""
    for level in subject.levels:
        seen: dict[str, Path] = {}
        for named in level.names():
            first = seen.setdefault(named.name.casefold(), named.path)
            if first is not named.path:
                message = f"{render_path(first)} has the same name"
                yield Problem("P103", named.path, message, named.name, write=_line(subject.plan, level, named))


def name_is_free(subject: Subject) -> Iterator[Problem]:
    """P104: no column has a name that tranship or PostgreSQL uses itself."""
    for level in subject.levels:
        for named in level.names():
            if is_reserved(named.name):
                message = "this name is reserved: choose another and give the field as path"
                yield Problem("P104", named.path, message, named.name, write=_line(subject.plan, level, named))


# --- the line to write ------------------------------------------------------------------------------------------------


def _line(plan: Plan, level: Level, named: Named, most: int = MAX_BYTES) -> str:
    """What to write in the place of a name that cannot stand."""
    if isinstance(named.what, Child):
        return _child_line(plan, named.what, named.path)
    taken = {other.name.casefold() for other in level.names()}
    if isinstance(named.what, Column):
        return _column_line(plan, named.what, named.path, taken, most)
    if named.path[-2:] == ("rest", "json"):
        return f"json: {flow(free_identifier((named.name,), taken, most))}"
    return ""


def _column_line(plan: Plan, column: Column, path: Path, taken: Container[str], most: int) -> str:
    if "\0" in "".join(column.path):
        return ""  # no document has such a field
    name = free_identifier(column.path, taken, most) if column.path else hashed((), column.name, most)
    return _whole_line(plan, path, name, column.path)


def _whole_line(plan: Plan, path: Path, name: str, field: tuple[str, ...]) -> str:
    """Another name for the field, with all else that the plan says of it."""
    declared = _declared(plan, path).model_dump(exclude_defaults=True, exclude={"path"}, mode="json")
    return f"{flow(name)}: {{path: {written(field)}, {flow(declared)[1:]}"


def _table_line(plan: Plan, level: Level) -> str:
    if level.child is not None:
        return _child_line(plan, level.child, level.path)
    return f"table: {flow(hashed(_plan_names(level.path), level.table))}"


def _child_line(plan: Plan, child: Child, path: Path) -> str:
    if "\0" in "".join(child.path):
        return ""
    # A table's name has to be the only one in its schema, so that the streams and tables above count too.
    return _whole_line(plan, path, hashed(_plan_names(path), child.table), child.path)


def _plan_names(path: Path) -> tuple[str, ...]:
    """The names in ("streams", NAME, "children", NAME, …)."""
    return tuple(map(str, path[1::2]))


def _declared(plan: Plan, path: Path) -> Any:
    """What the plan says at a path of its streams."""
    node: Any = plan
    for step in path:
        node = node[step] if isinstance(node, dict) else getattr(node, str(step))
    return node
