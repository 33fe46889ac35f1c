"""docs/router-protocol.md suffices: a router in another language, written from the page, beside the one in Python."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pymongo
import pytest

from tests.cutover.play import NODE, PYTHON, Cutover, await_state, judge, stage, writers
from tranship.orchestrator.sandbox import Servers
from tranship.plans.strategies import Group

FOLDER = Path(__file__).parents[1] / "cutover" / "node"
NEEDED = (20, 19)


def _missing() -> str | None:
    if absent := [name for name in ("node", "npm") if shutil.which(name) is None]:
        return "no " + " and no ".join(absent)
    said = subprocess.run(["node", "--version"], capture_output=True, text=True, timeout=60, check=True).stdout.strip()
    return None if tuple(map(int, said.removeprefix("v").split(".")[:2])) >= NEEDED else f"Node.js {said}"


MISSING = _missing()

pytestmark = pytest.mark.skipif(MISSING is not None, reason=f"{MISSING}: it needs Node.js 20.19 or newer, with npm")

COMMANDS = (PYTHON, NODE, PYTHON)
THREADS, RATE, KEYS = 2, 150.0, 10
BEHIND_S = 1.0
LONGEST_S = 10.0
"""A bench measures waits; here they only must not be as long as a writer's limit."""


@pytest.fixture(scope="session")
def node_packages() -> None:
    """The packages of the lock file, installed once, however many processes run tests."""
    locked, installed = FOLDER / "package-lock.json", FOLDER / "node_modules" / "installed.json"
    with locked.open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = lock.read()
        if installed.exists() and installed.read_bytes() == wanted:
            return
        command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
        done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        installed.write_bytes(wanted)


@pytest.mark.usefixtures("node_packages")
def test_the_table_row_by_row_and_the_gate() -> None:
    done = subprocess.run(["node", "--test"], cwd=FOLDER, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.usefixtures("node_packages")
def test_routers_of_both_languages_take_their_writers_through_a_cutover(servers: Servers, tmp_path: Path) -> None:
    with stage(servers, tmp_path / "play") as made, made.session() as session:
        with writers(made, len(COMMANDS), THREADS, RATE, KEYS, commands=COMMANDS) as done:
            child = made.run()
            state = await_state(session, child, "it asks for approval", lambda state: state.asked is Group.CUTOVER)
            made.approve(session, state.run)
            await_state(session, child, "it has switched", lambda state: state.switched)
            record, routers = records(made)
            time.sleep(BEHIND_S)
        assert child.wait(60) == 0
        verdict = judge(made, done)
        assert (verdict.failed, verdict.lost) == ([], [])
        assert verdict.longest_s < LONGEST_S
        for number, command in enumerate(COMMANDS):
            mine = range(number * THREADS, (number + 1) * THREADS)
            sides = {side for one in done if one.thread in mine for *_, side in one.writes}
            assert sides == {"source", "target"}, command
        assert record["state"] == "handed_over"
        fence = (record["_id"], record["version"])
        assert [(one["acknowledged_run"], one["acknowledged_version"]) for one in routers] == [fence] * len(COMMANDS)


def records(made: Cutover) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The run's record on the source, and what its routers keep there."""
    with pymongo.MongoClient[dict[str, Any]](made.source.uri) as client:
        database = client[made.source.name]
        [record] = database["tranship_switches"].find()
        return record, list(database["tranship_routers"].find())
