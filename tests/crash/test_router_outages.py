"""Bad times inside a fence by routers: either server is killed, what expires is removed, applications stand still.

Each cutover ends done or held, with one primary, and without a write that failed or was lost; the deadline is kept as
soon as the source can be reached.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC
from pathlib import Path
from typing import Any

import psycopg
import pymongo
import pytest
from pymongo.errors import PyMongoError

from tests.conformance.test_mongodb_source import serve
from tests.cutover.play import (
    COLLECTION,
    LIMIT_S,
    SCHEMA,
    Cutover,
    approve_until,
    between,
    halted,
    judge,
    records,
    stage,
    writers,
)
from tests.cutover.writers import Setting
from tests.integration.proxy import mongodb_proxy
from tranship.orchestrator.engine.session import Session
from tranship.orchestrator.failpoints import VARIABLE
from tranship.orchestrator.sandbox import ServerMissingError, Servers, embedded, processes
from tranship.orchestrator.sandbox.databases import SourceDatabase
from tranship.orchestrator.sandbox.processes import ServerProcess
from tranship.orchestrator.sandbox.readiness import mongodb_answers, postgresql_answers, wait_until
from tranship.plans.strategies import Group

DEADLINE_S = 5.0
RATE = 60.0
LONGEST_S = 30.0
"""No write waits longer: a deadline, a server's start, and a machine that is busy with other things."""

LATE_S = 8.0
"""For a guard that was waiting for a server to come back, on a busy machine."""

HELD, PAUSED = 5, 7
SEED = "s{:06}"
TROUBLE = "the guard cannot reach the source"


@dataclass
class Machine:
    """A server that may be killed."""

    server: ServerProcess
    start: Callable[[ServerProcess], ServerProcess]
    answers: Callable[[str], bool]
    by: signal.Signals

    def kill(self) -> None:
        self.server.process.send_signal(self.by)
        self.server.process.wait()

    def restart(self) -> None:
        self.server = self.start(self.server)
        wait_until(f"{self.server.name} to answer", lambda: self.answers(self.server.uri), LIMIT_S)


