"""What a person is told of the counts: at the end of a run, on the status page, and in the live view."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from tranship.connectors.protocols import Mismatch
from tranship.orchestrator.cli.view import MOST_STREAMS, Figures, _page, print_status
from tranship.orchestrator.engine.session import Session
from tranship.orchestrator.journal.rounds import Round
from tranship.orchestrator.journal.state import PhaseStatus, State
from tranship.orchestrator.reports.status import Status, StreamStatus, closing_lines, describe, equation
from tranship.plans.strategies import PhaseName

HALF = {"documents": 1050, "rows": 1049, "quarantined": 1}
LOST = {"documents": 50, "rows": 48, "quarantined": 1}


def status(*streams: StreamStatus) -> Status:
    return Status("r-1", "running", "", True, {}, None, False, None, {}, None, streams, (), {})


def test_documents_are_rows_and_quarantined_or_it_is_said() -> None:
    assert equation(HALF) == "1,050 documents = 1,049 rows + 1 quarantined"
    assert equation(LOST) == "50 documents ≠ 48 rows + 1 quarantined"


def test_the_last_words_are_about_what_was_compared() -> None:
    streams = (StreamStatus("a", 1, 1, 1049, 3, HALF), StreamStatus("b", 1, 0, 0, 0, None))
    assert closing_lines(status(*streams)) == [f"a: {equation(HALF)}; 3 in quarantine now"]


def shown(what: Any) -> str:
    console = Console(file=io.StringIO(), width=200)
    if isinstance(what, Status):
        print_status(console, what)
    else:
        console.print(what)
    return cast(io.StringIO, console.file).getvalue()


def test_the_status_page_has_a_line_per_stream() -> None:
    text = shown(status(StreamStatus("a", 1, 1, 1049, 3, HALF), StreamStatus("b", 2, 0, 0, 0, None)))
    assert equation(HALF) in text
    assert [line.split() for line in text.splitlines() if line.split()[:1] == ["b"]] == [["b", "0/2", "0", "0", "-"]]


def test_a_run_without_an_orchestrator_is_told_from_one_that_works() -> None:
    working = status()
    assert "no orchestrator is at work" not in shown(working)
    assert "no orchestrator is at work on it: `tranship run` goes on" in shown(replace(working, at_work=False))
    assert "no orchestrator" not in shown(replace(working, at_work=False, status="paused"))


def test_what_people_name_is_no_markup() -> None:
    found = {"stream": "s", "key": {"_id": "urn:[/x] [red] :warning:"}, "kind": "different", "columns": ["[b]"]}
    shelf = StreamStatus("[i]", 1, 1, 1, 0, None)
    page = Status("r-1", "paused", "no [/reason]", False, {}, None, False, None, {}, None, (shelf,), (found,), {})
    text = shown(page)
    assert "r-1  paused: no [/reason]" in text
    assert "[i] " in text
    assert "divergence: s {'_id': 'urn:[/x] [red] :warning:'} different [b]" in text


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


def page(compared: Mapping[str, Mapping[str, int]]) -> str:
    session = cast(Session, SimpleNamespace(plan=SimpleNamespace(name="shop")))
    facts = {PhaseName.RECONCILE: {"streams": compared}} if compared else {}
    return shown(
        _page(
            session, State(run="shop-1", rounds=(Round(facts=facts),)), Figures(5, 2, 1, 1.0, None, 0, 0.0, 1234, None)
        )
    )


def test_the_live_view_has_the_counts_of_the_first_streams() -> None:
    assert "1,234" in page({})
    assert equation(HALF) in page({"a": HALF})
    many = page({f"s{n}": LOST for n in range(MOST_STREAMS + 5)})
    assert many.count(equation(LOST)) == MOST_STREAMS
    assert "and 5 streams more" in many
