"""A run is killed at every named site, also inside undo and takeover, while writers work; nothing is lost or wrong.

Each scenario is one run that is killed at one site after the other, resumed in between, and in the end finished or
rolled back. `test_every_site_is_killed` sees to it that no site is left out.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import tranship.connectors
import tranship.orchestrator
from tests.crash import test_router_cutover, test_server_fences
from tests.crash.play import RATE, ROLLED_BACK, Play, ended
from tests.integration.test_dry_run_kills import KILLED
from tranship.connectors import postgresql
from tranship.orchestrator.demo import fingerprint, targets
from tranship.orchestrator.demo.scene import writes_arrive
from tranship.orchestrator.failpoints import SITES
from tranship.orchestrator.journal.records import Kind
from tranship.orchestrator.journal.state import RunStatus

FORWARD = {
    "from the start to the index": (
        "claim.after_lease",
        "claim.after_epoch",
        "journal.before_commit",  # the record of the run's creation
        "journal.after_append",
        "expand.after_tables",
        "capture.after_position",
        "backfill.after_plan@2",
        "chunk.after_read",
        "claim.after_lease",  # now in a takeover, from one that died at work
        "load.before_mark",
        "load.before_epoch",
        "load.before_commit",
        "claim.after_epoch",
        "load.after_commit",
        "load.before_commit@2",
        "index.after_create",
    ),
    "from capture to reconcile": (
        "keep.before_position",
        "keep.before_commit",
        "keep.after_commit@2",
        "replace.before_delete",
        "replace.before_mark",
        "replace.before_epoch",
        "replace.before_commit",
        "replace.after_commit",
        "constrain.after_create",
        "replace.before_commit@3",
        "reconcile.after_full",
    ),
}

CUTOVER = (
    "cutover.after_quiet",
    "drain.after_marker",
    "seal.before_commit",
    "seal.after_commit",
    "cutover.after_seal",
    "cutover.before_switch",
    "pivot.after_sent",
    "pivot.after_swap",
)
"""Each in a process of its own, which needs an approval of its own; behind the last one the source says that it has
switched."""

LIFTS = {
    "cutover.after_seal": ("lift.before_unseal", "lift.after_unseal"),
    "pivot.after_sent": ("lift.before_unseal",),
}
"""Where the processes behind some of these are killed before they ask for anything."""

SWITCHED = ("journal.before_commit@2", "journal.after_append@2")
"""Claimed, then that the switch took place, as the source's record says."""

EARLY_ROLLBACK = ("claim.after_epoch@2", "undo.before", "undo.after", "undo.before@2")
"""The first in the process that decides to roll back: it takes an epoch to act, and another one to undo."""

LATE_ROLLBACK = ("journal.after_append@2", "undo.before", "undo.after", *["undo.after@2"] * 6)
"""The decision, then eight phases: each `undo.after@2` undoes one that was undone already, and the one before it."""


@pytest.fixture
def on_stage(on_stage: Play) -> Play:
    """As there, and quick: what a start costs and how long a lease lasts is not asked here."""
    return replace(on_stage, quick=True)


@pytest.mark.parametrize("scenario", FORWARD)
def test_killed_on_the_way_and_resumed(on_stage: Play, scenario: str) -> None:
    with on_stage.stage.writers(RATE):
        for site in FORWARD[scenario]:
            on_stage.kill_at(site)
        child = on_stage.start()
        on_stage.wait_for_approval(child)
    on_stage.finish(child)
    on_stage.assert_nothing_lost()


def test_killed_in_the_cutover_and_resumed(on_stage: Play) -> None:
    with on_stage.stage.writers(RATE):
        child = on_stage.start()
        on_stage.wait_for_approval(child)
        on_stage.stage.kill(child)  # while it waits
    for site in CUTOVER:
        assert not on_stage.state.switched
        child = on_stage.start(at=site)
        on_stage.wait_for_approval(child)
        on_stage.stage.approve(on_stage.session)
        on_stage.assert_killed(child, site)
        for lift in LIFTS.get(site, ()):
            on_stage.kill_at(lift)
    assert (on_stage.state.pivoting, on_stage.state.switched) == (True, False)
    for site in SWITCHED:
        on_stage.kill_at(site)
    assert on_stage.journal[-1].record.kind is Kind.PIVOTED
    assert ended(on_stage.start(), "it finished") == 0
    on_stage.assert_nothing_lost()


