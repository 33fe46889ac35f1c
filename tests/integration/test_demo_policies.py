"""The demo's data under two policies: what carries residue under one is what the other keeps aside, until the plan is
changed on the live run and everything is in PostgreSQL after all."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tests.integration.forks import COMMAND
from tranship.connectors.protocols import Tally
from tranship.orchestrator.demo import oracle
from tranship.orchestrator.demo.scene import Scene, scene, state_now, status_now, wait_until
from tranship.orchestrator.demo.shop import SHARES, Shop
from tranship.orchestrator.engine.session import Session
from tranship.orchestrator.journal.state import RunStatus
from tranship.orchestrator.sandbox import Servers
from tranship.plans.strategies import Group

SHOP = Shop(seed=5, documents=3000)
LIMIT_S = 120.0
PAUSED = 7
QUICK = {"cutover": {"quiet": "300ms"}, "limits": {"lease": "2s", "chunk": "128KiB"}}

TABLES = {
    "customers": ["customers"],
    "products": ["products"],
    "orders": ["orders", "order_items"],
    "events": ["events"],
}

Names = set[tuple[str, str]]
"""(stream, key) of documents."""


@pytest.fixture
def stage(servers: Servers, tmp_path: Path) -> Iterator[Scene]:
    with (tmp_path / "runs.log").open("wb") as log, scene(servers, tmp_path, SHOP, log) as made:
        yield made


def test_what_has_residue_is_what_quarantine_keeps_aside(stage: Scene) -> None:
    plan = stage.write_plan("lenient", "residue", target={"schema": "lenient"}, **QUICK)
    with stage.session(plan) as session:
        child = _to_approval(stage, plan, session)
        _finish(stage, session, child)
    odd = _with_residue(stage, "lenient")
    assert 0 < len(odd) < 0.02 * SHOP.documents

    plan = stage.write_plan("strict", "quarantine", target={"schema": "strict"}, **QUICK)
    with stage.session(plan) as session:
        child = _to_approval(stage, plan, session)
        assert _aside(stage, plan) == odd
        assert _with_residue(stage, "strict") == set()
        for stream in status_now(session).streams:
            count, aside = SHOP.count(stream.stream), sum(name == stream.stream for name, _ in odd)
            assert stream.compared == Tally(count, count - aside, aside)
        assert _tranship(stage, "pause", plan).returncode == 0
        assert child.wait(LIMIT_S) == PAUSED

    stage.write_plan("strict", "residue", target={"schema": "strict"}, **QUICK)
    with stage.session(plan) as session:
        child = _to_approval(stage, plan, session)
        wait_until(lambda: _aside(stage, plan) == set(), LIMIT_S, "quarantine was empty", child)
        _finish(stage, session, child)
    assert _with_residue(stage, "strict") == odd
    verdict = oracle.compare_target(stage.target_uri, "strict", stage.shop.states())
    assert verdict.equal, verdict.examples


def _to_approval(stage: Scene, plan: Path, session: Session) -> subprocess.Popen[bytes]:
    child = stage.run(plan)

    def asks() -> bool:
        state = state_now(session)
        return state is not None and state.status is RunStatus.RUNNING and state.asked is Group.CUTOVER

    wait_until(asks, LIMIT_S, "it asked for approval", child)
    return child


def _finish(stage: Scene, session: Session, child: subprocess.Popen[bytes]) -> None:
    stage.approve(session)
    assert child.wait(LIMIT_S) == 0


def _tranship(stage: Scene, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], env=stage.environment, capture_output=True, text=True, check=False
    )


def _aside(stage: Scene, plan: Path) -> Names:
    """What is in quarantine."""
    listed = _tranship(stage, "quarantine", "list", plan, "--json")
    assert listed.returncode == 0, listed.stderr
    return {(entry["stream"], str(entry["key"]["_id"])) for entry in map(json.loads, listed.stdout.splitlines())}


def _with_residue(stage: Scene, schema: str) -> Names:
    """The documents of which some row, root or child, has a residue."""
    found: Names = set()
    with psycopg.connect(stage.target_uri) as connection:
        for stream in SHARES:
            for table in TABLES[stream]:
                key = sql.Identifier("_id" if table == stream else "_root_id")
                rows = sql.SQL("select {}::text from {} where _residue is not null")
                keys = connection.execute(rows.format(key, sql.Identifier(schema, table))).fetchall()
                found |= {(stream, str(value)) for (value,) in keys}
    return found
