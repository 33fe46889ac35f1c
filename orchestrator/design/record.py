"""The profile beside the plan: figures of every path, no value of any document."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tranship.connectors.profile import CollectionProfile, Documents, Node, Values, walk
from tranship.orchestrator.design.survey import Extent

VERSION = 1


def record_of(plan: Path) -> Path:
    """Where a plan's profile lies."""
    return plan.with_name(f"{plan.stem}.profile.json")


def recorded(profiles: Sequence[CollectionProfile], source: str, taken_at: str, extent: Extent) -> str:
    """The profile as JSON. `source`: its identity; `taken_at`: when the reading ended, UTC."""
    found = {
        "version": VERSION,
        "source": source,
        "taken_at": taken_at,
        "sample": extent.sample,
        "seed": extent.seed if extent.sample is not None else None,
        "collections": {profile.name: _collection(profile) for profile in profiles},
    }
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def _collection(profile: CollectionProfile) -> dict[str, Any]:
    if profile.left_out:
        return {"left_out": profile.left_out}
    found: dict[str, Any] = {
        "documents": profile.documents,
        "bytes": profile.size,
        "read": profile.read,
        "undecodable": profile.unread,
        "indexes": [_index(index) for index in profile.indexes],
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