def test_killed_in_a_rollback_out_of_the_backfill(on_stage: Play) -> None:
    before = _before(on_stage)
    with on_stage.stage.writers(RATE):
        on_stage.kill_at("load.after_commit")
        on_stage.kill_at(EARLY_ROLLBACK[0], "rollback")
        for site in EARLY_ROLLBACK[1:]:
            on_stage.kill_at(site)
        assert ended(on_stage.start(), "it was rolled back") == ROLLED_BACK
        _assert_as_found(on_stage, before)
        child = on_stage.start()  # a new run: nothing of the old one is in its way
        on_stage.wait_for_approval(child)
    on_stage.finish(child)
    on_stage.assert_nothing_lost()


def test_killed_in_a_rollback_from_the_approval(on_stage: Play) -> None:
    before = _before(on_stage)
    with on_stage.stage.writers(RATE):
        child = on_stage.start()
        on_stage.wait_for_approval(child)
        on_stage.stage.kill(child)
        for site in LATE_ROLLBACK:
            on_stage.kill_at(site, "rollback")
            assert on_stage.state.status is RunStatus.ROLLING_BACK
        assert ended(on_stage.start("rollback"), "it was rolled back") == 0
        _assert_as_found(on_stage, before)


Found = tuple[fingerprint.Fingerprint, targets.Snapshot]


def _before(on_stage: Play) -> Found:
    source = on_stage.stage.source
    return fingerprint.fingerprint(source.uri, source.name), targets.snapshot(on_stage.stage.target_uri)


def _assert_as_found(on_stage: Play, before: Found) -> None:
    """Both sides are as before the run, the state schema aside, and the source takes writes."""
    source, target = _before(on_stage)
    assert fingerprint.differences(before[0], source) == []
    assert targets.differences(before[1], target) == []
    assert writes_arrive(on_stage.stage)


# --- no site without a test, no test without a site ------------------------------------------------------------------


def test_every_site_is_killed() -> None:
    killed = [*FORWARD["from the start to the index"], *FORWARD["from capture to reconcile"]]
    killed += [
        *CUTOVER,
        *(site for lifts in LIFTS.values() for site in lifts),
        *SWITCHED,
        *EARLY_ROLLBACK,
        *LATE_ROLLBACK,
        *test_router_cutover.LIFTED,
        *test_router_cutover.SWITCHED,
        *test_router_cutover.GUARD,
        *test_server_fences.KILLED,
    ]
    dry_runs = {site for site in SITES if site.startswith("rehearsal.")}
    assert {site.partition("@")[0] for site in killed} == set(SITES) - dry_runs
    assert dry_runs <= {site.partition("@")[0] for site in KILLED}


def test_every_site_stands_at_one_place_in_the_code() -> None:
    places = [Path(folder) for package in (tranship.connectors, tranship.orchestrator) for folder in package.__path__]
    # The memory pair has the same sites as the servers' connectors: its transactions are theirs in small. No run uses
    # the detached form yet: the conformance suites, its own crash rings and the interleaving ring stop at its sites.
    sources = [path for folder in places for path in folder.rglob("*.py") if path.parent.name != "memory"]
    sources = [path for path in sources if path.parent.name != "target" and path.name not in DETACHED]
    found = sorted(name for path in sources for name in _reached(path))
    assert found == sorted(SITES)
    assert set(postgresql.SITES) <= set(SITES)


def _reached(path: Path) -> Iterator[str]:
    """The names of the sites in a file. A name that is not written out could not be found, so it is an error."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in _CALLS:
            (name,) = node.args
            assert isinstance(name, ast.Constant), (
                f"{path.name}, line {node.lineno}: a site whose name is not written out"
            )
            yield str(name.value)


_CALLS = {"reached", "hook", "_hook"}
DETACHED = {"detached.py", "marked.py", "ledger.py"}
