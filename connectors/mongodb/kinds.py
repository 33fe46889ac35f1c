"""Kinds of collections: which of them can be moved, and what to know about the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tranship.connectors.protocols import Finding


def missing(where: str) -> Finding:
    hint = "check the name in the plan (`from`), and the database; an empty collection has to be created first"
    return Finding("source.missing", "error", f"{where} does not exist", hint)


def findings(where: str, info: Mapping[str, Any]) -> list[Finding]:
    """What is against moving a collection, by its entry of listCollections, each with what to do about it.

    Nothing is against validators (rows are not checked by them) and pre- and post-images (which nobody asks for).
    """
    options = info.get("options", {})
    found: list[Finding] = []
    if info.get("type") == "view":
        found.append(Finding("source.view", "error", f"{where} is a view, not data", "copy the collection it reads"))
    if info.get("type") == "timeseries" or "timeseries" in options:
        message = f"{where} is a time-series collection, which has no change stream"
        found.append(Finding("source.timeseries", "error", message, "leave it out and copy it while nobody writes"))
    if options.get("capped"):
        message = f"{where} is capped: documents vanish from it as new ones come"
        found.append(Finding("source.capped", "error", message, "copy it into a plain collection, or leave it out"))
    if options.get("collation", {}).get("locale", "simple") != "simple":
        message = f"{where} has a default collation, which also decides which _ids are equal and how they sort"
        hint = "copy it into a collection without a default collation and migrate that one"
        found.append(Finding("source.collation", "error", message, hint))
    return found


def warnings(where: str, info: Mapping[str, Any], indexes: Iterable[Mapping[str, Any]]) -> list[Finding]:
    """What to know about a collection that can be moved, by the same entry and its indexes."""
    return _clustering(where, info.get("options", {})) + _expiry(where, info.get("options", {}), indexes)


def _clustering(where: str, options: Mapping[str, Any]) -> list[Finding]:
    if "clusteredIndex" not in options:
        return []
    message = (
        f"{where} is clustered: MongoDB looks for several keys in it by reading all documents between the least and "
        "the greatest of them, so each step of the applier may read most of the collection"
    )
    hint = "a small one does no harm; of a large one, move a copy that is not clustered, or keep its writes few"
    return [Finding("source.clustered", "warning", message, hint)]


def _expiry(where: str, options: Mapping[str, Any], indexes: Iterable[Mapping[str, Any]]) -> list[Finding]:
    """Whether the server deletes documents as they expire."""
    fields = ", ".join(dict.fromkeys(_expiring(options, indexes)))
    if not fields:
        return []
    message = f"{where} has documents that expire ({fields}): such deletes are followed, up to the cutover"
    hint = (
        "run no job of your own that deletes them from the target before the cutover, and set one up after it; they "
        "count as writes: where documents expire all the time, stop that for the cutover (setParameter "
        "ttlMonitorEnabled: false; where that is not allowed, as on Atlas, drop the TTL index)"
    )
    return [Finding("source.ttl", "info", message, hint)]


def _expiring(options: Mapping[str, Any], indexes: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    if "expireAfterSeconds" in options:  # of a clustered collection
        yield "_id"
    for index in indexes:
        if "expireAfterSeconds" in index:
            yield from index["key"]