@pytest.fixture
def machines() -> Iterator[tuple[Machine, Machine]]:
    """A MongoDB that keeps what it has acknowledged also when it is killed, and a PostgreSQL."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tranship-tests-")))
        for name in ("mongodb", "postgresql"):
            (folder / name).mkdir()
        mongodb = stack.enter_context(serve(folder / "mongodb", "--sync-on-commit"))
        source = Machine(mongodb, _again, mongodb_answers, signal.SIGKILL)
        try:
            postgresql = embedded.start_postgresql(folder / "postgresql")
        except ServerMissingError as missing:
            pytest.skip(str(missing))
        # At once, without a checkpoint; of a killed one the sessions would live on for a while.
        target = Machine(
            postgresql, lambda _: embedded.start_postgresql(folder / "postgresql"), postgresql_answers, signal.SIGQUIT
        )
        stack.callback(embedded.remove_socket_folder, folder / "postgresql")
        stack.callback(_stop, target)
        stack.callback(_stop, source)
        wait_until("PostgreSQL to answer", lambda: postgresql_answers(postgresql.uri), LIMIT_S)
        yield source, target


def _stop(machine: Machine) -> None:
    machine.server.stop()


def _again(server: ServerProcess) -> ServerProcess:
    return processes.start(
        server.name,
        [str(word) for word in server.process.args],  # type: ignore[union-attr]  a list
        uri=server.uri,
        log=server.log,
        stop_signal=server.stop_signal,
        death_signal=signal.SIGKILL,
    )


@contextmanager
def shown(folder: Path) -> Iterator[dict[str, Any]]:
    """The changes of the plan; what its processes have said is shown if the test fails."""
    try:
        limits = {"lease": "2s", "workers": 1}
        yield {"limits": limits, "cutover": {"fence": "router", "deadline": f"{DEADLINE_S:g}s"}}
    finally:
        sys.stdout.write((folder / "output.log").read_text(errors="replace"))


def test_each_server_is_killed_inside_the_fence(machines: tuple[Machine, Machine], tmp_path: Path) -> None:
    """And what expires meanwhile is removed, before the seal and behind it."""
    source, target = machines
    with (
        shown(tmp_path) as changes,
        between(SourceDatabase(source.server.uri, "shop"), target.server.uri, tmp_path, **changes) as made,
    ):
        with made.session() as session, writers(made, 2, 2, RATE, 20) as done, witnessed(made):
            child = made.run(**{VARIABLE: "cutover.after_quiet=stop,cutover.before_switch=stop"})
            approve_until(made, session, child, lambda: halted(child.pid))
            expire(made, range(10))
            # It is away until the deadline: nobody needs it to bring the writers back.
            killed(target, child, lambda: on_source(made)["state"] == "primary")
            if child.poll() is not None or not went_on(made, session, child):
                child = made.run(**{VARIABLE: "cutover.before_switch=stop"})
            approve_until(made, session, child, lambda: halted(child.pid))
            assert records(made)[1][0] == "ready"
            expire(made, range(10, 20))
            # It is away until the deadline, too: so the switch comes too late, and what was removed is applied.
            before, over = said(made).count(TROUBLE), on_source(made)["deadline"].replace(tzinfo=UTC).timestamp()
            killed(source, child, lambda: said(made).count(TROUBLE) > before and time.time() > over)
            to_the_end(made, session, child)
            assert [state for state, _ in records(made)] == ["handed_over", "primary"]
            time.sleep(0.5)
        verdict = judge(made, done, [SEED.format(number) for number in range(20)])
    assert (verdict.failed, verdict.lost, verdict.both) == ([], [], 2)
    assert verdict.longest_s < LONGEST_S


def test_applications_that_stand_still_on_either_side(servers: Servers, tmp_path: Path) -> None:
    """Somebody's transaction is open on the source behind the fence; then a process is stopped between its router's
    answer and its write until the target is the primary, and a transaction is open there while it is to become it."""
    with shown(tmp_path) as changes, stage(servers, tmp_path, **changes) as made, ExitStack() as stack:
        client = stack.enter_context(pymongo.MongoClient[dict[str, Any]](made.source.uri, w="majority"))
        with made.session() as session, writers(made, 2, 2, RATE, 20) as done, witnessed(made):
            child = made.run(**{VARIABLE: "fence.after_guard=stop,pivot.after_swap=stop,open.after_swap=stop"})
            approve_until(made, session, child, lambda: halted(child.pid))
            with client.start_session() as transaction, transaction.start_transaction():
                document = {"_id": "transaction", "thread": -1, "version": 1}
                client[made.source.name][COLLECTION].insert_one(document, session=transaction)
                os.killpg(child.pid, signal.SIGCONT)
                # This server hands out no event behind an open transaction: so the run's marker does not come.
                awaited(lambda: was_lifted(made), 2 * DEADLINE_S + 10, "the fence to be lifted")
            awaited(lambda: asks(session), LIMIT_S, "the run to ask anew")
            late = stack.enter_context(standing_still(made))
            approve_until(made, session, child, lambda: halted(child.pid))
            [(state, version), _] = records(made)
            assert state == "handed_over"
            with psycopg.connect(made.target) as idle:
                idle.execute("SELECT set_config('tranship.version', %s, true)", (str(version),))
                idle.execute(f"INSERT INTO {SCHEMA}.{COLLECTION} (_id, thread, version) VALUES ('idle', -1, 1)")
                os.killpg(child.pid, signal.SIGCONT)
                awaited(lambda: "tried again" in said(made), LIMIT_S, "the run to be held up by an open transaction")
                before = newest(made)
                awaited(lambda: newest(made) > before, LIMIT_S, "the writers to go on")
                assert records(made)[1] == ("ready", version)
            awaited(lambda: halted(child.pid), LIMIT_S, "the target to be opened")
            assert records(made)[1] == ("primary", version)
            late.send_signal(signal.SIGCONT)
            assert json.loads(late.communicate()[0]) == {"written": True, "said": "OutcomeUnknownError"}
            expire(made, range(1))
            os.killpg(child.pid, signal.SIGCONT)
            assert child.wait(LIMIT_S) == HELD
            assert "2 keys were written on the source after the switch" in said(made)
            status = made.command("status", "--json")[1]
            named = {(one["stream"], one["key"]["_id"]) for one in json.loads(status)["rogue_writes"]}
            assert named == {(COLLECTION, "halted1000"), (COLLECTION, SEED.format(0))}
            status = made.command("status")[1]
            assert status.count("written on the source after the switch: things ") == 2, status
            time.sleep(0.5)
        verdict = judge(made, done)
    assert (verdict.failed, verdict.both) == ([], 2)
    assert verdict.lost == [
        "target idle: 1 instead of None",  # this one, and the transaction, are no writer's
        "target transaction: 1 instead of None",
        "source halted1000: 1 instead of None",
        f"source {SEED.format(0)}: None instead of 0",
        "source transaction: 1 instead of None",
    ]
    assert verdict.longest_s < LONGEST_S


def test_a_router_whose_way_to_the_source_swallows_everything(servers: Servers, tmp_path: Path) -> None:
    """From before the fence until the target is the primary: the cutover waits no longer than for its lease; it goes on
    on the target by that side's record alone. What it had sent arrives when the network is whole again: of that the
    application was told that it failed, and the run names it."""
    with shown(tmp_path) as changes, stage(servers, tmp_path, **changes) as made, ExitStack() as stack:
        way, uri = stack.enter_context(mongodb_proxy(made.source.uri, holding=True))
        # Its driver gives writes up; without these it waits until it is sure that the network is parted.
        limits = "&".join(f"{name}TimeoutMS=1500" for name in ("connect", "socket", "serverSelection"))
        parted, first = replace(made, writes_to=f"{uri}&{limits}"), 100
        with (
            made.session() as session,
            writers(made, 1, 2, RATE, 20) as done,
            writers(parted, 1, 4, RATE, 20, first=first) as beyond,
            witnessed(made),
        ):
            child = made.run(**{VARIABLE: "open.after_swap=stop"})
            awaited(lambda: asks(session), LIMIT_S, "the run to ask")
            sent = way.hold(rb"update.*things.*upsert")
            assert sent.came.wait(LIMIT_S)
            way.freeze()
            approve_until(made, session, child, lambda: halted(child.pid))
            assert records(made)[1][0] == "primary"
            copied = newest(made, first)
            awaited(lambda: newest(made, first) > copied, LIMIT_S, "the router to go on")
            before = held_by_source(made, first)
            sent.free.set()
            way.thaw()
            awaited(lambda: held_by_source(made, first) != before, LIMIT_S, "what was sent to arrive")
            os.killpg(child.pid, signal.SIGCONT)
            assert child.wait(LIMIT_S) == HELD
            named = {one["key"]["_id"] for one in json.loads(made.command("status", "--json")[1])["rogue_writes"]}
        verdict = judge(made, [*done, *beyond])
    unknown = {why.split(":")[0] for why in verdict.failed}
    assert named
    assert named <= unknown
    # A write that had landed before its answer was lost was captured; one that came late is on the source alone.
    assert {loss.split(":")[0].split()[1] for loss in verdict.lost} <= unknown, verdict.lost
    assert {f"source {key}" for key in named} <= {loss.split(":")[0] for loss in verdict.lost}
    assert verdict.longest_s < LONGEST_S


# --- what happens -----------------------------------------------------------------------------------------------------


def expire(made: Cutover, numbers: range) -> None:
    """What a TTL index does: the server itself deletes, by way of no router."""
    with pymongo.MongoClient[dict[str, Any]](made.source.uri) as client:
        gone = client[made.source.name][COLLECTION].delete_many({"_id": {"$in": [SEED.format(n) for n in numbers]}})
        assert gone.deleted_count == len(numbers)


def killed(machine: Machine, child: subprocess.Popen[bytes], until: Callable[[], bool]) -> None:
    """A server dies while a run stands still; the run goes on, and the server is there again once something is so."""
    machine.kill()
    os.killpg(child.pid, signal.SIGCONT)
    awaited(until, 2 * DEADLINE_S + 10, "what comes of it")
    machine.restart()


def went_on(made: Cutover, session: Session, child: subprocess.Popen[bytes]) -> bool:
    """Whether a process that was in trouble asks anew, instead of having paused."""
    awaited(lambda: child.poll() is not None or asks(session), LIMIT_S, "the run to ask anew, or to pause")
    assert child.poll() in (None, PAUSED), said(made)
    return child.poll() is None


def asks(session: Session) -> bool:
    run = session.latest()
    return run is not None and session.state(run).asked is Group.CUTOVER


def to_the_end(made: Cutover, session: Session, child: subprocess.Popen[bytes]) -> None:
    """Approve whatever is asked for, and go on from each pause; also where it is held, since a switch that was sent
    was not carried out: to be resumed, it reads the record and lifts."""
    while True:
        approve_until(made, session, child, lambda child=child: child.poll() is not None)  # type: ignore[misc]
        if child.returncode == 0:
            return
        assert child.returncode in (PAUSED, HELD), said(made)
        child = made.run("run" if child.returncode == PAUSED else "resume")


@contextmanager
def standing_still(made: Cutover) -> Iterator[subprocess.Popen[bytes]]:
    """An application that is stopped in the middle of a write."""
    setting = Setting("shop", made.source.uri, made.source.name, made.target, SCHEMA, 1000, 1, 1, 1.0)
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "tests.cutover.halted"],
        env={**made.environment, "PYTHONPATH": os.getcwd()},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=made.log,
    ) as late:
        try:
            assert late.stdin is not None
            late.stdin.write(json.dumps(asdict(setting)).encode() + b"\n")
            late.stdin.flush()
            awaited(lambda: halted(late.pid), LIMIT_S, "it stands still")
            yield late
        finally:
            late.kill()


def was_lifted(made: Cutover) -> bool:
    found = on_source(made)
    return found["state"] == "primary" and found["version"] > 0


@contextmanager
def witnessed(made: Cutover) -> Iterator[None]:
    """Somebody looks at both records all the time: never are both sides the primary, and no fence stands for long
    behind its deadline while the source can be reached."""
    stop, wrong, looks = threading.Event(), list[str](), list[None]()

    def look(client: pymongo.MongoClient[dict[str, Any]]) -> None:
        reached = time.time()
        while not stop.wait(0.05):
            try:
                with psycopg.connect(made.target, connect_timeout=2) as connection:
                    row = connection.execute("SELECT state FROM tranship.route").fetchone()
            except psycopg.Error:
                row = None
            try:
                found = client[made.source.name]["tranship_switches"].find_one()
            except PyMongoError:
                reached = time.time()
                continue
            looks.append(None)
            # The target's first: it opens behind the pivot, which is for good.
            if found is not None and row == ("primary",) and found["state"] != "handed_over":
                wrong.append(f"the target is the primary, and the source is {found['state']}")
            if found is not None and found["state"] == "fenced":
                over = found["deadline"].replace(tzinfo=UTC).timestamp()
                if time.time() > max(over, reached) + LATE_S:
                    wrong.append(f"the fence of {over} still stands at {time.time()}")

    with pymongo.MongoClient[dict[str, Any]](made.source.uri, serverSelectionTimeoutMS=500) as client:
        witness = threading.Thread(target=look, args=(client,))
        witness.start()
        try:
            yield
        finally:
            stop.set()
            witness.join()
    assert len(looks) > 10, "it could not see anything"
    assert wrong == []


def on_source(made: Cutover) -> dict[str, Any]:
    with pymongo.MongoClient[dict[str, Any]](made.source.uri) as client:
        return client[made.source.name]["tranship_switches"].find_one() or {}


def newest(made: Cutover, first: int = 0) -> int:
    """How far the writers, from one on, have come on the target behind what was copied."""
    with psycopg.connect(made.target) as connection:
        query = f"SELECT max(version) FROM {SCHEMA}.{COLLECTION} WHERE thread >= %s"
        row = connection.execute(query, (first,)).fetchone()
    assert row is not None
    return int(row[0] or 0)


def held_by_source(made: Cutover, first: int) -> list[tuple[str, int]]:
    """What the source holds of the writers from one on."""
    with pymongo.MongoClient[dict[str, Any]](made.source.uri) as client:
        found = client[made.source.name][COLLECTION].find({"thread": {"$gte": first}}).sort("_id")
        return [(one["_id"], one["version"]) for one in found]


def said(made: Cutover) -> str:
    return (made.folder / "output.log").read_text(errors="replace")


def awaited(condition: Callable[[], bool], limit_s: float, what: str) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, f"waited {limit_s:g} s for {what}"
        time.sleep(0.05)
