"""The live view and the endings, read back from the screen of a terminal."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.integration.proxy import postgresql_proxy
from tests.integration.route import THINGS, Route, things
from tests.integration.terminal import SIZES, Terminal, terminal

FINISHED, ROLLED_BACK, PAUSED = 0, 4, 7

LONG = "a_stream_whose_name_is_far_too_long_for_any_column_of_a_table"

STREAMS = {"things": THINGS["things"], LONG: {**THINGS["things"], "from": "others", "table": "others"}}


def prepared(route: Route, **parts: object) -> Path:
    route.documents().insert_many(things(30))
    route.documents("others").insert_many(things(10))
    return route.plan(STREAMS, **parts)  # type: ignore[arg-type]


def to_approval(view: Terminal) -> None:
    view.wait_for(lambda: "cutover waits for an approval" in view.words, "the approval to be asked for")


@pytest.mark.parametrize("size", SIZES)
def test_a_run_to_its_end(route: Route, size: tuple[int, int]) -> None:
    plan = prepared(route)
    with terminal(route, size, "run", plan) as view:
        to_approval(view)
        view.wait_for(lambda: "30 documents = 30 rows + 0 quarantined" in view.text, "the comparison to be shown")
        assert re.search(r"lag \d\.\d s", view.text)
        assert "✓ reconcile" in view.text, "no phase is torn from its mark"
        assert "· cutover" in view.text
        narrowed = [line for line in view.screen if line.startswith("a_stream")]
        assert len(narrowed) == 1, "a name that is too long is narrowed, and takes one line"
        assert narrowed[0].endswith("10 documents = 10 rows + 0 quarantined")
        assert ("…" in narrowed[0]) is (size[0] == 80 or len(LONG) > size[0] - 58)
        assert f"transhipapprove{plan}" in view.squeezed
        route.tranship("approve", plan)
        assert view.wait() == FINISHED, view.text
        assert "seal is done" in view.words, "what happened is said in sentences"
        assert not re.search(r"\[info|epoch=|phase=", view.text), "not in the journal's words"
        assert "✓ cutover" in view.text, "the last frame is of the end"
        assert "transhipapprove" not in view.squeezed
        assert "Ctrl-C" not in view.words
        assert "run small-1 has finished. The target is the primary now" in view.words
        assert view.squeezed.endswith("(exitcode0)"), view.text


@pytest.mark.parametrize("size", SIZES)
def test_a_pause_by_ctrl_c(route: Route, size: tuple[int, int]) -> None:
    plan = prepared(route)
    with terminal(route, size, "run", plan) as view:
        to_approval(view)
        view.interrupt()
        assert view.wait() == PAUSED, view.text
        assert "run small-1 is paused: interrupted" in view.words
        assert f"`transhiprun{plan}`goeson" in view.squeezed
        assert view.squeezed.endswith("(exitcode7)"), view.text
        assert "small-1 running" not in view.words, "no frame of before stays"


@pytest.mark.parametrize("size", SIZES)
def test_a_rollback_from_another_terminal(route: Route, size: tuple[int, int]) -> None:
    plan = prepared(route)
    with terminal(route, size, "run", plan) as view:
        to_approval(view)
        route.tranship("rollback", plan)
        assert view.wait() == ROLLED_BACK, view.text
        assert "↺ backfill" in view.text
        assert "run small-1 was rolled back: asked by" in view.words
        assert "Both sides are as they were found" in view.words
        assert view.squeezed.endswith("(exitcode4)"), view.text


def _said(view: Terminal) -> set[str]:
    return {words for words in ("does not answer", "lag unknown") if words in view.words}


@pytest.mark.parametrize("size", SIZES)
def test_a_dead_target_is_seen(route: Route, size: tuple[int, int]) -> None:
    """Not a lag of before its death."""
    plan = prepared(route)
    with (
        postgresql_proxy(route.target_uri) as (away, uri),
        terminal(route, size, "run", plan, TARGET_URI=uri) as view,
    ):
        to_approval(view)
        view.wait_for(lambda: "lag unknown" not in view.words and "lag " in view.words, "figures")
        away.close()
        view.wait_for(lambda: "the target does not answer for" in view.words, "the outage to be said")
        view.wait_for(lambda: "lag unknown" in view.words, "old figures to be unknown")
        assert "dirty keys unknown" in view.words
        away.open()
        view.wait_for(
            lambda: "does not answer" not in view.words and "lag unknown" not in view.words, "the target again"
        )
        view.interrupt()
        assert view.wait() == PAUSED, view.text


@pytest.mark.parametrize("command", ["rollback", "reseed", "purge"])
def test_dangerous_verbs_ask(route: Route, command: str) -> None:
    plan = prepared(route)
    run = route.run_to_approval(plan)
    route.tranship("pause", plan)
    assert run.wait() == PAUSED
    if command == "purge":
        route.tranship("rollback", plan)
    before = route.status(plan)
    with terminal(route, SIZES[0], command, plan) as view:
        view.wait_for(lambda: "[y/N]" in view.words, "the question")
        assert "small-1" in view.words
        view.type("n\n")
        assert view.wait() == 2, view.text
        assert "nothing was changed" in view.words
    assert route.status(plan).status == before.status
