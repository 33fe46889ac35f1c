"""What `docs/operations.md` shows of each command is what it says: a session at a terminal, played and compared.

To write the section anew after a change of words: `TRANSHIP_WRITE_DOCS=1 pytest
tests/integration/test_terminal_texts.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tests.integration.played import WRITES, block, compare, masked, said
from tests.integration.route import Child, Route, things
from tranship.plans.strategies import Group

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
BEGIN, END = "## At the terminal\n", "\n## "
PLAN, MADE = "shop.yaml", "made.yaml"

COLUMNS = {"name": "text", "number": {"type": "int64", "bson": "int32"}}
STREAMS = {"things": {"key": {"_id": "text"}, "columns": COLUMNS, "rest": "quarantine"}}

INTRODUCTION = """
A run of a small plan from its check to its end, with an odd document and a row that somebody changes by hand. A test
plays it and compares (`tests/integration/test_terminal_texts.py`), so it is what the commands say.
"""


def played(route: Route) -> Iterator[tuple[str, str]]:
    """(what is typed or happens, what is said), one after the other."""
    route.documents().insert_many([*things(30), {"_id": "odd", "name": 7}])
    plan = route.plan(STREAMS, name="shop", cutover={"max_quarantined": 1})

    def typed(*arguments: str, code: int = 0) -> tuple[str, str]:
        given = [
            str(plan) if argument == PLAN else str(made) if argument == MADE else argument for argument in arguments
        ]
        child = route.start(*given)
        assert child.wait() == code, child.output
        return f"tranship {' '.join(arguments)}", said(child)

    made = route.folder / MADE
    yield typed("init", "--database", route.source.name, "-o", MADE)
    yield typed("check", PLAN)
    waits = f"waiting for the approval of {Group.CUTOVER}"
    run = route.run_to(plan, lambda status: status.work is not None and status.work.doing == waits)
    yield typed("status", PLAN)
    yield typed("quarantine", "list", PLAN)
    yield typed("quarantine", "show", PLAN, "things", "odd")
    yield typed("quarantine", "export", PLAN, "--to", str(route.folder / "aside.jsonl"))
    route.tamper("update moved.things set name = 'changed by hand' where _id = 't00007'")
    yield typed("reconcile", PLAN, code=1)
    yield typed("schema", "diff", PLAN)
    yield typed("approve", PLAN, code=1)
    yield typed("repair", PLAN)
    route.await_status(plan, lambda status: not status.divergences, run)
    yield typed("reconcile", PLAN)
    yield typed("quarantine", "retry", PLAN)
    yield typed("pause", PLAN)
    yield f"tranship run {PLAN}    # in the first terminal, which ends now", _ended(run, 7)
    yield typed("approve", PLAN, code=2)
    yield typed("status", PLAN, "--exit-code", code=7)
    run = route.start("resume", plan)
    route.await_status(plan, lambda status: status.waiting_for_approval == Group.CUTOVER, run)
    yield typed("approve", PLAN)
    yield f"tranship resume {PLAN}    # in the first terminal, which ends now", _ended(run, 0)
    yield typed("rollback", PLAN, "--yes", code=2)
    yield typed("runs", PLAN)
    yield typed("history", PLAN)
    yield typed("purge", PLAN, "--yes")
    yield typed("explain", "7")


def _ended(run: Child, code: int) -> str:
    assert run.wait() == code, run.output
    return said(run)


def shown(route: Route) -> list[str]:
    """The section's blocks."""
    return [block(route, PLAN, line, text) for line, text in played(route)]


def test_the_page_says_what_the_commands_say(route: Route) -> None:
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    section, _, after = rest.partition(END)
    blocks = shown(route)
    assert len(blocks) > 15
    if WRITES:
        now = f"{INTRODUCTION}\n" + "\n".join(blocks)
        PAGE.write_text(f"{before}{BEGIN}{now}{END}{after}", encoding="utf-8")
        return
    compare(section, blocks)


def test_what_is_masked() -> None:
    assert masked("3 rows,\n  12.5 s ago") == masked("40 rows, 1 min 3 s ago")
    assert masked("3 rows diverge") != masked("3 rows still move")


def test_every_command_is_shown() -> None:
    section = PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    shown_commands = set(re.findall(r"^\$ tranship (\w+)", section, re.MULTILINE))
    table = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(encoding="utf-8").partition("## Exit codes")[0], re.MULTILINE)
    # A reseed needs a lost history; its words are those of a run.
    assert shown_commands >= set(table) - {"reseed"}
