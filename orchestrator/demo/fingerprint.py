"""Whether the source is as it was: everything in its database but the documents of the shop."""

from __future__ import annotations

from typing import Any, TypeAlias

import pymongo

from tranship.orchestrator.demo.shop import SHARES

Fingerprint: TypeAlias = dict[str, Any]

ROUTERS = "tranship_routers"
"""Where the shop's routers say that they live: the applications' own, which no run makes or removes."""


def fingerprint(uri: str, database: str) -> Fingerprint:
    """Collections with their identity and options, their indexes, and the documents that are not of applications.

    Two fingerprints are equal if nothing was left behind, dropped, recreated or changed in between, apart from the
    documents that the shop's writers write.
    """
    with pymongo.MongoClient[dict[str, Any]](uri) as client:
        source = client[database]
        return {
            info["name"]: {
                "type": info.get("type"),
                "options": info.get("options"),
                "uuid": info.get("info", {}).get("uuid"),
                "indexes": source[info["name"]].index_information() if info.get("type") == "collection" else None,
                "documents": None if info["name"] in SHARES else list(source[info["name"]].find().sort("_id")),
            }
            for info in source.list_collections()
            if info["name"] != ROUTERS
        }


def differences(before: Fingerprint, after: Fingerprint) -> list[str]:
    """What was changed, one line each; empty when nothing was."""
    lines = [f"collection {name} was left behind" for name in sorted(after.keys() - before.keys())]
    lines += [f"collection {name} is gone" for name in sorted(before.keys() - after.keys())]
    for name in sorted(before.keys() & after.keys()):
        changed = [part for part, value in before[name].items() if after[name][part] != value]
        lines += [f"collection {name}: its {part} changed" for part in changed]
    return lines
