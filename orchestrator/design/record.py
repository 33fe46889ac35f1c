"""The profile beside the plan: figures of every path, no value of any document."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tranship.connectors.profile import CollectionProfile, Documents, Node, Values, walk
from tranship.orchestrator.design.proposals import Stream, Table
from tranship.orchestrator.design.survey import Extent

VERSION = 1

CHILD = "child"
"""What a child table is as a type."""


def record_of(plan: Path) -> Path:
    """Where a plan's profile lies."""
    return plan.with_name(f"{plan.stem}.profile.json")


@dataclass(frozen=True)
class Known:
    """What a plan was made of before. `proposed`: the type of each column (of a child table: `child`) by its path, per
    collection; `indexes`: names of those that were looked at."""

    collections: frozenset[str] = frozenset()
    proposed: Mapping[str, Mapping[tuple[str, ...], str]] = field(default_factory=dict)
    indexes: Mapping[str, frozenset[str]] = field(default_factory=dict)


NOTHING_KNOWN = Known()


class RecordError(ValueError):
    """What lies beside the plan is no profile of ours; the message says why."""


def known(record: Path) -> Known:
    """What the profile beside a plan knows; nothing where there is none. Raises `RecordError`."""
    if not record.exists():
        return NOTHING_KNOWN
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
        if content["version"] != VERSION:
            raise RecordError(f"{record} has version {content['version']}, and this program knows {VERSION}")
        taken = {name: one for name, one in content["collections"].items() if "left_out" not in one}
        proposed = {name: {tuple(path): str(kind) for path, kind in one["proposed"]} for name, one in taken.items()}
        names = {name: frozenset(index["name"] for index in one["indexes"]) for name, one in taken.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, RecordError):
            raise
        raise RecordError(f"{record} cannot be read as a profile: move it away") from None
    return Known(frozenset(taken), proposed, names)


def recorded(
    profiles: Sequence[CollectionProfile],
    streams: Sequence[Stream],
    *,
    source: str,
    taken_at: str,
    extent: Extent,
    before: Known = NOTHING_KNOWN,
) -> str:
    """The profile as JSON. `source`: its identity; `taken_at`: when the reading ended, UTC; `before`: what was proposed
    earlier, which is not forgotten."""
    found = {
        "version": VERSION,
        "source": source,
        "taken_at": taken_at,
        "sample": extent.sample,
        "seed": extent.seed if extent.sample is not None else None,
        "collections": {
            profile.name: _collection(profile, _proposed(profile, streams, before)) for profile in profiles
        },
    }
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def _proposed(profile: CollectionProfile, streams: Sequence[Stream], before: Known) -> dict[tuple[str, ...], str]:
    """Types of the columns that are proposed, or once were, by path."""
    found = dict(before.proposed.get(profile.name, {}))
    for stream in streams:
        if stream.collection == profile.name:
            found |= dict(_columns(stream.table, ()))
    return found


def _columns(table: Table, at: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    for column in table.columns:
        yield (*at, *column.path), str(column.spec["type"])
    for child in table.children:
        yield (*at, *child.path), CHILD
        yield from _columns(child, (*at, *child.path, "[]"))


def _collection(profile: CollectionProfile, proposed: dict[tuple[str, ...], str]) -> dict[str, Any]:
    if profile.left_out:
        return {"left_out": profile.left_out}
    found: dict[str, Any] = {
        "documents": profile.documents,
        "bytes": profile.size,
        "read": profile.read,
        "undecodable": profile.unread,
        "indexes": [_index(index) for index in profile.indexes],
        "proposed": [[list(path), kind] for path, kind in sorted(proposed.items())],
        "paths": _paths(profile.root),
    }
    if profile.split:
        kinds = sorted((str(kind), documents) for kind, documents in profile.kinds.items())
        found["kinds"] = {"field": profile.split, "shapes": [_paths(documents) for _, documents in kinds]}
    return found


def _index(index: Any) -> dict[str, Any]:
    return {
        "name": index.name,
        "fields": [list(field) for field in index.fields],
        "unique": index.unique,
        "sparse": index.sparse,
        "partial": bool(index.partial or index.unclear),
        "expires_s": index.expires_s,
        "other": list(index.other),
    }


def _paths(documents: Documents) -> list[dict[str, Any]]:
    return [{"path": list(path), **_node(node)} for path, node in walk(documents)]


def _node(node: Node) -> dict[str, Any]:
    found: dict[str, Any] = {"count": node.count, "null": node.nulls, "distinct": node.distinct.count}
    found["types"] = {kind: _values(values) for kind, values in sorted(node.types.items())}
    if node.documents is not None:
        documents = node.documents
        names = len(documents.names) if documents.names is not None else None
        found["documents"] = {"count": documents.count, "empty": documents.empty, "names": names}
    if node.lists is not None:
        found["arrays"] = {"count": node.lists.count, "empty": node.lists.empty, "longest": node.lists.longest}
    return found


def _values(values: Values) -> dict[str, Any]:
    """Sizes instead of values: how many digits the largest number has, not which it is."""
    found: dict[str, Any] = {"count": values.count}
    if values.greatest is not None and values.least is not None:
        found["digits"] = len(str(int(max(abs(values.least), abs(values.greatest)))))
        found["negative"] = values.least < 0
    if values.size:
        found |= {"bytes": values.size, "longest": values.longest}
    if values.odd:
        found["odd"] = values.odd
    if values.scales:
        found |= {
            "scales": {str(scale): times for scale, times in sorted(values.scales.items())},
            "whole": {str(scale): digits for scale, digits in sorted(values.whole.items())},
        }
    if values.integral:
        found["integral"] = values.integral
    if values.midnight:
        found["midnight"] = values.midnight
    return found
