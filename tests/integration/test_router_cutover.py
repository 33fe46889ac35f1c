"""A cutover that writers go through: asked about, rehearsed, and carried out, without a write that fails."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cutover.play import Cutover, await_state, judge, stage, writers
from tranship.orchestrator.sandbox import Servers
from tranship.plans.strategies import Group


@pytest.fixture
def made(servers: Servers, tmp_path: Path) -> Iterator[Cutover]:
    try:
        with stage(servers, tmp_path, limits={"lease": "2s", "workers": 1}) as cutover_made:
            yield cutover_made
    finally:
        sys.stdout.write((tmp_path / "output.log").read_text(errors="replace"))


def status(made: Cutover) -> dict[str, object]:
    code, said = made.command("status", "--json")
    assert code == 0, said
    return dict(json.loads(said))


def test_asked_rehearsed_and_carried_out(made: Cutover) -> None:
    with made.session() as session:
        child = made.run()
        state = await_state(session, child, "it asks", lambda state: state.asked is Group.CUTOVER)
        found = status(made)
        assert found["can_cut_over"] is False
        assert "no router of plan shop lives" in str(found["against_cutover"])
        with writers(made, 2, 2, 100.0, 20) as done:
            assert (status(made)["can_cut_over"], status(made)["against_cutover"]) == (True, [])
            code, said = made.command("cutover", "--rehearse")
            assert (code, "the switch would have come" in said) == (0, True), said
            assert not session.state(state.run).switched
            state = await_state(session, child, "it asks anew", lambda state: state.asked is Group.CUTOVER)
            made.approve(session, state.run)
            await_state(session, child, "it has switched", lambda state: state.switched)
            time.sleep(0.5)
        assert child.wait(60) == 0
        assert status(made)["can_cut_over"] is None
    verdict = judge(made, done)
    assert (verdict.failed, verdict.lost, verdict.both) == ([], [], 2)
