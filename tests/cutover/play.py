"""A migration of things that writers write all the time, through a router, before its cutover, in it and behind it.

The judge is the writers' ledger: every key has what was acknowledged last, on the side where it was; nothing is there
twice. It knows no code of the program.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import psycopg
import pymongo
import yaml
from psycopg import sql

from tests.cutover.writers import Done, Setting
from tranship.orchestrator.engine.session import Session, open_session
from tranship.orchestrator.journal.control import RequestKind
from tranship.orchestrator.journal.state import State
from tranship.orchestrator.sandbox import Servers
from tranship.orchestrator.sandbox.databases import SourceDatabase, fresh_source, fresh_target
from tranship.plans import load

SCHEMA, COLLECTION = "shop", "things"
SEEDED = 2_000
PYTHON = (sys.executable, "-P", "-m", "tests.cutover.writers")
NODE = ("node", "tests/cutover/node/writers.mjs")
POLL_S = 0.02
LIMIT_S = 120.0


@dataclass(frozen=True)
class Verdict:
    """What the ledger says. `waits`: seconds of each write that was acknowledged."""

    writes: int
    failed: list[str]
    lost: list[str]
    both: int
    waits: list[float]
    longest_s: float
    rate_before: float
    """Acknowledged writes in the second before the longest wait began."""


@dataclass
class Cutover:
    """One run with its writers."""

    source: SourceDatabase
    target: str
    folder: Path
    log: IO[bytes]
    plan: Path
    children: list[subprocess.Popen[bytes]] = field(default_factory=list)
    writes_to: str | None = None
    """The source's address as the writers know it, where that is another one."""

    @property
    def environment(self) -> dict[str, str]:
        """With URIs, which no command line shows."""
        app = self.writes_to or self.source.uri
        return {**os.environ, "SOURCE_URI": self.source.uri, "TARGET_URI": self.target, "APP_URI": app}

    @contextmanager
    def session(self) -> Iterator[Session]:
        """The plan, to look at its run from beside it."""
        with open_session(load(self.plan, self.environment)) as session:
            yield session

    def run(self, command: str = "run", /, **environment: str) -> subprocess.Popen[bytes]:
        """`tranship run`, or `resume`."""
        return self._start(["tranship", command, str(self.plan)], environment)

    def _start(self, words: Sequence[str], environment: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", *words],
            env={**self.environment, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
        )
        self.children.append(child)
        return child

    def command(self, *words: str) -> tuple[int, str]:
        """Any `tranship` command; its exit code and all that it has said."""
        said = subprocess.run(
            [sys.executable, "-P", "-m", "tranship", *words, str(self.plan)],
            env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT_S,
            check=False,
        )  # fmt: skip
        return said.returncode, said.stdout + said.stderr

    def approve(self, session: Session, run: str) -> None:
        """What `tranship approve` does."""
        session.control.request(run, RequestKind.APPROVE, session.state(run).asking)


def await_state(
    session: Session, child: subprocess.Popen[bytes], what: str, condition: Any, limit_s: float = LIMIT_S
) -> State:
    """Wait until the newest run's state is as it should be."""
    end = time.monotonic() + limit_s
    while True:
        run = session.latest()
        state = session.state(run) if run is not None else None
        if state is not None and condition(state):
            return state
        if child.poll() is not None:
            raise AssertionError(f"the run ended with {child.returncode} before {what}")
        if time.monotonic() > end:
            raise AssertionError(f"waited {limit_s:g} s for {what}")
        time.sleep(POLL_S)


def approve_until(
    made: Cutover, session: Session, child: subprocess.Popen[bytes], condition: Callable[[], bool]
) -> None:
    """Approve whatever the child asks for until something is so."""
    answered, end = set[int](), time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end
        assert child.poll() is None or condition(), f"the run has ended with {child.returncode}"
        run = session.latest()
        state = session.state(run) if run is not None else State()
        if state.asking is not None and state.asking not in answered:
            answered.add(state.asking)
            made.approve(session, state.run)
        time.sleep(0.02)


def halted(pid: int) -> bool:
    """Whether a process was stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def records(made: Cutover) -> list[tuple[str, int]]:
    """State and version on both sides, as the servers say."""
    with pymongo.MongoClient[dict[str, Any]](made.source.uri) as client:
        (source,) = client[made.source.name]["tranship_switches"].find()
    with psycopg.connect(made.target) as connection:
        target = connection.execute("SELECT state, version FROM tranship.route").fetchone()
    assert target is not None
    return [(source["state"], source["version"]), target]


@contextmanager
def stage(servers: Servers, folder: Path, **changes: Any) -> Iterator[Cutover]:
    """A seeded source, an empty target, and a plan of one stream with `fence: router`."""
    with (
        fresh_source(servers) as source,
        fresh_target(servers) as target,
        between(source, target, folder, **changes) as made,
    ):
        yield made


@contextmanager
def between(source: SourceDatabase, target: str, folder: Path, **changes: Any) -> Iterator[Cutover]:
    """The same between databases that are there."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "output.log").open("ab") as log:
        with pymongo.MongoClient[dict[str, Any]](source.uri) as client:
            client[source.name][COLLECTION].insert_many(seeds())
        plan = folder / "plan.yaml"
        plan.write_text(yaml.safe_dump(declared(source.name) | changes, sort_keys=False))
        made = Cutover(source, target, folder, log, plan)
        try:
            yield made
        finally:
            for child in made.children:
                if child.poll() is None:
                    os.killpg(child.pid, 9)
                    child.wait()
            _end_guards(target)


def _end_guards(target: str) -> None:
    """Guards of runs that were killed: one would look after a server that is gone for an hour. They are known by what
    they have inherited."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                words, inherited = (folder / "cmdline").read_bytes(), (folder / "environ").read_bytes()
                if b"orchestrator.services.guard" in words and f"TARGET_URI={target}\0".encode() in inherited:
                    os.kill(int(folder.name), 9)


def seeds() -> list[dict[str, Any]]:
    """The documents that are there before the writers come."""
    return [{"_id": f"s{n:06}", "thread": -1, "version": n} for n in range(SEEDED)]


def declared(database: str) -> dict[str, Any]:
    """The plan."""
    columns = {"thread": "int32", "version": "int32"}
    stream = {"key": {"_id": "text"}, "columns": columns, "order": ["_id", "thread", "version"]}
    return {
        "version": 1,
        "plan": "shop",
        "source": {"mongodb": "${env:SOURCE_URI}", "database": database},
        "target": {"postgresql": "${env:TARGET_URI}", "schema": SCHEMA},
        "streams": {COLLECTION: stream},
        "cutover": {"fence": "router"},
    }


@contextmanager
def writers(
    made: Cutover,
    processes: int,
    threads: int,
    rate: float,
    keys: int,
    *,
    commands: Sequence[Sequence[str]] = (PYTHON,),
    first: int = 0,
) -> Iterator[list[Done]]:
    """Processes of writers at `rate` writes per second in all; the list is filled when the block has ended. `commands`:
    what the processes run, in turn. `first`: number of the first thread, by which its keys are called."""
    done: list[Done] = []
    children = []
    for number in range(processes):
        child = subprocess.Popen(
            commands[number % len(commands)],
            env={**made.environment, "PYTHONPATH": os.getcwd()},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=made.log,
        )
        setting = Setting(
            "shop", made.writes_to or made.source.uri, made.source.name, made.target, SCHEMA,
            first + number * threads, threads, keys, rate / processes / threads,
        )  # fmt: skip
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(json.dumps(asdict(setting)).encode() + b"\n")
        child.stdin.flush()
        children.append(child)
    for child in children:
        assert child.stdout is not None
        child.stdout.readline()
    try:
        yield done
    finally:
        for child in children:
            assert child.stdin is not None
            child.stdin.close()
        for child in children:
            assert child.stdout is not None
            with child.stdout as lines:
                done += [Done(**json.loads(line)) for line in lines]
            child.wait()


def judge(made: Cutover, done: Sequence[Done], expired: Sequence[str] = ()) -> Verdict:
    """Compare the target with the ledger, and the source with it up to where it was the primary. `expired`: seeds that
    the source itself has removed."""
    last: dict[str, int | None] = {f"s{n:06}": n for n in range(SEEDED)}
    last.update(dict.fromkeys(expired))
    on_source: dict[str, int | None] = dict(last)
    for one in done:
        for key, version, _, _, side in one.writes:
            last[key] = version
            if side == "source":
                on_source[key] = version
    lost = _differing("target", last, _rows(made)) + _differing("source", on_source, _documents(made))
    writes = sorted((at, took) for one in done for _, _, at, took, _ in one.writes)
    at, longest = max(writes, key=lambda write: write[1])
    before = sum(at - 1 <= begun + took <= at for begun, took in writes)
    sides = {side for one in done for *_, side in one.writes}
    failed = [why for one in done for why in one.failed]
    return Verdict(len(writes), failed, lost, len(sides), [took for _, took in writes], longest, before)


def _differing(name: str, expected: dict[str, int | None], found: dict[str, int]) -> list[str]:
    wanted = {key: version for key, version in expected.items() if version is not None}
    return [
        f"{name} {key}: {found.get(key)} instead of {wanted.get(key)}"
        for key in sorted(wanted.keys() | found.keys())
        if wanted.get(key) != found.get(key)
    ]


def _rows(made: Cutover) -> dict[str, int]:
    with psycopg.connect(made.target) as connection:
        table = sql.Identifier(SCHEMA, COLLECTION)
        return dict(connection.execute(sql.SQL("SELECT _id, version FROM {}").format(table)).fetchall())


def _documents(made: Cutover) -> dict[str, int]:
    with pymongo.MongoClient[dict[str, Any]](made.source.uri) as client:
        return {found["_id"]: found["version"] for found in client[made.source.name][COLLECTION].find()}
