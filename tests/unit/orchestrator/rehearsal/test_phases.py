"""How phases are rehearsed: each says so, and what is taken back is taken back from its middle."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from tranship.connectors.errors import UniqueConflictError
from tranship.orchestrator.dataplane.run import Run
from tranship.orchestrator.journal.records import Record
from tranship.orchestrator.phases import Phase, Rehearsal, Verdict, Verified
from tranship.orchestrator.phases.registry import PHASES
from tranship.orchestrator.rehearsal.phase import Rehearsed
from tranship.orchestrator.services import ServiceFailedError, ServiceName
from tranship.plans.strategies import PhaseName, group_of
from tranship.plans.streams import Column, LogicalType, Stream


@pytest.mark.parametrize("name", PHASES)
def test_every_phase_says_in_its_file_how_it_is_rehearsed(name: PhaseName) -> None:
    phase = PHASES[name]
    assert "rehearsal" in vars(type(phase)), "said by the phase itself, not by a default"
    assert isinstance(phase.rehearsal, Rehearsal)
    assert phase.not_rehearsed == () or phase.rehearsal is Rehearsal.MEASURED
    assert group_of(name) is None or phase.rehearsal is Rehearsal.MEASURED, "what stops or switches is never done"
    undone = inspect.getsource(type(phase).undo).partition('"""')[0]
    if phase.rehearsal is Rehearsal.FORWARD:
        assert "ARG002" in undone, "what looks at the run to take something back has to be rehearsed both ways"


@dataclass
class Making:
    """A phase that makes a thing for each stream; with `fails` it stumbles at that stream."""

    name: PhaseName = PhaseName.INDEX
    rehearsal: Rehearsal = Rehearsal.BOTH_WAYS
    not_rehearsed: tuple[str, ...] = ()
    made: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    fails: Exception | None = None

    def do(self, run: Run) -> Iterator[Record]:
        for stream in run.streams:
            self.made.append(stream.name)
            self.log.append(f"made {stream.name}")
        if self.fails is not None:
            raise self.fails
        yield cast(Record, "record")

    def verify(self, run: Run) -> Verdict:
        assert self.made == [stream.name for stream in run.streams]
        return Verified()

    def undo(self, run: Run) -> Iterator[Record]:  # noqa: ARG002
        self.log.append(f"undone {len(self.made)}")
        self.made.clear()
        yield cast(Record, "undone")


@pytest.fixture
def run() -> Run:
    key = (Column("_id", ("_id",), LogicalType.TEXT, "string"),)
    streams = tuple(Stream(name, name, name, key, ()) for name in "abc")
    clock = iter(range(100))
    ticking = type("Clock", (), {"now": lambda _: float(next(clock)), "sleep": lambda *_: None})()
    empty: dict[str, Any] = dict.fromkeys(
        ("id", "plan", "scope", "connect", "source", "progress", "schema", "patience", "lanes")
    )
    return Run(**{**empty, "streams": streams, "clock": ticking, "tick": lambda: None})


def test_half_is_made_and_taken_back_and_then_the_whole(run: Run) -> None:
    making = Making()
    phase = Rehearsed(cast(Phase, making))
    assert list(phase.do(run)) == ["record"], "what the half says reaches no journal"
    assert making.log == ["made a", "made b", "undone 2", "made a", "made b", "made c"]
    assert phase.verify(run) == Verified()
    assert (phase.halfway, phase.failed) == (True, None)
    assert phase.seconds is not None
    assert phase.seconds > 0


def test_where_nothing_can_be_taken_back_it_is_done_once(run: Run) -> None:
    making = Making(rehearsal=Rehearsal.FORWARD)
    phase = Rehearsed(cast(Phase, making))
    list(phase.do(run))
    assert (making.log, phase.halfway) == (["made a", "made b", "made c"], False)


def test_a_failure_names_its_stream(run: Run) -> None:
    conflict = UniqueConflictError("twice", stream="b", constraint="b__x__key", columns=("x",), claimants=(), owners=())
    for error in (conflict, ServiceFailedError(ServiceName.APPLIER, conflict)):
        phase = Rehearsed(cast(Phase, Making(fails=error)))
        with pytest.raises(type(error)):
            list(phase.do(run))
        assert phase.failed is not None
        assert (phase.failed.code, phase.failed.stream, phase.failed.severity) == ("data.duplicate", "b", "error")


def test_a_failure_that_names_none_is_nobodys(run: Run) -> None:
    phase = Rehearsed(cast(Phase, Making(fails=OSError("the disk is full"))))
    with pytest.raises(OSError, match="full"):
        list(phase.do(run))
    assert phase.failed is None
