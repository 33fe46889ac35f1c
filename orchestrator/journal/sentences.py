"""Records in sentences: what the journal says, for people. Programs read the records themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tranship.orchestrator.journal.records import Kind, Record
from tranship.plans.strategies import Group, PhaseName


def sentence(record: Record) -> str:
    """What happened, without a full stop; one line."""
    phase, data = str(record.phase), record.data
    return " ".join(_SENTENCES[record.kind](phase, data).split())


def _observed(phase: str, data: Mapping[str, Any]) -> str:
    # Journals of earlier versions have the cutover as one phase.
    facts = _FACTS.get(PhaseName.VERIFY if phase == Group.CUTOVER else PhaseName(phase), {}).items()
    words = [say(data[name]) for name, say in facts if name in data]
    return f"{phase}: {', '.join(words or [_any(data)])}"


def _any(data: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_plain(value)}" for name, value in data.items())


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"({_any(value)})"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def count(number: int, noun: str) -> str:
    """*1 row*, *1,000 rows*."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


_COMPARED: Mapping[str, Callable[[Any], str]] = {
    "compared": lambda documents: f"{count(documents, 'document')} compared behind the last write",
    "divergences": lambda found: count(found, "divergence"),
}
_FACTS: Mapping[PhaseName, Mapping[str, Callable[[Any], str]]] = {
    PhaseName.PREFLIGHT: {"findings": lambda found: count(len(found), "finding")},
    PhaseName.EXPAND: {
        "created": lambda names: f"{count(len(names), 'table')} made",
        "dropped": lambda names: f"{count(len(names), 'table')} dropped",
    },
    PhaseName.CAPTURE: {
        "lanes": lambda lanes: f"changes are kept from here on, in {count(lanes, 'lane')}",
        "stopped": lambda _: "the source is not followed any more",
        "markers_left": lambda _: "but the run's markers could not be removed from it",
    },
    PhaseName.BACKFILL: {"emptied": lambda names: f"{count(len(names), 'table')} emptied"},
    PhaseName.INDEX: {
        "indexes": lambda built: f"{count(built, 'index').replace('indexs', 'indexes')} there",
        "dropped": lambda _: "indexes dropped",
    },
    PhaseName.CATCH_UP: {"steady_s": lambda _: "the target has caught up"},
    PhaseName.CONSTRAIN: {
        "unique": lambda built: f"{count(built, 'unique constraint')} there",
        "dropped": lambda _: "constraints dropped",
    },
    PhaseName.RECONCILE: {
        "rows": lambda rows: f"{count(rows, 'row')} compared",
        "quarantined": lambda kept: f"{kept:,} in quarantine",
        "divergences": lambda found: count(found, "divergence"),
        "moving": lambda moving: f"{count(moving, 'key')} never stood still",
    },
    PhaseName.FENCE: _COMPARED,  # of a dry run
    PhaseName.VERIFY: _COMPARED,
}


def _rehearsed(data: Mapping[str, Any]) -> str:
    digest = data.get("rehearsed", "")
    return f", rehearsed (report with SHA-256 {digest[:16]}…)" if digest else ""


_SENTENCES: Mapping[Kind, Callable[[str, Mapping[str, Any]], str]] = {
    Kind.CREATED: lambda _, data: f"run {data.get('run', '')} begins{_rehearsed(data)}",
    Kind.CLAIMED: lambda _, data: (
        "what was under way before cannot commit any more" if data.get("same_process") else "a process works on the run"
    ),
    Kind.INTENT: lambda phase, _: f"{phase} begins",
    Kind.OBSERVED: _observed,
    Kind.DONE: lambda phase, _: f"{phase} is done",
    Kind.VERIFIED: lambda phase, _: f"{phase} is verified",
    Kind.FAILED: lambda phase, data: f"{phase} did not verify: {data['reason']}",
    Kind.APPROVAL_ASKED: lambda phase, _: f"{phase} waits for an approval",
    Kind.APPROVED: lambda phase, data: (
        f"a rehearsal of {phase} was asked by {data['by']}"
        if data.get("rehearsal")
        else f"{phase} was approved by {data['by']}"
    ),
    Kind.APPROVAL_WITHDRAWN: lambda phase, data: f"{phase} needs another approval: {data['reason']}",
    Kind.SERVICE_FAILED: lambda _, data: f"{data['service']} failed: {data['reason']}",
    Kind.PAUSED: lambda _, data: f"paused: {data['reason']}",
    Kind.RESUMED: lambda _, data: f"resumed by {data['by']}",
    Kind.HELD: lambda _, data: f"held: {data['reason']}",
    Kind.RESEED: lambda _, data: f"a reseed begins: {data['reason']}",
    Kind.RESEEDED: lambda _, data: f"reseeded: {count(data['marked'], 'key')} differed and will be applied",
    Kind.ROLLBACK: lambda _, data: f"the rollback begins: {data['reason']}",
    Kind.UNDO_INTENT: lambda phase, _: f"{phase} is being taken back",
    Kind.UNDONE: lambda phase, _: f"{phase} is taken back",
    Kind.ROLLED_BACK: lambda *_: "rolled back: both sides are as they were found",
    Kind.REPAIR: lambda _, data: f"repair of {count(data['keys'], 'key')}, asked by {data['by']}",
    Kind.RETRY: lambda _, data: f"quarantined documents are read anew, asked by {data['by']}",
    Kind.AMENDED: lambda _, data: f"the plan changed: {'; '.join(data['changed'])}",
    Kind.IGNORED: lambda _, data: str(data["reason"]),
    Kind.LIFTED: lambda phase, _: f"{phase} is lifted: the source is the primary",
    Kind.PIVOT_SENT: lambda *_: "the switch is sent",
    Kind.PIVOTED: lambda *_: "switched: the target is the primary now",
    Kind.SEALED: lambda *_: "sealed: nothing is applied any more",
    Kind.SWITCHED: lambda *_: "switched: the target is the primary now",
    Kind.FINISHED: lambda *_: "finished",
}
