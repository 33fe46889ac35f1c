"""Runs and histories as people read them; real ones are in `tests/integration/test_history.py`."""

from __future__ import annotations

import pytest

from tests.unit.orchestrator.journal.test_golden import FINISHED, ROLLED_BACK, golden
from tranship.orchestrator.journal.records import Entry, Kind, Record
from tranship.orchestrator.reports import history
from tranship.orchestrator.reports.history import runs_printed
from tranship.plans.strategies import Group


def line(run: str, entries: list[Entry], *, at_work: bool = False) -> history.RunLine:
    return history._line(run, entries, at_work=at_work)


def test_runs_are_told_with_their_times_and_reasons() -> None:
    finished, rolled_back = golden(FINISHED, Kind.FINISHED), golden(ROLLED_BACK, Kind.ROLLED_BACK)
    lines = [line("a-1", rolled_back), line("shop-10", finished), line("b-1", [])]
    first, reason, second, third = runs_printed(lines)
    assert first.startswith("a-1      rolled back    ")
    assert reason == f"    {lines[0].reason}"
    assert second.startswith("shop-10  finished       ")
    assert "not ended" not in first + second
    assert third == "b-1      has not begun"


def test_a_run_that_nobody_carries_out_is_told_so() -> None:
    begun = golden(FINISHED, Kind.FINISHED)[:5]
    assert line("a-1", begun, at_work=True).outcome == "running"
    assert line("a-1", begun).outcome == "running, but no orchestrator is at work"
    assert runs_printed([line("a-1", begun)])[0].endswith("), not ended")


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (Record(Kind.APPROVED, Group.CUTOVER, {"by": "ann", "asked": 3}), "cutover was approved by ann"),
        (Record(Kind.IGNORED, data={"reason": "repair has no effect", "by": "ann"}), "repair has no effect, by ann"),
        (Record(Kind.FINISHED), "finished"),
    ],
)
def test_persons_are_named_once(record: Record, text: str) -> None:
    event = history._event(Entry(7, 1, 0.0, record, "", ""))
    assert (event.number, event.at, event.text) == (7, "1970-01-01T00:00:00Z", text)
    assert event.by == record.data.get("by")
