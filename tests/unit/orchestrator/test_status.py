"""What a person is told of the counts: at the end of a run, on the status page, and in the live view."""

from __future__ import annotations

import io
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

from rich.console import Console

from tranship.orchestrator.session import Session
from tranship.orchestrator.state import State
from tranship.orchestrator.status import Status, StreamStatus, closing_lines, equation
from tranship.orchestrator.view import MOST_STREAMS, Figures, _page, print_status
from tranship.plans.strategies import PhaseName

HALF = {"documents": 1050, "rows": 1049, "quarantined": 1}
LOST = {"documents": 50, "rows": 48, "quarantined": 1}


def status(*streams: StreamStatus) -> Status:
    return Status("r-1", "running", "", {}, None, False, None, None, streams, (), {})


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


def page(compared: Mapping[str, Mapping[str, int]]) -> str:
    session = cast(Session, SimpleNamespace(plan=SimpleNamespace(name="shop")))
    facts = {PhaseName.RECONCILE: {"streams": compared}} if compared else {}
    return shown(_page(session, State(run="shop-1", facts=facts), Figures(5, 2, 1, 1.0, None, 0, 0.0, 1234)))


def test_the_live_view_has_the_counts_of_the_first_streams() -> None:
    assert "1,234" in page({})
    assert equation(HALF) in page({"a": HALF})
    many = page({f"s{n}": LOST for n in range(MOST_STREAMS + 5)})
    assert many.count(equation(LOST)) == MOST_STREAMS
    assert "and 5 streams more" in many
