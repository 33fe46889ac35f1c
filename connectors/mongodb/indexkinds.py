"""Indexes of a source that no index of a plan can stand for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tranship.connectors.protocols import Finding

_INSTEAD = {
    "text": "a GIN index over to_tsvector",
    "2dsphere": "PostGIS with a GiST index",
    "2d": "PostGIS with a GiST index",
    "geoHaystack": "PostGIS with a GiST index",
    "hashed": "an index of the plan: it serves equality as well",
    "wildcard": "a json column with a GIN index",
    "columnstore": "an index of the plan",
}


def findings(where: str, indexes: Iterable[Mapping[str, Any]]) -> list[Finding]:
    """One for each index whose kind PostgreSQL does not have, by the replies to listIndexes."""
    found = []
    for index in indexes:
        kinds = sorted({kind for field, way in index["key"].items() if (kind := _kind(field, way))})
        if kinds:
            instead = "; ".join(dict.fromkeys(_INSTEAD.get(kind, "an index of another kind") for kind in kinds))
            message = f"{where}: index {index['name']} ({', '.join(kinds)}) has no counterpart that a plan can make"
            hint = f"queries that need it find none in PostgreSQL: make one of your own there, such as {instead}"
            found.append(Finding("source.index", "info", message, hint))
    return found


def _kind(field: str, way: Any) -> str:
    """Empty for an ascending or descending field."""
    if isinstance(way, str):
        return way
    return "wildcard" if field == "$**" or field.endswith(".$**") else ""
