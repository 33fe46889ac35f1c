"""A cutover behind a fence that the source's server keeps, with real users and roles: carried out under writers, and
killed at each site of raising and lowering.

Beside the writers' ledger the server is the judge: what the application's login may do, and which roles it has.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.crash.test_router_cutover import DEADLINE_S, LONGEST_S, await_record, ended, killed, nothing_lost
from tests.cutover.play import COLLECTION, Cutover, declared, seeds, writers
from tests.integration.locked import ALL, BEHIND_ROLES, BEHIND_VALIDATORS, ROLES, Locked, locked_mongo
from tranship.orchestrator.sandbox import Servers
from tranship.orchestrator.sandbox.databases import SourceDatabase, fresh_target

RATE = 40.0
KILLED = ("raise.after_register", "raise.after_command", "lower.after_register", "lower.after_command")
"""Where `test_killed_while_it_is_raised_or_lowered` kills."""


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Locked]:
    with locked_mongo(tmp_path_factory.mktemp("locked")) as made:
        yield made


@pytest.fixture
def made(locked: Locked, servers: Servers, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Cutover]:
    """A run of a plan with this fence; its writers have the application's login."""
    locked.root.drop_database("shop")
    locked.root.shop[COLLECTION].insert_many(seeds())
    plan = tmp_path / "plan.yaml"
    writer = {"user": "app", "login": "${env:APP_URI}"}
    cutover = {"fence": request.param, "writers": [writer], "deadline": f"{DEADLINE_S:g}s"}
    limits = {"lease": "2s", "workers": 1}
    plan.write_text(yaml.safe_dump(declared("shop") | {"cutover": cutover, "limits": limits}, sort_keys=False))
    with fresh_target(servers) as target, (tmp_path / "output.log").open("ab") as log:
        source = SourceDatabase(locked.uri("tranship", "t"), "shop")
        one = Cutover(source, target, tmp_path, log, plan, writes_to=locked.uri("app", "a"))
        try:
            yield one
        finally:
            for child in one.children:
                if child.poll() is None:
                    child.kill()
                    child.wait()
            sys.stdout.write((tmp_path / "output.log").read_text(errors="replace"))
    locked.root.admin.command("updateUser", "app", roles=ROLES)
    for role in locked.made_roles():
        locked.root.admin.command("dropRole", role)


def unfence(made: Cutover, *words: str) -> tuple[int, str]:
    """`tranship unfence`, which is told of the source alone."""
    said = subprocess.run(
        [sys.executable, "-P", "-m", "tranship", "unfence", "--database", "shop", *words],
        env={"SOURCE_URI": made.source.uri}, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    return said.returncode, said.stdout + said.stderr


@pytest.mark.parametrize(
    ("made", "behind"), [("auto", BEHIND_ROLES), ("validators", BEHIND_VALIDATORS)], indirect=["made"]
)
def test_writers_go_on_and_the_source_stays_closed(made: Cutover, locked: Locked, behind: dict[str, bool]) -> None:
    with made.session() as session, writers(made, 2, 2, RATE, 20) as done:
        assert ended(made, session, made.run()) == 0
    nothing_lost(made, done, LONGEST_S)
    assert locked.may() == behind
    code, said = unfence(made)
    assert (code, "app: readWrite@shop, readWrite@other" in said or "no validator" in said) == (3, True), said
    code, said = unfence(made, "--from-passport", "--yes")
    assert (code, "the target is the primary of shop-1" in said) == (2, True), said
    assert locked.may() == behind
    code, said = made.command("purge", "--yes")
    assert (code, "tranship unfence" in said) == (3, True), said
    code, said = unfence(made, "--from-passport", "--yes", "--although-handed-over")
    assert code == 0, said
    assert (locked.may(), locked.roles(), locked.made_roles()) == (ALL, ROLES, [])
    assert unfence(made) == (0, "no fence stands on database shop\n")


@pytest.mark.parametrize("made", ["roles"], indirect=True)
def test_killed_while_it_is_raised_or_lowered(made: Cutover, locked: Locked) -> None:
    def is_open() -> bool:
        return (locked.may(), locked.roles(), locked.made_roles()) == (ALL, ROLES, [])

    with made.session() as session, writers(made, 2, 2, RATE, 20) as done:
        # Its guard is dead too, and the target might be: a person lowers what stands.
        killed(made, session, "raise.after_register=kill,guard.before_lift")
        await_record(made, {"fenced"}, 5)
        code, said = unfence(made)
        assert (code, "without an answer: raise of attempt 1" in said) == (3, True), said
        assert unfence(made, "--from-passport", "--yes")[0] == 0
        assert is_open()
        # Its guard dies as it lowers, the next process as well, and the one behind that goes on.
        killed(made, session, "raise.after_command=kill,lower.after_register")
        await_record(made, {"lifting"}, 3 * DEADLINE_S + 5)
        assert locked.may() == BEHIND_ROLES
        killed(made, session, "lower.after_command")
        assert is_open()
        # Its guard lowers.
        killed(made, session, "raise.after_command")
        await_record(made, {"primary"}, 3 * DEADLINE_S + 5)
        assert is_open()
        assert ended(made, session, made.run()) == 0
    nothing_lost(made, done, LONGEST_S + DEADLINE_S)
    assert locked.may() == BEHIND_ROLES
