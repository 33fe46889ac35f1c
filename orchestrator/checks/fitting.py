"""How documents fit the plan, as findings: what did not fit a column, what came into quarantine, what stayed empty.

By the figures that the cutover judges by (`orchestrator.dataplane.fitness`): an error is what that would refuse.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tranship.connectors.fit import Effect, Fit
from tranship.connectors.protocols import Finding
from tranship.orchestrator.dataplane.fitness import misfits, never_filled
from tranship.plans import Plan
from tranship.plans.streams import Stream

NUL = "U+0000 in text"
TOO_LONG = "too long for an index"
ROW = "row is too big"
ENTRY = ("index row size", "index row requires")
KEY = "longer than "

HINTS = {
    "data.duplicate": "make the values unique in the source, or take `unique` out of the plan",
    "data.unfit": "change the plan or the document, or keep what does not fit: `rest: residue`",
    "data.off_type": "change the column's type, clean the source, or leave it: the value is NULL and in the residue",
    "data.nul": "PostgreSQL's text cannot hold it: clean the source, or leave it: it stays NULL and in the residue",
    "data.misfit": "change the column, clean the source, or leave it: such a value stays NULL and in the residue",
    "data.never_filled": "mend the name or the type in the plan, or write `filled: optional` for what may be empty",
    "data.quarantined": "mend these documents, or the plan; cutover.max_quarantined says how many may stay aside",
    "target.row_width": "take fewer columns (the rest fits one by `rest: {json: NAME}`), or leave such documents aside",
    "target.index_entry": "leave the index away, or index less: PostgreSQL's indexes hold entries of up to 2,704 bytes",
    "source.long_keys": "write `long: true` on the key column: then its SHA-256 is the primary key",
}


@dataclass(frozen=True)
class Seen:
    """What is known of a stream's documents: how they fit, and how many are kept aside for which reason."""

    stream: Stream
    fit: Fit
    aside: Mapping[str, int]


def findings(plan: Plan, seen: Sequence[Seen], sampled: Container[str] = ()) -> list[Finding]:
    """All of them, stream by stream. `sampled`: streams of which only a part was looked at, so that what stayed empty
    in it may be filled elsewhere."""
    kept = sum(sum(one.aside.values()) for one in seen)
    too_many = kept > plan.cutover.max_quarantined
    return [found for one in seen for found in _of(one, plan, sampled, refused=too_many)]


def _of(seen: Seen, plan: Plan, sampled: Container[str], *, refused: bool) -> Iterator[Finding]:
    yield from _unfit(seen, plan)
    yield from _empty(seen, whole=seen.stream.name not in sampled)
    yield from _aside(seen, refused=refused)


def _unfit(seen: Seen, plan: Plan) -> Iterator[Finding]:
    """Per kind of misfit one, with its places; an error if one of them is beyond what the plan allows."""
    beyond = dict(misfits(seen.stream, seen.fit, plan.limits.misfit))
    counts: dict[str, Counter[str]] = {}
    for kind, count in sorted(seen.fit.notes.items()):
        if kind.effect is Effect.MISFIT and kind.place and count > 0:
            counts.setdefault(_code(kind.reason), Counter())[f"{kind.place} ({kind.reason})"] += count
    for code, places in counts.items():
        named = ", ".join(f"{count:,} at {place}" for place, count in places.most_common())
        over = [why for place, why in beyond.items() if any(name.startswith(f"{place} (") for name in places)]
        message = f"stream {seen.stream.name}: values that their columns cannot hold: {named}"
        severity: Literal["error", "info"] = "error" if over else "info"
        yield Finding(code, severity, "; ".join([message, *over]), HINTS[code], seen.stream.name)


def _code(reason: str) -> str:
    if reason == NUL:
        return "data.nul"
    if reason == TOO_LONG:
        return "target.index_entry"
    return "data.off_type" if reason.startswith("type ") else "data.misfit"


def _empty(seen: Seen, *, whole: bool) -> Iterator[Finding]:
    """In all that was looked at; in a part of a stream it may be chance, and keeps nobody from going on."""
    for why in never_filled(seen.stream, seen.fit):
        severity: Literal["error", "info"] = "error" if whole else "info"
        message = why if whole else f"of those that were looked at: {why}"
        yield Finding("data.never_filled", severity, message, HINTS["data.never_filled"], seen.stream.name)


def _aside(seen: Seen, *, refused: bool) -> Iterator[Finding]:
    counts: dict[str, Counter[str]] = {}
    for reason, count in seen.aside.items():
        counts.setdefault(_aside_code(reason), Counter())[reason] += count
    for code, reasons in counts.items():
        named = ", ".join(f"{count:,} ({reason})" for reason, count in reasons.most_common())
        severity: Literal["error", "warning"] = "error" if refused else "warning"
        message = f"stream {seen.stream.name}: documents that would be kept in quarantine: {named}"
        yield Finding(code, severity, message, HINTS[code], seen.stream.name)


def _aside_code(reason: str) -> str:
    if ROW in reason:
        return "target.row_width"
    if any(part in reason for part in ENTRY):
        return "target.index_entry"
    return "source.long_keys" if KEY in reason else "data.quarantined"
