"""The proposed plan as a file: as a person would write it, with the figures behind each doubtful choice."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from tranship.connectors.printable import printable
from tranship.connectors.profile import CollectionProfile
from tranship.orchestrator.design.proposals import Column, Stream, Table, share
from tranship.orchestrator.design.survey import Extent
from tranship.orchestrator.journal.sentences import count
from tranship.orchestrator.reports.sizes import size
from tranship.plans.document import flow, flow_key
from tranship.plans.models import STATE_SCHEMA
from tranship.plans.names import path_data, written

_WIDTH = 44
"""Comments beside a line begin behind so many columns."""

_LONG = 110
_BESIDE = 106

_NAMED = 12

_ROW = 28
"""Bytes of a row without its values."""


def written_plan(
    database: str, streams: Sequence[Stream], profiles: Sequence[CollectionProfile], extent: Extent
) -> str:
    """The text of the plan."""
    lines = [*_head(database, profiles, extent), "streams:"]
    for number, stream in enumerate(streams):
        lines += ([""] if number else []) + [f"  {line}" for line in stream_lines(stream)]
    left_out = [profile for profile in profiles if profile.left_out]
    if left_out:
        lines += ["", "# Left out:"]
        lines += _wrapped(f"{profile.name}: {profile.left_out}" for profile in left_out)
    return "\n".join(line.rstrip() for line in lines) + "\n"


def plan_name(database: str) -> str:
    """A plan's name made of the database's."""
    name = re.sub("[^a-z0-9_-]+", "_", database.lower())
    return (name if re.match("[a-z]", name) else f"plan_{name}")[:40]


def schema_name(database: str) -> str:
    """A schema's name made of the database's."""
    clean = plan_name(database)
    if clean.startswith("pg_") or clean in (STATE_SCHEMA, "information_schema"):  # the state's, and PostgreSQL's own
        return f"moved_{clean}"
    return clean


# --- head -------------------------------------------------------------------------------------------------------------


def _head(database: str, profiles: Sequence[CollectionProfile], extent: Extent) -> list[str]:
    moved = [profile for profile in profiles if not profile.left_out]
    read, documents = sum(p.read for p in moved), sum(p.documents for p in moved)
    if read >= documents:
        coverage = f"all {documents:,} documents were read"
    else:
        part = f"{read:,} of {documents:,} documents"
        coverage = f"{part} were read ({share(read, documents)}), chosen by seed {extent.seed}"
    collections = f"{len(moved)} of {len(profiles)} collections"
    return [
        f"# Made by `tranship init` for the database {printable(database)}: {collections},",
        f"# {coverage}. Look through it: what is doubtful has its figures beside it.",
        "# Figures of residue and quarantine are of what was read; docs/plans.md explains every key.",
        "version: 1",
        f"plan: {plan_name(database)}",
        f'source: {{mongodb: "${{env:SOURCE_URI}}", database: {flow(database)}}}',
        f'target: {{postgresql: "${{env:TARGET_URI}}", schema: {flow(schema_name(database))}}}',
        "",
    ]


# --- streams ----------------------------------------------------------------------------------------------------------


def stream_lines(stream: Stream) -> Iterator[str]:
    """A stream with its comments."""
    yield from _wrapped([_forecast(stream), *stream.notes, *_rare(stream.table)])
    yield f"{flow_key(stream.name)}:"
    if stream.name != stream.collection:
        yield f"  from: {flow(stream.collection)}"
    if stream.where is not None:
        yield f"  where: {flow(stream.where)}"
    if stream.table.name != stream.name:
        yield f"  table: {flow(stream.table.name)}"
    yield from _key(stream.key)
    for line in _table(stream.table):
        yield f"  {line}"
    if stream.indexes:
        yield "  indexes:"
        for index in stream.indexes:
            yield f"    - {flow(index)}"
    if stream.rest:
        yield f"  rest: {flow({'json': stream.rest})}"
    yield from _order(stream.table, stream.key, "  ")


def _rare(table: Table) -> Iterator[str]:
    if table.rare:
        more = f" and {len(table.rare) - _NAMED} more" if len(table.rare) > _NAMED else ""
        yield f"left to the residue, for being rare or what no column holds: {', '.join(table.rare[:_NAMED])}{more}"


def _key(key: list[Column]) -> Iterator[str]:
    if len(key) == 1 and not key[0].notes:
        yield f"  key: {{{_declared(key[0])}}}"
        return
    yield "  key:"
    for column in key:
        yield from _beside(f"    {_declared(column)}", column.notes)


def _table(table: Table) -> Iterator[str]:
    if table.columns:
        yield "columns:"
        for column in table.columns:
            yield from _beside(f"  {_declared(column)}", column.notes)
    if table.children:
        yield "children:"
        for child in table.children:
            for line in child_lines(child):
                yield f"  {line}"


def column_lines(column: Column) -> Iterator[str]:
    """A column with its notes."""
    yield from (line[2:] for line in _beside(f"  {_declared(column)}", column.notes))


def child_lines(child: Table) -> Iterator[str]:
    """A child table with its comments."""
    yield from _wrapped(["; ".join([f"{count(child.rows, 'element')} seen", *child.notes]), *_rare(child)])
    yield f"{flow_key(child.name)}:"
    yield f"  path: {written(child.path)}"
    if child.empty != "empty":
        yield f"  empty: {flow(child.empty)}"
    for line in _table(child):
        yield f"  {line}"
    yield from _order(child, [], "  ")


def _declared(column: Column) -> str:
    return f"{flow_key(column.name)}: {flow(column_data(column))}"


def _order(table: Table, key: list[Column], indent: str) -> Iterator[str]:
    if _is_declared(table, key):
        return
    line = f"{indent}order: {flow(table.order)}"
    if len(line) <= _LONG:
        yield line
        return
    yield f"{indent}order:"
    yield from (f"{indent}  - {flow(name)}" for name in table.order)


# --- the same as data -------------------------------------------------------------------------------------------------


def stream_data(stream: Stream) -> dict[str, Any]:
    """What a plan's file says of a stream."""
    found: dict[str, Any] = {"from": stream.collection} if stream.name != stream.collection else {}
    found |= {"where": stream.where} if stream.where is not None else {}
    found |= {"table": stream.table.name} if stream.table.name != stream.name else {}
    found["key"] = {column.name: column_data(column) for column in stream.key}
    found |= _table_data(stream.table)
    found |= {"indexes": stream.indexes} if stream.indexes else {}
    found |= {"rest": {"json": stream.rest}} if stream.rest else {}
    return found | ({} if _is_declared(stream.table, stream.key) else {"order": stream.table.order})


