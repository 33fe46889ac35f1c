"""Every finding is provoked and then mended."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.answers import answering
from tests.integration.hazards import HAZARDS, World
from tests.integration.route import Route
from tests.integration.samples import SAMPLES
from tranship.orchestrator.reports.findings import FINDINGS

FINISHED, REFUSED = 0, 3

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


@pytest.mark.parametrize("code", HAZARDS)
def test_a_finding_is_there_and_goes(world: World, code: str) -> None:
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


PLANTED = {"legacy": ("odd", {"_id": "nul"}, {"v": "a b"}, ("data.misfit", "error", "odd"))}
"""The one value that PostgreSQL cannot hold, a text with U+0000: where, what it is mended to, how it is named."""


@pytest.mark.parametrize("name", SAMPLES)
def test_a_clean_database_has_nothing_to_warn_of(route: Route, name: str) -> None:
    """Some thousand documents of six applications, by the plan that `init` makes, looked at and rehearsed."""
    SAMPLES[name]().fill(route.client, route.source.name)
    plan = route.folder / "made.yaml"
    code, said = route.tranship("init", "--database", route.source.name, "-o", plan)
    assert code == FINISHED, said
    if name in PLANTED:
        collection, which, mended, finding = PLANTED[name]
        assert _above_info(route, "check", plan) == (REFUSED, {finding})
        route.client[route.source.name][collection].update_one(which, {"$set": mended})
    assert _above_info(route, "check", plan) == (FINISHED, set())
    assert _above_info(route, "dry-run", plan) == (FINISHED, set())


def _above_info(route: Route, command: str, plan: Path) -> tuple[int, set[tuple[str, str, str]]]:
    code, said = route.tranship(command, plan, "--json")
    report = json.loads(said[said.index('{\n  "version"') :])
    found = {(one["code"], one["severity"], one["stream"]) for one in report["findings"]}
    return code, {one for one in found if one[1] != "info"}
