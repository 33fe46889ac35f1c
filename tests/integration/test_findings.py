"""Every finding is provoked and then mended."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.answers import answering
from tests.integration.hazards import BESIDE_A_RUN, HAZARDS, World
from tests.integration.route import Route
from tranship.orchestrator.reports.findings import FINDINGS

BY_DRY_RUN = {"target.seen_outside", "target.row_width"}
"""Which `check` cannot find: `test_dry_run.py` provokes and mends them."""


@pytest.fixture
def world(route: Route, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    made = World(route, monkeypatch)
    with answering(route.source.uri, made.reply) as uri:
        route.environment["SOURCE_URI"] = uri
        yield made


def test_none_is_left_out() -> None:
    assert HAZARDS.keys() | BY_DRY_RUN == FINDINGS.keys()


@pytest.mark.parametrize("code", [code for code in HAZARDS if code not in BESIDE_A_RUN])
def test_a_finding_is_there_and_goes(world: World, code: str) -> None:
    _is_there_and_goes(world, code)


def test_findings_beside_a_run_are_there_and_go(world: World) -> None:
    """One run for all of them, one after the other: each is mended before the next one is planted."""
    world.route.run_to_approval(world.route.plan(world.streams, **world.parts))
    for code in BESIDE_A_RUN:
        _is_there_and_goes(world, code)


def _is_there_and_goes(world: World, code: str) -> None:
    hazard = HAZARDS[code](world)
    next(hazard)
    planted = world.found()
    assert code in {finding.code for finding in planted}, planted
    assert all(finding.hint for finding in planted if finding.code == code and finding.severity == "error")
    assert next(hazard, None) is None
    left = world.found()
    # What is planted is named, by no other code, and once it is mended nobody speaks of it any more.
    assert {finding.code for finding in planted} - {finding.code for finding in left} == {code}


def test_nothing_is_found_where_nothing_is_odd(world: World) -> None:
    assert [finding for finding in world.found() if finding.severity != "info"] == []