def child_data(child: Table) -> dict[str, Any]:
    """What a plan's file says of a child table."""
    found: dict[str, Any] = {"path": path_data(child.path)}
    found |= {"empty": child.empty} if child.empty != "empty" else {}
    return found | _table_data(child) | ({} if _is_declared(child, []) else {"order": child.order})


def column_data(column: Column) -> str | dict[str, Any]:
    """What a plan's file says of a column."""
    spec: dict[str, Any] = dict(column.spec)
    if column.path != tuple(column.name.split(".")):
        spec = {"path": path_data(column.path), **spec}
    return str(spec["type"]) if list(spec) == ["type"] else spec


def _table_data(table: Table) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if table.columns:
        found["columns"] = {column.name: column_data(column) for column in table.columns}
    if table.children:
        found["children"] = {child.name: child_data(child) for child in table.children}
    return found


def _is_declared(table: Table, key: list[Column]) -> bool:
    """Whether documents have their fields in the order in which the plan declares them."""
    parts: list[Column | Table] = [*key, *table.columns, *table.children]
    return list(dict.fromkeys(part.path[0] for part in parts)) == table.order


# --- figures ----------------------------------------------------------------------------------------------------------


def _forecast(stream: Stream) -> str:
    documents = f"{stream.name}: {count(stream.documents, 'document')}"
    if not stream.documents:
        return documents
    if stream.read < stream.documents:
        documents += f", {stream.read:,} read"
    tables = list(stream.table.walk())
    worst = max(tables, key=lambda table: table.residues / max(1, table.rows))
    residue = "no residue"
    if worst.residues:
        of = "rows" if worst is stream.table else f"rows of {worst.name}"
        residue = f"residue in at most {share(worst.residues, worst.rows)} of {of}"
    aside = f", {share(stream.aside, stream.read)} quarantined" if stream.aside else ""
    rows, keys = _sizes(stream)
    return f"{documents}; {residue}{aside}; about {size(rows)} of rows, {size(keys)} of keys and indexes"


def _sizes(stream: Stream) -> tuple[float, float]:
    """Bytes of all rows, and of all indexes."""
    factor = stream.documents / max(1, stream.read)
    key = sum(column.width for column in stream.key)
    rows = keys = 0.0
    for table in stream.table.walk():
        own = table.rows * (_ROW + key) + sum(column.filled * column.width for column in table.columns)
        rows += own * factor
        keys += table.rows * (16 + key) * factor
    named = {column.name: column for column in (*stream.key, *stream.table.columns)}
    entries = [
        [name for one in index["columns"] for name in ([one] if isinstance(one, str) else one)]
        for index in stream.indexes
    ]
    entries += [[column.name] for column in stream.table.columns if column.spec.get("unique")]
    for entry in entries:
        keys += stream.documents * (16 + sum(named[name].width for name in entry if name in named))
    return rows, keys


# --- comments ---------------------------------------------------------------------------------------------------------


def _beside(line: str, notes: Sequence[str]) -> Iterator[str]:
    """The line with its notes: behind it, or above it where they are long."""
    if not notes:
        yield line
        return
    together = f"{line:<{_WIDTH}}  # {printable('; '.join(notes))}"
    if len(together) <= _BESIDE:
        yield together
        return
    indent = line[: len(line) - len(line.lstrip())]
    yield from (f"{indent}{comment}" for comment in _wrapped(["; ".join(notes)]))
    yield line


def _wrapped(sentences: Iterator[str] | Sequence[str]) -> Iterator[str]:
    for sentence in sentences:
        line = "#"
        for word in printable(sentence).split(" "):
            if len(line) + 1 + len(word) > _LONG and line not in ("#", "#  "):
                yield line
                line = "#  "
            line += f" {word}"
        yield line
