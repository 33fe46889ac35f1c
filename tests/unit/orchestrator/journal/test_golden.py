"""Journals as version 1 wrote them: proven by their own hashes, and read on to their end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.orchestrator.engine.engine_world import RUN, World
from tranship.orchestrator.journal.fold import fold_all
from tranship.orchestrator.journal.records import VERSION, Entry, JournalError, Kind, Record, check_chain
from tranship.orchestrator.journal.state import PhaseStatus, RunStatus
from tranship.orchestrator.journal.steps import Stop, Undo, Wait, next_step
from tranship.plans.strategies import Group, PhaseName, named

GOLDEN = Path(__file__).parent / "golden"
FINISHED, ROLLED_BACK = "version-1-finished.json", "version-1-rolled-back.json"


def golden(name: str, until: Kind, phase: PhaseName | None = None, *, last: bool = False) -> list[Entry]:
    """A journal of version 1 up to the first (or last) record of a kind."""
    written: dict[str, Any] = json.loads((GOLDEN / name).read_text(encoding="utf-8"))
    entries = [
        Entry(
            row["seq"],
            row["epoch"],
            row["at"],
            Record(Kind(row["kind"]), named(row["phase"]) if row["phase"] else None, row["data"]),
            row["previous"],
            row["hash"],
            version=written["version"],
        )
        for row in written["entries"]
    ]
    places = [n for n, e in enumerate(entries) if e.record.kind is until and phase in (None, e.record.phase)]
    return entries[: places[-1 if last else 0] + 1]


@pytest.mark.parametrize("name", [FINISHED, ROLLED_BACK])
def test_its_hashes_are_those_of_then(name: str) -> None:
    entries = golden(name, Kind.FINISHED if name == FINISHED else Kind.ROLLED_BACK)
    assert check_chain(RUN, entries) == entries
    changed = [*entries[:4], *entries[5:]]
    with pytest.raises(JournalError, match="journal entry 5 "):
        check_chain(RUN, changed)


@pytest.mark.parametrize(
    ("name", "until", "phase", "status", "step"),
    [
        (FINISHED, Kind.FINISHED, None, RunStatus.FINISHED, Stop(RunStatus.FINISHED)),
        (FINISHED, Kind.APPROVAL_ASKED, None, RunStatus.RUNNING, Wait(Group.CUTOVER)),
        (FINISHED, Kind.PAUSED, None, RunStatus.PAUSED, Stop(RunStatus.PAUSED)),
        (ROLLED_BACK, Kind.ROLLED_BACK, None, RunStatus.ROLLED_BACK, Stop(RunStatus.ROLLED_BACK)),
        (ROLLED_BACK, Kind.UNDONE, PhaseName.INDEX, RunStatus.ROLLING_BACK, Undo(PhaseName.BACKFILL)),
    ],
)
def test_it_means_what_it_meant(name: str, until: Kind, phase: PhaseName | None, status: RunStatus, step: Any) -> None:
    state = fold_all(entry.record for entry in golden(name, until, phase))
    assert (state.status, next_step(state)) == (status, step)
    assert [one.number for one in state.rounds] == [1]


def test_its_seal_and_its_switch() -> None:
    sealed = fold_all(entry.record for entry in golden(FINISHED, Kind.SEALED))
    assert (sealed.sealed, sealed.switched) == (True, False)
    switched = fold_all(entry.record for entry in golden(FINISHED, Kind.SWITCHED))
    assert (switched.sealed, switched.switched) == (True, True)


def test_one_that_was_approved_is_asked_anew_after_reconcile_is_repeated(world: World) -> None:
    """What was compared was another projection's work, and who said yes did not say it to this process."""
    state = fold_all(entry.record for entry in golden(FINISHED, Kind.APPROVED))
    assert Group.CUTOVER in state.approved
    claim = Record(Kind.CLAIMED, data={"epoch": 9, "same_process": False, "projection": "another"})
    state = fold_all([*(entry.record for entry in golden(FINISHED, Kind.APPROVED)), claim])
    assert (dict(state.approved), state.asked) == ({}, None)
    assert state.of(PhaseName.RECONCILE) is PhaseStatus.PENDING
    assert world.control.entries == []


def test_an_engine_carries_one_on_to_its_end(world: World) -> None:
    """The world is made anew by the phases before; the journal is cut where they had been verified."""
    thread = world.start()
    world.wait_for_approval()
    world.engine.interrupt.set()
    world.finish(thread)
    mine = [e.record for e in world.control.entries]
    waiting = golden(FINISHED, Kind.APPROVAL_ASKED)
    assert [r.kind for r in mine[:-1]] == [e.record.kind for e in waiting], "both came the same way"
    world.control.entries[:] = waiting
    world.store.state.epochs[RUN] = waiting[-1].epoch
    world.again()
    thread = world.start()
    world.approve()
    assert world.finish(thread).status is RunStatus.FINISHED
    assert {entry.version for entry in world.control.entries} == {1, VERSION}
    assert check_chain(RUN, world.control.entries)
