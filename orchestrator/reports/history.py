"""All runs of a state schema, and what the journal of one says: in sentences, with times and persons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tranship.orchestrator.journal.fold import fold_all
from tranship.orchestrator.journal.records import Entry
from tranship.orchestrator.journal.sentences import sentence
from tranship.orchestrator.journal.state import ENDED, RunStatus
from tranship.orchestrator.journal.store import StoredControl
from tranship.orchestrator.reports.status import duration, utc


@dataclass(frozen=True)
class RunLine:
    """One run. `began_at` and `last_at` are the times of its first and newest record, None before the first; the newest
    is its end if it has `ended`. `at_work`: whether an orchestrator holds its lease. Times are UTC, in ISO 8601."""

    run: str
    status: str
    reason: str
    ended: bool
    at_work: bool
    began_at: str | None
    last_at: str | None
    took_s: float

    def as_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)

    @property
    def outcome(self) -> str:
        """How it stands, in words."""
        if self.began_at is None:
            return "has not begun"
        working = self.status in (RunStatus.RUNNING, RunStatus.ROLLING_BACK)
        return self.status + (", but no orchestrator is at work" if working and not self.at_work else "")


@dataclass(frozen=True)
class Event:
    """One record of a journal, as a person reads it; `by`: who asked for it or approved it, where somebody did."""

    number: int
    at: str
    kind: str
    phase: str | None
    text: str
    by: str | None

    def as_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)


def runs_of(control: StoredControl) -> list[RunLine]:
    """Every run of every plan in the state schema, the one that began first at first; those that have not begun last.

    Reads only; makes nothing where there is no state schema. Raises `JournalError` for a journal that is not whole.
    """
    runs = control.all_runs() if control.installed() else []
    found = [(control.journal(run), run) for run in runs]
    found.sort(key=lambda one: (not one[0], one[0][0].at if one[0] else 0.0, one[1]))
    return [_line(run, entries, at_work=control.is_led(run)) for entries, run in found]


def _line(run: str, entries: Sequence[Entry], *, at_work: bool) -> RunLine:
    state = fold_all(entry.record for entry in entries)
    first, last = (entries[0].at, entries[-1].at) if entries else (None, None)
    return RunLine(
        run=run,
        status=state.status.value,
        reason=state.reason,
        ended=state.status in ENDED,
        at_work=at_work,
        began_at=None if first is None else utc(first),
        last_at=None if last is None else utc(last),
        took_s=0.0 if first is None or last is None else round(last - first, 1),
    )


def history_of(control: StoredControl, run: str) -> list[Event]:
    """The journal of a run, oldest first. Reads only. Raises `JournalError` when it is not whole."""
    return [_event(entry) for entry in control.journal(run)]


def _event(entry: Entry) -> Event:
    record = entry.record
    said, by = sentence(record), record.data.get("by")
    text = said if not by or str(by) in said else f"{said}, by {by}"
    return Event(entry.seq, utc(entry.at), record.kind, record.phase, text, by)


def runs_printed(lines: Sequence[RunLine]) -> list[str]:
    """The runs as text for people: a line for each, and its reason below it."""
    rows = [(line.run, line.outcome, _times(line)) for line in lines]
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    printed = []
    for row, line in zip(rows, lines, strict=True):
        printed.append("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        if line.reason:
            printed.append(f"    {line.reason}")
    return printed


def _times(line: RunLine) -> str:
    if line.began_at is None:
        return ""
    return f"{line.began_at} to {line.last_at} ({duration(line.took_s)})" + ("" if line.ended else ", not ended")
