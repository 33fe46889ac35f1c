"""What `docs/cutover.md` shows of each command before, in and behind a cutover is what it says: played and compared.

To write the page's blocks anew after a change of words: `TRANSHIP_WRITE_DOCS=1 pytest
tests/integration/test_cutover_page.py`.
"""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg

from tests.integration.played import CLOSES, OPENS, WRITES, block, compare, said
from tests.integration.route import THINGS, Child, Route, things, wait_until
from tranship.orchestrator.failpoints import VARIABLE
from tranship.orchestrator.reports.status import Status
from tranship.plans.strategies import Group
from tranship.router import Router

PAGE = Path(__file__).parents[2] / "docs" / "cutover.md"
PLAN = "shop.yaml"
INSTANCE = "4f1c22c5a4b14b6b8f3e0a9d7c6b5a41"
WAITS = f"waiting for the approval of {Group.CUTOVER}"


@contextmanager
def router(route: Route) -> Iterator[Router]:
    """An application that writes now and then: so its router knows at all times where to."""
    database = route.client[route.source.name]
    with Router("shop", source=database, target=lambda: psycopg.connect(route.target_uri), initial="source") as made:
        made.reading()
        yield made


@contextmanager
def writing(made: Router) -> Iterator[None]:
    """A write that takes as long as the block."""
    begun, end = threading.Event(), threading.Event()

    def write() -> None:
        with made.writing():
            begun.set()
            end.wait()

    thread = threading.Thread(target=write)
    thread.start()
    assert begun.wait(30)
    try:
        yield
    finally:
        end.set()
        thread.join()


def asks(status: Status) -> bool:
    return status.work is not None and status.work.doing == WAITS


def played(route: Route) -> Iterator[tuple[str, str]]:
    """(what is typed or happens, what is said), one after the other."""
    route.documents().insert_many(things(30))
    plan = route.plan(THINGS, name="shop", cutover={"fence": "router", "deadline": "4s"})

    def typed(*arguments: str, code: int = 0) -> tuple[str, str]:
        child = route.start(*(str(plan) if argument == PLAN else argument for argument in arguments))
        assert child.wait() == code, child.output
        return f"tranship {' '.join(arguments)}", said(child)

    def asked_anew(run: Child, before: int | None) -> None:
        """It asks, and not for what was answered before."""
        route.await_status(plan, lambda status: asks(status) and route.state(plan).asking not in (None, before), run)

    run = route.run_to(plan, asks)
    yield typed("status", PLAN)
    with ExitStack() as stack:
        application = stack.enter_context(router(route))
        yield typed("status", PLAN)
        before = route.state(plan).asking
        yield typed("cutover", "--rehearse", PLAN)
        asked_anew(run, before)
        before = route.state(plan).asking
        with writing(application):
            yield typed("approve", PLAN)
            asked_anew(run, before)
        command, text = typed("history", PLAN)
        lines = text.replace(application.instance, INSTANCE).splitlines()
        last = max(number for number, line in enumerate(lines) if "was approved" in line)
        yield command, "\n".join(["…", *lines[last:]])
        typed("pause", PLAN)
        assert run.wait() == 7, run.output
        run = route.run_to(plan, asks, **{VARIABLE: "fence.after_swap=kill"})
        typed("approve", PLAN)
        assert run.wait() == -signal.SIGKILL, run.output
        wait_until(lambda: not route.status(plan).at_work, what="its lease to end")
        yield typed("status", PLAN)
        run = route.run_to(plan, asks)
        yield typed("approve", PLAN)
        assert run.wait() == 0, run.output
        yield f"tranship run {PLAN}    # in the first terminal, which ends now", said(run)
        yield typed("status", PLAN)
        yield typed("purge", PLAN, "--yes", code=3)
    living = "select 1 from tranship.router where until > clock_timestamp()"
    wait_until(lambda: not route.query(living), what="the router's lease to end")
    yield typed("purge", PLAN, "--yes")


def test_the_page_says_what_the_commands_say(route: Route) -> None:
    page = PAGE.read_text(encoding="utf-8")
    blocks = [block(route, PLAN, line, text) for line, text in played(route)]
    if not WRITES:
        compare(page, blocks)
        return
    left = iter(blocks)
    written = re.sub(f"{OPENS}.*?{CLOSES}", lambda _: next(left), page, flags=re.DOTALL)
    assert next(left, None) is None, "the page has fewer blocks"
    PAGE.write_text(written, encoding="utf-8")
