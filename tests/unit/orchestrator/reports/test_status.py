"""What a person is told of the counts: at the end of a run and on the status page."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from tranship.connectors.protocols import Mismatch, Tally
from tranship.orchestrator.cli.page import print_status
from tranship.orchestrator.journal.state import PhaseStatus
from tranship.orchestrator.reports.status import (
    Status,
    StreamStatus,
    closing_lines,
    describe,
    duration,
    equation,
    stages,
    utc,
)
from tranship.plans.strategies import STRATEGIES

HALF = Tally(1050, 1049, 1)
LOST = Tally(50, 48, 1)
AT = "2026-11-26T18:20:11Z"


def status(*streams: StreamStatus) -> Status:
    return Status(
        version=1,
        taken_at=AT,
        run="r-1",
        status="running",
        reason="",
        at_work=True,
        work=None,
        builds=(),
        waits=(),
        next_command=None,
        phases={},
        waiting_for_approval=None,
        can_cut_over=None,
        against_cutover=(),
        switched=False,
        dirty_keys=None,
        parked_keys={},
        lag_s=None,
        streams=streams,
        compared_at=None,
        compared_age_s=None,
        divergences=(),
        rogue_writes=(),
        facts={},
    )


def test_documents_are_rows_and_quarantined_or_it_is_said() -> None:
    assert equation(HALF) == "1,050 documents = 1,049 rows + 1 quarantined"
    assert equation(LOST) == "50 documents ≠ 48 rows + 1 quarantined"


def test_the_last_words_say_when_the_equation_held() -> None:
    streams = (StreamStatus("a", 1, 1, 1049, 3, HALF), StreamStatus("b", 1, 0, 0, 0, None))
    found = replace(status(*streams), compared_at=AT, compared_age_s=3700.0)
    assert closing_lines(found) == [
        f"compared at {AT}, 1 h 1 min ago; later changes were applied since",
        f"  a: {equation(HALF)}; 3 in quarantine now",
    ]
    assert closing_lines(status(*streams)) == ["no comparison of all keys is on record"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (59.6, "1 min"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
        (3660, "1 h 1 min"),
        (90061, "1 d 1 h"),
        (-3, "0 s"),
    ],
)
def test_a_span_of_time_has_two_units(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_times_are_utc() -> None:
    assert utc(1_795_717_211.7) == "2026-11-26T18:20:11Z"


def shown(what: Status) -> str:
    buffer = io.StringIO()
    print_status(Console(file=buffer, width=200), what)
    return buffer.getvalue()


def test_the_status_page_has_a_line_per_stream() -> None:
    text = shown(status(StreamStatus("a", 1, 1, 1049, 3, HALF), StreamStatus("b", 2, 0, 0, 0, None)))
    assert equation(HALF) in text
    assert [line.split() for line in text.splitlines() if line.split()[:1] == ["b"]] == [["b", "0/2", "0", "0", "-"]]


def test_a_run_without_an_orchestrator_is_told_from_one_that_works() -> None:
    working = status()
    assert "next" not in shown(working)
    left = replace(working, at_work=False, waits=("none is at work on it",), next_command="tranship run p.yaml")
    assert "none is at work on it\nnext: tranship run p.yaml" in shown(left)
    assert "no orchestrator" not in shown(replace(working, at_work=False, status="paused"))


def test_what_people_name_is_no_markup() -> None:
    found = {"stream": "s", "key": {"_id": "urn:[/x] [red] :warning:"}, "kind": "different", "columns": ["[b]"]}
    shelf = StreamStatus("[i]", 1, 1, 1, 0, None)
    page = replace(status(shelf), status="paused", reason="no [/reason]", at_work=False, divergences=(found,))
    text = shown(page)
    assert "r-1  paused: no [/reason]" in text
    assert "[i] " in text
    assert "urn:[/x] [red] :warning:" in text


@pytest.mark.parametrize("phase_status", PhaseStatus)
def test_every_status_of_a_phase_can_be_shown(phase_status: PhaseStatus) -> None:
    """A cutover between its seal and its switch among them."""
    text = shown(replace(status(), phases={"cutover": phase_status.value}))
    assert re.search(r"\S cutover", text)


def test_a_divergence_of_a_stream_that_the_plan_has_lost_has_a_canonical_key() -> None:
    assert describe((), Mismatch("gone", b"\x01\xff", "extra")) == {
        "stream": "gone",
        "key": {"canonical": "01ff"},
        "kind": "extra",
        "columns": [],
    }


def test_a_group_whose_phases_stand_alike_is_one() -> None:
    phases = STRATEGIES["expand-contract"]
    waiting = {phase.value: "pending" for phase in phases}
    assert stages(waiting)[-2:] == [("reconcile", "pending"), ("cutover", "pending")]
    begun = waiting | {"fence": "verified", "drain": "verified"}
    assert stages(begun)[-6:] == [
        ("fence", "verified"),
        ("drain", "verified"),
        ("verify", "pending"),
        ("seal", "pending"),
        ("switch", "pending"),
        ("open", "pending"),
    ]
    assert stages({phase.value: "verified" for phase in phases})[-1] == ("cutover", "verified")
