"""References between collections: guessed from names and types, proven by looking values up."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress

from tranship.connectors.errors import RefusedError
from tranship.connectors.protocols.profiler import Profiler
from tranship.orchestrator.design.proposals import Column, Stream, share

VALUES = 200
"""So many values are looked up."""

PROVEN = 0.9
"""Of them so many have to be there."""

_TYPES = ("objectid", "text", "int64", "int32", "uuid")
_SUFFIX = re.compile(r"_?(id|ref|oid)$", re.IGNORECASE)


def propose(streams: Sequence[Stream], profiler: Profiler) -> None:
    """Give columns that hold keys of another collection their `references`."""
    by_collection: dict[str, Stream] = {}
    for stream in streams:
        if stream.where is None and len(stream.key) == 1:
            by_collection[stream.collection] = stream
    for stream in streams:
        for column in stream.table.columns:
            if column.spec["type"] in _TYPES and column.filled and _can_be_asked(column.path):
                with suppress(RefusedError):  # a guess that nobody may prove is none
                    _look(stream, column, list(_candidates(column, stream, by_collection)), profiler)


def _can_be_asked(path: tuple[str, ...]) -> bool:
    return all(step and "." not in step and not step.startswith("$") for step in path)


def _candidates(column: Column, stream: Stream, by_collection: dict[str, Stream]) -> Iterator[Stream]:
    """Those whose name the field has, then, for ObjectIds, all others that have such keys."""
    stem = _SUFFIX.sub("", column.path[-1]).casefold() or column.path[-1].casefold()
    named = {stem, f"{stem}s", f"{stem}es", re.sub("y$", "ies", stem)}
    fitting = [other for other in by_collection.values() if _fits(column, other.key[0])]
    yield from (other for other in fitting if other.collection.casefold() in named)
    if column.spec["type"] == "objectid":
        rest = (other for other in fitting if other.collection.casefold() not in named)
        yield from sorted(rest, key=lambda other: (other is stream, other.collection))


def _fits(column: Column, key: Column) -> bool:
    return _wide(column.spec["type"]) == str(key.spec["type"])


def _wide(kind: str) -> str:
    return "int64" if kind == "int32" else kind


def _look(stream: Stream, column: Column, candidates: list[Stream], profiler: Profiler) -> None:
    if not candidates:
        return
    values = profiler.values(stream.collection, ".".join(column.path), VALUES)
    distinct = list({repr(value): value for value in values if value is not None}.values())
    for other in candidates:
        found = profiler.found(other.collection, distinct) if distinct else 0
        if found < max(1, PROVEN * len(distinct)):
            continue
        if column.spec["type"] == "int32":
            column.spec |= {"type": "int64", "bson": "int32"}
        column.spec["references"] = other.name
        if found < len(distinct):
            column.notes.append(f"{share(found, len(distinct))} of {len(distinct)} looked up are there")
        return
