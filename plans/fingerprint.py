"""The fingerprint of a plan: its meaning and the identity of its servers; and which changes of meaning do no harm.

The meaning is what would make another result: strategy, streams, names of database and schemas. Addresses, limits,
deadlines, thresholds, approvals, comments and what is expected to be filled are no part of it, so they may be tuned
while a run is alive.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from tranship.plans.models import Plan
from tranship.plans.problems import Path, render_path
from tranship.plans.resolution import resolve
from tranship.plans.streams import Child, Column, Condition, Index, Reference, Rest
from tranship.plans.targetprofile import TargetProfile

_ABSENT = object()


def meaning_document(plan: Plan) -> dict[str, Any]:
    """The meaning of a plan as JSON-able values, to be kept beside its digest so that differences can be explained."""
    return {
        "version": plan.version,
        "strategy": plan.strategy,
        "source": {"database": plan.source.database},
        "target": {"schema": plan.target.schema_name, "state_schema": plan.target.state_schema},
        "streams": {stream.name: _declared(stream) for stream in resolve(plan)},
    }


def meaning(plan: Plan) -> str:
    """SHA-256 of the plan's meaning, in hex."""
    return _digest(meaning_document(plan))


def fingerprint(plan: Plan, source_identity: str, target_identity: str) -> str:
    """SHA-256 of the plan's meaning together with the servers' identities, in hex."""
    return fingerprint_of(meaning_document(plan), source_identity, target_identity)


def fingerprint_of(meaning: Mapping[str, Any], source_identity: str, target_identity: str) -> str:
    """The same for a result of `meaning_document`."""
    return _digest({"meaning": meaning, "source": source_identity, "target": target_identity})


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Which paths of the meaning changed, one line each, for two results of `meaning_document`."""
    return [f"{render_path(path)}: {change}" for path, change in _changes(old, new, ())]


def relaxed(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, ...]:
    """The streams whose `rest` became more lenient, if nothing else changed; else none.

    Then each row that is there stays right: a document without anything for `rest` to decide about has the same row
    under each policy, and any other one was refused or is in quarantine.
    """
    policies = {name: (_rest(old, name), _rest(new, name)) for name in old["streams"] if name in new["streams"]}
    changed = {name: rests for name, rests in policies.items() if rests[0] is not rests[1]}
    if any(_LENIENCE.index(after) < _LENIENCE.index(before) for before, after in changed.values()):
        return ()
    return tuple(sorted(changed)) if _without_rest(old) == _without_rest(new) else ()


_LENIENCE = (Rest.FAIL, Rest.QUARANTINE, Rest.RESIDUE)
"""From the strictest policy to the most lenient one."""


def _rest(meaning: Mapping[str, Any], stream: str) -> Rest:
    return Rest(meaning["streams"][stream].get("rest", Rest.RESIDUE))


def _without_rest(meaning: Mapping[str, Any]) -> dict[str, Any]:
    streams = {
        name: {key: value for key, value in stream.items() if key != "rest"}
        for name, stream in meaning["streams"].items()
    }
    return {**meaning, "streams": streams}


def _declared(value: Any) -> dict[str, Any]:
    """The fields that differ from their defaults: a field that a later release adds changes no fingerprint."""
    declared: dict[str, Any] = {}
    for item in fields(value):
        content = getattr(value, item.name)
        if content == item.default or item.name in ("filled", "comment"):
            continue
        if isinstance(content, tuple) and content and isinstance(content[0], Column | Child):
            # By name, so that a difference names the column; the order is part of the meaning too.
            names = [_name(part) for part in content]
            declared[item.name] = dict(zip(names, map(_declared, content), strict=True))
            declared[f"{item.name}_order"] = names
        else:
            declared[item.name] = _plain(content)
    return declared


def _name(part: Column | Child) -> str:
    return part.name if isinstance(part, Column) else part.table


def _plain(content: Any) -> Any:
    if isinstance(content, tuple):
        return [_plain(part) for part in content]
    return _declared(content) if isinstance(content, Condition | Index | Reference | TargetProfile) else content


def _changes(old: Any, new: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}):
            yield from _changes(old.get(key, _ABSENT), new.get(key, _ABSENT), (*path, key))
    elif old is _ABSENT:
        yield path, "added"
    elif new is _ABSENT:
        yield path, "removed"
    elif old != new:
        yield path, f"{_text(old)} → {_text(new)}"


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _digest(value: Any) -> str:
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
